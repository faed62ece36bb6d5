import { env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { aPushAgent } from "../support/agent-server.ts";
import { pythonDelegator } from "../support/client-delegations.ts";
import { pythonPoller } from "../support/client-replays.ts";
import { aFamily } from "../support/client-tree.ts";
import {
  act,
  aDelegation,
  answer,
  complete,
  delegate,
  entryOf,
  entryWhen,
  eventsOf,
  record,
  resultsOf,
  rowsOf,
  taskAt,
} from "../support/delegations.ts";
import { away, back, query } from "../support/ledger.ts";
import { type Agent, anAgent, call, poll, send, tell } from "../support/platform.ts";
import { beat } from "../support/queue-item.ts";
import { until } from "../support/until.ts";

// What clients of the original notice, and what its users met, by the numbers and names of the contract.

const HOUR_MS = 60 * 60_000;

async function aPair(): Promise<[Agent, Agent]> {
  return [await anAgent(), await anAgent()];
}

function later(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
}

afterEach(async () => {
  vi.useRealTimers();
  await back();
});

describe("clients of sections 6.5 to 6.7", () => {
  it("the Python async tool takes 202 only, gives its key without a time, and is never told that it failed", async () => {
    const [caller, callee] = await aPair();
    const client = pythonDelegator(caller);
    const first = await client.delegateAsync(callee, "summarise");
    const again = await client.delegateAsync(callee, "summarise");
    expect(again).toBe(first);
    await complete(callee, first, "summary");
    await entryWhen(caller, first, "completed");
    expect(await client.delegateAsync(callee, "summarise")).toBe(first);
    later(11 * 60_000);
    expect(await client.delegateAsync(callee, "summarise")).not.toBe(first);
  });

  it("the #2967 fallback delegates and polls the list until the first match has ended: the answer, no envelope", async () => {
    const [caller, callee] = await aPair();
    const client = pythonDelegator(caller);
    const waiting = client.delegateAndWait(callee, "what is the answer?");
    const task = await until("the task is there", async () => (await rowsOf(callee, { method: "message/send" }))[0]);
    await answer(callee, caller, task.request_body.params.message.metadata.delegation_id, "42");
    expect(await waiting).toEqual({ status: "completed", text: "42" });
  });

  it("check_task_status prints the first match, and of a failed one the error", async () => {
    const [caller, callee] = await aPair();
    const client = pythonDelegator(caller);
    const id = await client.delegateAsync(callee, "impossible");
    await act(callee, id, "update", { status: "failed", error: "cannot be done" });
    await entryWhen(caller, id, "failed");
    expect(await client.checkTaskStatus(id)).toMatchObject({ status: "failed", error_detail: "cannot be done" });
    expect(await client.checkTaskStatus("another")).toEqual({ status: "not_found" });
  });

  it("the in-container runtime finds what has ended, sent by itself, on its beat", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    const other = await aDelegation(callee, caller);
    await complete(caller, id, "done");
    await complete(callee, other, "done too");
    await entryWhen(caller, other, "completed");
    const { body } = await call(`/workspaces/${caller.id}/delegations`, { token: caller.token });
    const own = body.filter(
      ({ status, source_id }: { status: string; source_id: string }) =>
        status === "completed" && source_id === caller.id,
    );
    expect(own).toMatchObject([{ delegation_id: id, response_preview: "done" }]);
  });

  it("the Python poller reads a result as its callee's words, once", async () => {
    const [caller, callee] = await aPair();
    const poller = pythonPoller({ call, send }, caller);
    await poller.tick();
    const id = await aDelegation(caller, callee);
    await complete(callee, id, "the words");
    await entryWhen(caller, id, "completed");
    expect(await poller.tick()).toEqual([{ kind: "peer_agent", text: "the words" }]);
    expect(await poller.tick()).toEqual([]);
  });

  it("the LangChain tools record, send the task themselves, and update", async () => {
    const [caller, callee] = await aPair();
    const id = crypto.randomUUID();
    await record(caller, callee.id, id);
    await tell(callee, "do it", caller);
    expect(await act(caller, id, "update", { status: "completed", response_preview: "x".repeat(500) })).toMatchObject({
      status: 200,
    });
    expect(await entryOf(caller, id)).toMatchObject({ status: "completed", response_preview: `${"x".repeat(300)}...` });
  });

  it("the Python agent's `queued` is 400, and changes nothing", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    expect(await act(caller, id, "update", { status: "queued" })).toMatchObject({ status: 400 });
    expect(await entryWhen(caller, id, "dispatched")).toBeDefined();
  });
});

describe("traps of section 8", () => {
  it("17: an idempotent hit is 202 too", async () => {
    const [caller, callee] = await aPair();
    await delegate(caller, callee.id, "t", { idempotency_key: "k" });
    expect(await delegate(caller, callee.id, "t", { idempotency_key: "k" })).toMatchObject({
      status: 202,
      body: { idempotent_hit: true },
    });
  });

  it("18, 19: one row per delegation, newest state first, with both error keys", async () => {
    const [caller, callee] = await aPair();
    const [first, second] = [await aDelegation(caller, callee), await aDelegation(caller, callee)];
    await act(caller, first, "update", { status: "failed", error: "no" });
    const { body } = await call(`/workspaces/${caller.id}/delegations`, { token: caller.token });
    expect(body.map(({ delegation_id }: { delegation_id: string }) => delegation_id)).toEqual([first, second]);
    expect(body[0]).toMatchObject({ error: "no", error_detail: "no" });
  });

  it("20: the update of an unknown delegation is 200", async () => {
    const agent = await anAgent();
    expect(await complete(agent, crypto.randomUUID(), "x")).toMatchObject({ status: 200 });
  });

  it("21: nothing of a delegation is 401, nor any error, because the ledger is away", async () => {
    const [caller, callee] = await aPair();
    await away();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    expect(await complete(callee, id, "done")).toMatchObject({ status: 200 });
    await entryWhen(caller, id, "completed");
    expect(await call(`/workspaces/${caller.id}/delegations`, { token: caller.token })).toMatchObject({ status: 200 });
  });
});

describe("complaints of section 9", () => {
  it("#2967, (matcher): the queued envelope of a poll target is no answer, and the task is there once", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "dispatched");
    expect(await rowsOf(callee, { method: "message/send" })).toHaveLength(1);
    expect((await entryOf(caller, id)).response_preview).toBeUndefined();
  });

  it("#2829: a result after ten minutes of silence arrives", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    later(11 * 60_000);
    await answer(callee, caller, id, "took a while");
    expect(await entryOf(caller, id)).toMatchObject({ status: "completed" });
  });

  it("(restart): what was in flight is in flight after the object was evicted, and can end", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "dispatched");
    await evictDurableObject(env.WORKSPACE.get(env.WORKSPACE.idFromName(caller.id)));
    await answer(callee, caller, id, "still here");
    expect(await entryOf(caller, id)).toMatchObject({ status: "completed", response_preview: "still here" });
  });

  it("(ledger scope): no other workspace closes it, in its object or in the ledger", async () => {
    const [caller, callee] = await aPair();
    const stranger = await anAgent();
    await record(caller, callee.id, "shared name");
    await record(stranger, callee.id, "shared name");
    await complete(stranger, "shared name", "mine");
    const rows = await until("both are in the ledger", async () => {
      const found = await query(
        "SELECT caller_id, status, result_preview FROM delegations WHERE caller_id = ANY ($1::uuid[]) ORDER BY status",
        [[caller.id, stranger.id]],
      );
      return found.length === 2 && found.some(({ status }) => status === "completed") && found;
    });
    expect(rows).toEqual([
      { caller_id: stranger.id, status: "completed", result_preview: "mine" },
      { caller_id: caller.id, status: "dispatched", result_preview: null },
    ]);
  });

  it("(retry): a key used again after a failure has a ledger row of its own", async () => {
    const [caller, callee] = await aPair();
    const failed = await aDelegation(caller, callee, "t", { idempotency_key: "k" });
    await act(caller, failed, "update", { status: "failed", error: "no" });
    const next = await aDelegation(caller, callee, "t", { idempotency_key: "k" });
    await until("both are in the ledger", async () => {
      const rows = await query("SELECT delegation_id FROM delegations WHERE caller_id = $1 AND idempotency_key = 'k'", [
        caller.id,
      ]);
      return rows.length === 2 && rows.some(({ delegation_id }) => delegation_id === next);
    });
  });

  it("#4314: an end by deadline is told to the caller, with a row and an event", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "dispatched");
    later(6 * HOUR_MS + 1_000);
    const { body: rows } = await poll(caller);
    expect(rows).toMatchObject([
      { method: "delegate_result", status: "error", response_body: { text: "", delegation_id: id } },
    ]);
    expect((await eventsOf(caller, id)).at(-1)).toMatchObject({
      event: "DELEGATION_FAILED",
      target_id: callee.id,
      error: "deadline exceeded by sweeper",
    });
  });

  it("#318: the ledger has a row as soon as there is a delegation, without any switch", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee, "sort the mail");
    const [row] = await until("the ledger has it", async () => {
      const rows = await query("SELECT * FROM delegations WHERE caller_id = $1 AND delegation_id = $2", [
        caller.id,
        id,
      ]);
      return rows.length > 0 && rows;
    });
    expect(row).toMatchObject({ callee_id: callee.id, task_preview: "sort the mail", retry_count: 0 });
  });

  it("internal#469: its own result is no message from itself", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await complete(caller, id, "done by myself");
    expect(await resultsOf(caller)).toMatchObject([{ source_id: callee.id, target_id: caller.id }]);
  });
});

describe("security observations of section 10", () => {
  it("7, 10: whoever is out of reach is refused like whoever does not exist, after the same 202", async () => {
    const { grandchild, stranger } = await aFamily();
    const errors = [];
    for (const target of [stranger.id, crypto.randomUUID()]) {
      const { status, body } = await delegate(grandchild, target, "do it");
      expect(status).toBe(202);
      errors.push((await entryWhen(grandchild, body.delegation_id, "failed")).error);
    }
    expect(new Set(errors)).toEqual(new Set(["access denied: workspaces cannot communicate per hierarchy rules"]));
    expect(await rowsOf(stranger, { method: "message/send" })).toEqual([]);
  });

  it("whoever is out of reach leaves no trace with its target, by record or by delegation, begun or ended", async () => {
    const { grandchild, stranger } = await aFamily();
    await record(grandchild, stranger.id, "nosy");
    await complete(grandchild, "nosy", "x");
    const id = await aDelegation(grandchild, stranger);
    await entryWhen(grandchild, id, "failed");
    await until("all is told", () =>
      runInDurableObject(
        env.WORKSPACE.get(env.WORKSPACE.idFromName(grandchild.id)),
        (_instance, { storage: { sql } }) => {
          return sql.exec("SELECT 1 FROM effects").toArray().length === 0;
        },
      ),
    );
    const stored = await runInDurableObject(
      env.WORKSPACE.get(env.WORKSPACE.idFromName(stranger.id)),
      (_instance, { storage: { sql } }) => sql.exec("SELECT * FROM received").toArray(),
    );
    expect(stored).toEqual([]);
  });
});

describe("conformance of section 11", () => {
  it("22, 23, 24: same key twice; self, bad uuid, no task; status queued", async () => {
    const [caller, callee] = await aPair();
    const { body } = await delegate(caller, callee.id, "t", { idempotency_key: "k" });
    expect((await delegate(caller, callee.id, "t", { idempotency_key: "k" })).body).toMatchObject({
      delegation_id: body.delegation_id,
      idempotent_hit: true,
    });
    expect(await delegate(caller, caller.id, "t")).toMatchObject({ body: { error: "self-delegation not permitted" } });
    expect(await delegate(caller, "x", "t")).toMatchObject({ body: { error: "target_id must be a valid UUID" } });
    expect(await delegate(caller, callee.id, "")).toMatchObject({ body: { error: "invalid delegation request" } });
    expect(await act(caller, "x", "update", { status: "queued" })).toMatchObject({
      status: 400,
      body: { error: "status must be 'completed' or 'failed'" },
    });
  });

  it("28: the result row is visible to the poller's query, with its keys", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await complete(callee, id, "full text");
    await entryWhen(caller, id, "completed");
    const { body } = await poll(caller, { limit: "100" });
    expect(body).toMatchObject([
      {
        activity_type: "a2a_receive",
        method: "delegate_result",
        request_body: { delegation_id: id },
        response_body: { text: "full text", delegation_id: id },
        status: "ok",
      },
    ]);
  });

  it("31: busy twice, then idle: the answer arrives, and all records are completed", async () => {
    const callee = await aPushAgent("script");
    await callee.player.play("status/503", "status/503", "echo");
    const caller = await anAgent();
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "queued");
    await until("it has ended", async () => {
      await beat(callee);
      return (await entryOf(caller, id)).status === "completed";
    });
    const history = await rowsOf(caller, { activity_type: "delegation" });
    expect(history.map(({ status }) => status)).toEqual(["completed", "completed"]);
    await until("the ledger agrees", async () => {
      const [row] = await query("SELECT status, result_preview FROM delegations WHERE caller_id = $1", [caller.id]);
      const [item] = await query("SELECT status FROM a2a_queue WHERE workspace_id = $1", [callee.id]);
      return row?.status === "completed" && row.result_preview === "echo" && item?.status === "completed";
    });
  });
});
