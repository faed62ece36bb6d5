import { afterEach, describe, expect, it, vi } from "vitest";
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
  wake,
} from "../support/delegations.ts";
import { type Agent, anAgent, call, poll } from "../support/platform.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

async function aPair(): Promise<[Agent, Agent]> {
  return [await anAgent(), await anAgent()];
}

function later(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
}

afterEach(() => {
  vi.useRealTimers();
});

describe("delegate", () => {
  it("answers 202 before the target is asked", async () => {
    const [caller, callee] = await aPair();
    const { status, body } = await delegate(caller, callee.id, "sort the mail");
    expect(status).toBe(202);
    expect(body).toEqual({
      delegation_id: expect.stringMatching(UUID),
      status: "delegated",
      target_id: callee.id,
    });
  });

  it.each([
    ["no JSON", "{", "invalid delegation request"],
    ["no object", "[]", "invalid delegation request"],
    ["nothing", "", "invalid delegation request"],
    ["no task", { target_id: "x" }, "invalid delegation request"],
    ["an empty task", { target_id: "x", task: "" }, "invalid delegation request"],
    ["a task that is no text", { target_id: "x", task: 7 }, "invalid delegation request"],
    ["no target", { task: "do it" }, "invalid delegation request"],
    ["a target that is no UUID", { target_id: "x", task: "do it" }, "target_id must be a valid UUID"],
  ])("refuses %s", async (_what, body, error) => {
    const caller = await anAgent();
    const options = typeof body === "string" ? { body } : { json: body };
    const refused = await call(`/workspaces/${caller.id}/delegate`, {
      method: "POST",
      token: caller.token,
      ...options,
    });
    expect(refused).toMatchObject({ status: 400, body: { error } });
  });

  it("refuses the caller itself, and lets no other spelling of its id pass for another workspace", async () => {
    const caller = await anAgent();
    expect(await delegate(caller, caller.id, "do it")).toMatchObject({
      status: 400,
      body: { error: "self-delegation not permitted", code: "delegation.self" },
    });
    for (const id of [caller.id.toUpperCase(), `{${caller.id}}`, `urn:uuid:${caller.id}`]) {
      expect(await delegate(caller, id, "do it")).toMatchObject({
        status: 400,
        body: { error: "target_id must be a valid UUID", code: "delegation.invalid_target" },
      });
    }
  });

  it("is closed to everybody but the workspace itself and operators", async () => {
    const [caller, callee] = await aPair();
    const json = { target_id: callee.id, task: "do it" };
    expect(await call(`/workspaces/${caller.id}/delegate`, { token: callee.token, json })).toMatchObject({
      status: 401,
    });
    expect(await call(`/workspaces/${crypto.randomUUID()}/delegate`, { json })).toMatchObject({ status: 404 });
  });

  it("takes a deadline of its own, and says so when it cannot", async () => {
    const [caller, callee] = await aPair();
    const good = await delegate(caller, callee.id, "quick", { deadline_s: 60 });
    expect(good.body.warning).toBeUndefined();
    const { created_at, deadline } = await entryOf(caller, good.body.delegation_id);
    expect(Date.parse(deadline) - Date.parse(created_at)).toBe(60_000);
    const bad = await delegate(caller, callee.id, "never", { deadline_s: 0 });
    expect(bad).toMatchObject({ status: 202, body: { warning: expect.stringContaining("deadline_s") } });
  });
});

describe("a task for a target that polls", () => {
  it("is delivered, not completed, until the callee answers", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee, "sort the mail");
    await entryWhen(caller, id, "dispatched");
    expect(await taskAt(callee, id)).toMatchObject({
      activity_type: "a2a_receive",
      source_id: caller.id,
      request_body: {
        jsonrpc: "2.0",
        id,
        method: "message/send",
        params: {
          message: {
            role: "user",
            messageId: id,
            parts: [{ kind: "text", text: "sort the mail" }],
            metadata: { delegation_id: id },
          },
        },
      },
    });
    expect(await entryOf(callee, id)).toMatchObject({
      direction: "received",
      status: "dispatched",
      source_id: caller.id,
    });
    expect(await resultsOf(caller)).toEqual([]);
  });

  it("goes its whole life: sent, dispatched, answered by a message that is the one result row", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee, "sort the mail");
    await taskAt(callee, id);
    await entryWhen(caller, id, "dispatched");
    const told = await answer(callee, caller, id, "all sorted");
    expect(told).toMatchObject({
      status: 200,
      body: { status: "queued", delivery_mode: "poll", method: "message/send" },
    });
    const rows = await rowsOf(caller, { activity_type: "a2a_receive" });
    expect(rows).toMatchObject([
      {
        id: told.body.activity_id,
        method: "delegate_result",
        source_id: callee.id,
        target_id: caller.id,
        status: "ok",
        summary: "Delegation result delivered",
        request_body: {
          delegation_id: id,
          params: { message: { parts: [{ text: "all sorted" }], metadata: { delegation_id: id } } },
        },
        response_body: { text: "all sorted", delegation_id: id },
      },
    ]);
    expect(await rowsOf(caller, { activity_type: "delegation" })).toMatchObject([
      {
        method: "delegate",
        status: "completed",
        source_id: caller.id,
        target_id: callee.id,
        summary: `Delegating to ${callee.id}`,
        request_body: { task: "sort the mail", delegation_id: id },
      },
      {
        method: "delegate_result",
        status: "completed",
        source_id: caller.id,
        target_id: callee.id,
        summary: "Delegation completed (all sorted)",
        response_body: { text: "all sorted", delegation_id: id },
      },
    ]);
    const target = { delegation_id: id, target_id: callee.id };
    expect(await eventsOf(caller, id)).toEqual([
      { event: "DELEGATION_SENT", ...target, task_preview: "sort the mail" },
      { event: "DELEGATION_STATUS", ...target, status: "dispatched" },
      { event: "DELEGATION_COMPLETE", ...target, response_preview: "all sorted" },
    ]);
    expect(await entryOf(caller, id)).toMatchObject({
      status: "completed",
      direction: "sent",
      summary: "sort the mail",
      response_preview: "all sorted",
      _ledger: true,
    });
    await entryWhen(callee, id, "completed");
  });

  it("is completed by the callee's update too, with the text where pollers read it", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    expect(await complete(callee, id, "done 👍")).toMatchObject({
      status: 200,
      body: { status: "completed", delegation_id: id },
    });
    await entryWhen(caller, id, "completed");
    expect(await resultsOf(caller)).toMatchObject([
      {
        request_body: { delegation_id: id, params: { message: { parts: [{ kind: "text", text: "done 👍" }] } } },
        response_body: { text: "done 👍", delegation_id: id },
      },
    ]);
    await entryWhen(callee, id, "completed");
  });

  it("fails by the callee's word, with the reason under both keys", async () => {
    const [caller, callee] = await aPair();
    const [id, byMessage] = [await aDelegation(caller, callee), await aDelegation(caller, callee)];
    await taskAt(callee, byMessage);
    await act(callee, id, "update", { status: "failed", error: "no stamps" });
    await answer(callee, caller, byMessage, "no ink", { delegation_status: "failed" });
    expect(await entryWhen(caller, id, "failed")).toMatchObject({ error: "no stamps", error_detail: "no stamps" });
    expect(await entryOf(caller, byMessage)).toMatchObject({ status: "failed", error: "no ink" });
    const target = { delegation_id: id, target_id: callee.id };
    expect((await eventsOf(caller, id)).at(-1)).toEqual({ event: "DELEGATION_FAILED", ...target, error: "no stamps" });
    expect(await resultsOf(caller)).toMatchObject([
      { status: "error", summary: "Delegation failed" },
      { status: "error", summary: "Delegation failed" },
    ]);
  });

  it("that failed and is answered all the same stays failed, with the answer in the history", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await act(callee, id, "update", { status: "failed", error: "no stamps" });
    await entryWhen(caller, id, "failed");
    await answer(callee, caller, id, "found some");
    await complete(callee, id, "found more");
    expect(await entryOf(caller, id)).toMatchObject({ status: "failed", error: "no stamps" });
    expect(await rowsOf(caller, { activity_type: "delegation", status: "contradicted" })).toMatchObject([
      { method: "delegate_contradiction", response_body: { text: "found some", delegation_id: id } },
    ]);
    expect(await resultsOf(caller)).toHaveLength(1);
  });

  it("is worked on once the callee says so; progress is an ordinary message", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await answer(callee, caller, id, "half way", { delegation_status: "in_progress" });
    expect(await entryOf(caller, id)).toMatchObject({ status: "in_progress" });
    expect(await rowsOf(caller, { method: "message/send" })).toMatchObject([{ source_id: callee.id }]);
    expect(await resultsOf(caller)).toEqual([]);
  });

  it("keeps every text of every alphabet whole, previews cut between characters only", async () => {
    const [caller, callee] = await aPair();
    const text = "漢字🦊".repeat(3_000);
    const id = await aDelegation(caller, callee, text);
    await taskAt(callee, id);
    await answer(callee, caller, id, text);
    const entry = await entryOf(caller, id);
    expect(entry.response_preview).toBe(`${"漢字🦊".repeat(100)}...`);
    expect((await resultsOf(caller))[0].response_body.text).toBe(text);
    for (const { event: _event, ...fields } of await eventsOf(caller, id)) {
      expect(JSON.stringify(fields)).not.toContain("\ufffd");
    }
  });

  it("of almost a megabyte, answered with as much, keeps both whole", async () => {
    const [caller, callee] = await aPair();
    const text = "x".repeat(900_000);
    const id = await aDelegation(caller, callee, text);
    const row = await taskAt(callee, id);
    expect(row.request_body.params.message.parts[0].text).toBe(text);
    await answer(callee, caller, id, text);
    const [result] = await resultsOf(caller);
    expect(result.response_body.text).toBe(text);
    expect(result.request_body.params.message.parts[0].text).toBe(text);
  });
});

describe("a target that cannot be reached", () => {
  it("unknown or removed, fails the task like a forbidden one, after the 202", async () => {
    const [caller, callee] = await aPair();
    await call(`/workspaces/${callee.id}?confirm=true`, { method: "DELETE" });
    for (const id of [crypto.randomUUID(), callee.id]) {
      const { status, body } = await delegate(caller, id, "do it");
      expect(status).toBe(202);
      expect(await entryWhen(caller, body.delegation_id, "failed")).toMatchObject({
        error: "access denied: workspaces cannot communicate per hierarchy rules",
        error_detail: "access denied: workspaces cannot communicate per hierarchy rules",
      });
    }
    expect(await resultsOf(caller)).toHaveLength(2);
  });

  it("fails a recorded task too, once, with the same text", async () => {
    const [caller, callee] = await aPair();
    await call(`/workspaces/${callee.id}?confirm=true`, { method: "DELETE" });
    for (const [id, target] of [
      ["to nobody", crypto.randomUUID()],
      ["to a removed one", callee.id],
    ] as const) {
      expect(await record(caller, target, id)).toMatchObject({ status: 202 });
      expect(await entryWhen(caller, id, "failed")).toMatchObject({
        error: "access denied: workspaces cannot communicate per hierarchy rules",
      });
      expect((await eventsOf(caller, id)).map(({ event }) => event)).toEqual(["DELEGATION_SENT", "DELEGATION_FAILED"]);
    }
    await wake(caller);
    expect(await resultsOf(caller)).toHaveLength(2);
  });

  it("only for its budget lets a recorded task be watched, which costs it nothing", async () => {
    const caller = await anAgent();
    const { body: callee } = await call("/workspaces", {
      json: { name: crypto.randomUUID(), runtime: "external", budget_limit: 0 },
    });
    await record(caller, callee.id, "watched");
    await until("the callee's object knows of it", async () => {
      const { body } = await call(`/workspaces/${callee.id}/delegations`);
      return body.length === 1;
    });
    expect(await entryOf(caller, "watched")).toMatchObject({ status: "dispatched" });
  });
});

describe("an update", () => {
  it.each([
    ["another status", { status: "queued" }, "status must be 'completed' or 'failed'"],
    ["no status", {}, "invalid request body"],
    ["no object", [], "invalid request body"],
  ])("is refused with %s", async (_what, json, error) => {
    const agent = await anAgent();
    expect(await act(agent, "some-id", "update", json)).toMatchObject({ status: 400, body: { error } });
  });

  it("of a delegation that nobody knows is 200", async () => {
    const agent = await anAgent();
    expect(await complete(agent, "nobody's", "done")).toMatchObject({
      status: 200,
      body: { status: "completed", delegation_id: "nobody's" },
    });
  });

  it("by a stranger changes nothing", async () => {
    const [caller, callee] = await aPair();
    const stranger = await anAgent();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    expect(await complete(stranger, id, "mine now")).toMatchObject({ status: 200 });
    await answer(stranger, caller, id, "mine now");
    expect(await entryWhen(caller, id, "dispatched")).toMatchObject({ target_id: callee.id });
    expect(await resultsOf(caller)).toEqual([]);
    expect(await rowsOf(caller, { method: "message/send" })).toMatchObject([{ source_id: stranger.id }]);
  });

  it("one of 50 that contradict each other at once wins: one row, one event", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await entryWhen(caller, id, "dispatched");
    await Promise.all(
      Array.from({ length: 50 }, (_, n) => {
        if (n % 3 === 0) return answer(callee, caller, id, `answer ${n}`);
        const json =
          n % 3 === 1
            ? { status: "completed", response_preview: `answer ${n}` }
            : { status: "failed", error: `error ${n}` };
        return act(n % 2 === 0 ? caller : callee, id, "update", json);
      }),
    );
    const results = await resultsOf(caller);
    expect(results).toHaveLength(1);
    const ends = (await eventsOf(caller, id)).filter(({ event }) => /COMPLETE|FAILED/.test(event));
    expect(ends).toHaveLength(1);
    expect(await rowsOf(caller, { activity_type: "delegation", method: "delegate_result" })).toHaveLength(1);
    const { status } = await entryOf(caller, id);
    expect(status).toBe(results[0].status === "ok" ? "completed" : "failed");
    await entryWhen(callee, id, status);
  });

  it("with the status first and the text after, in either order, ends with the text", async () => {
    const [caller, callee] = await aPair();
    const [bare, full] = [await aDelegation(caller, callee), await aDelegation(caller, callee)];
    await taskAt(callee, full);
    await act(caller, bare, "update", { status: "completed" });
    await complete(callee, bare, "the text");
    await complete(callee, full, "the text");
    await entryWhen(caller, full, "completed");
    await act(caller, full, "update", { status: "completed" });
    for (const id of [bare, full]) {
      await vi.waitUntil(async () => (await entryOf(caller, id)).response_preview === "the text");
    }
    const results = await resultsOf(caller);
    expect(results.map((row) => row.response_body.text)).toEqual(["the text", "the text"]);
  });
});

describe("delegations/record", () => {
  it("keeps watch over a task that the caller brings itself; again it changes nothing", async () => {
    const [caller, callee] = await aPair();
    const first = await record(caller, callee.id, "my own id");
    expect(first).toMatchObject({ status: 202, body: { delegation_id: "my own id", status: "recorded" } });
    expect(await record(caller, callee.id, "my own id")).toMatchObject({ status: 202, body: first.body });
    expect(await entryOf(caller, "my own id")).toMatchObject({ status: "dispatched" });
    expect(await eventsOf(caller, "my own id")).toMatchObject([{ event: "DELEGATION_SENT", target_id: callee.id }]);
    await entryWhen(callee, "my own id", "dispatched");
    expect((await poll(callee)).body).toEqual([]);
    await complete(caller, "my own id", "done by hand");
    expect(await resultsOf(caller)).toMatchObject([{ response_body: { text: "done by hand" } }]);
    await entryWhen(callee, "my own id", "completed");
  });

  it.each([
    ["no id", { delegation_id: undefined }, "invalid request body"],
    ["an empty id", { delegation_id: "" }, "invalid request body"],
    ["an empty task", { task: "" }, "invalid request body"],
    ["a target that is no UUID", { target_id: "x" }, "target_id must be a valid UUID"],
  ])("refuses %s", async (_what, more, error) => {
    const agent = await anAgent();
    expect(await record(agent, crypto.randomUUID(), "id", more)).toMatchObject({ status: 400, body: { error } });
  });

  it("takes the caller itself for a target, and lists that once", async () => {
    const agent = await anAgent();
    expect(await record(agent, agent.id, "note to self")).toMatchObject({ status: 202 });
    await wake(agent);
    const { body } = await call(`/workspaces/${agent.id}/delegations`, { token: agent.token });
    expect(body).toMatchObject([{ delegation_id: "note to self", direction: "sent" }]);
    await complete(agent, "note to self", "done");
    expect(await resultsOf(agent)).toHaveLength(1);
  });

  it("of a known id for another target is refused, and says whose it is", async () => {
    const [caller, callee] = await aPair();
    const other = await anAgent();
    await record(caller, callee.id, "taken");
    expect(await record(caller, other.id, "taken")).toMatchObject({
      status: 409,
      body: { code: "delegation.id_taken", target_id: callee.id },
    });
    expect(await entryOf(caller, "taken")).toMatchObject({ target_id: callee.id });
  });

  it("of one id by two callers makes two delegations, each closed by its own", async () => {
    const [one, other] = await aPair();
    const callee = await anAgent();
    await record(one, callee.id, "same");
    await record(other, callee.id, "same");
    await entryWhen(callee, "same", "dispatched");
    await complete(one, "same", "mine");
    expect(await entryOf(one, "same")).toMatchObject({ status: "completed" });
    expect(await entryOf(other, "same")).toMatchObject({ status: "dispatched" });
    await answer(callee, other, "same", "yours");
    expect(await resultsOf(other)).toMatchObject([{ response_body: { text: "yours" } }]);
    expect(await resultsOf(one)).toMatchObject([{ response_body: { text: "mine" } }]);
  });

  it("of one id by two callers, leaves the callee's update in doubt and says whose it may be", async () => {
    const [one, other] = await aPair();
    const callee = await anAgent();
    await record(one, callee.id, "same");
    await record(other, callee.id, "same");
    await vi.waitUntil(async () => {
      const { body } = await call(`/workspaces/${callee.id}/delegations`, { token: callee.token });
      return body.length === 2;
    });
    const { status, body } = await complete(callee, "same", "whose?");
    expect({ status, code: body.code }).toEqual({ status: 409, code: "delegation.ambiguous" });
    expect(body.candidates.toSorted()).toEqual([one.id, other.id].toSorted());
  });

  it("of one id by two callers, is closed for the one whom the callee names, and no repetition reaches the other", async () => {
    const [one, other] = await aPair();
    const callee = await anAgent();
    for (const caller of [one, other]) await record(caller, callee.id, "shared");
    await vi.waitUntil(async () => {
      const { body } = await call(`/workspaces/${callee.id}/delegations`, { token: callee.token });
      return body.length === 2;
    });
    const json = { status: "completed", response_preview: "for one only" };
    const update = (query: string) =>
      call(`/workspaces/${callee.id}/delegations/shared/update${query}`, { json, token: callee.token });
    expect((await update(`?caller_id=${one.id}`)).status).toBe(200);
    await vi.waitUntil(async () => (await entryOf(one)).status === "completed");
    expect((await update("")).body).toMatchObject({ code: "delegation.ambiguous" });
    expect((await update("?caller_id=nobody")).status).toBe(400);
    expect(await entryOf(other)).toMatchObject({ status: "dispatched" });
    expect(JSON.stringify(await entryOf(other))).not.toContain("for one only");

    async function entryOf(caller: Agent) {
      const { body } = await call(`/workspaces/${caller.id}/delegations`, { token: caller.token });
      return body[0];
    }
  });
});

describe("an idempotency key", () => {
  async function keyed(caller: Agent, target: Agent): Promise<string> {
    return (await delegate(caller, target.id, "do it", { idempotency_key: "key" })).body.delegation_id;
  }

  it("binds while the task is under way, and echoes the stored target with 202", async () => {
    const [caller, callee] = await aPair();
    const other = await anAgent();
    const id = await keyed(caller, callee);
    await entryWhen(caller, id, "dispatched");
    expect(await delegate(caller, other.id, "do it", { idempotency_key: "key" })).toMatchObject({
      status: 202,
      body: { delegation_id: id, status: "dispatched", target_id: callee.id, idempotent_hit: true },
    });
    expect(await delegate(other, callee.id, "do it", { idempotency_key: "key" })).toMatchObject({
      body: { status: "delegated" },
    });
  });

  it("of many at once makes one delegation", async () => {
    const [caller, callee] = await aPair();
    const ids = await Promise.all(Array.from({ length: 20 }, () => keyed(caller, callee)));
    expect(new Set(ids).size).toBe(1);
  });

  it("binds for ten minutes after completion, and not any longer", async () => {
    const [caller, callee] = await aPair();
    const id = await keyed(caller, callee);
    await complete(caller, id, "done");
    later(10 * MINUTE_MS - 2_000);
    expect(await keyed(caller, callee)).toBe(id);
    later(3_000);
    expect(await keyed(caller, callee)).not.toBe(id);
  });

  it("is free at once after failure and after cancellation", async () => {
    const [caller, callee] = await aPair();
    const failed = await keyed(caller, callee);
    await act(caller, failed, "update", { status: "failed", error: "no" });
    const cancelled = await keyed(caller, callee);
    expect(cancelled).not.toBe(failed);
    await act(caller, cancelled, "cancel");
    expect(await keyed(caller, callee)).not.toBe(cancelled);
  });
});

describe("time", () => {
  it("of several hours passes: nobody is connected, and the result arrives", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    for (let hour = 0; hour < 5; hour++) {
      expect(await act(callee, id, "heartbeat", { progress_seq: hour })).toMatchObject({ status: 200 });
      later(HOUR_MS - 1_000);
    }
    await answer(callee, caller, id, "at last");
    expect(await entryOf(caller, id)).toMatchObject({ status: "completed", response_preview: "at last" });
    expect((await resultsOf(caller)).map((row) => row.response_body.text)).toEqual(["at last"]);
  });

  it("past the deadline fails the task, and what the callee says afterwards is told once, as late", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await entryWhen(caller, id, "dispatched");
    later(6 * HOUR_MS + 1_000);
    expect(await entryOf(caller, id)).toMatchObject({ status: "failed", error: "deadline exceeded by sweeper" });
    expect(await resultsOf(caller)).toHaveLength(1);
    await answer(callee, caller, id, "better late");
    await answer(callee, caller, id, "better late");
    const [, late, ...more] = await resultsOf(caller);
    expect(more).toEqual([]);
    expect(late).toMatchObject({
      summary: "Late delegation result delivered",
      request_body: { delegation_id: id, params: { message: { metadata: { late: true } } } },
      response_body: { text: "better late", delegation_id: id, late: true },
    });
    expect(await entryOf(caller, id)).toMatchObject({ status: "failed", response_preview: "better late", late: true });
    expect((await eventsOf(caller, id)).filter(({ event }) => event === "DELEGATION_FAILED")).toHaveLength(1);
  });

  it("without a heartbeat is no matter before the deadline", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "dispatched");
    later(5 * HOUR_MS);
    await wake(caller);
    expect(await entryOf(caller, id)).toMatchObject({ status: "dispatched" });
  });

  it("after the last heartbeat makes it stuck: one notice, no end, and any final state may follow", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await act(callee, id, "heartbeat");
    await entryWhen(caller, id, "in_progress");
    for (let again = 0; again < 2; again++) {
      later(10 * MINUTE_MS + 1_000);
      expect(await entryOf(caller, id)).toMatchObject({ status: "stuck", error: "no heartbeat for 10m0s" });
      await act(callee, id, "heartbeat");
      await entryWhen(caller, id, "in_progress");
    }
    expect(await rowsOf(caller, { method: "delegate_notice" })).toMatchObject([
      { activity_type: "a2a_receive", status: "error", summary: "Delegation stuck: no heartbeat for 10m0s" },
    ]);
    expect(await resultsOf(caller)).toEqual([]);
    await complete(callee, id, "there it is");
    await entryWhen(caller, id, "completed");
  });
});

describe("a heartbeat", () => {
  it("tells whoever works whether to stop and how long somebody waits", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee, "do it", { deadline_s: 100 });
    await taskAt(callee, id);
    for (const agent of [callee, caller]) {
      const { status, body } = await act(agent, id, "heartbeat", { progress_seq: 1, details: { step: 1 } });
      expect(status).toBe(200);
      expect(body).toEqual({ cancel_requested: false, deadline_in_s: expect.any(Number) });
      expect(body.deadline_in_s).toBeGreaterThan(90);
    }
    expect(await entryWhen(caller, id, "in_progress")).toMatchObject({ progress_seq: 1 });
  });

  it("without a rising number is seen as no progress", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await act(caller, id, "heartbeat", { progress_seq: 5 });
    const { last_progress } = await entryOf(caller, id);
    later(MINUTE_MS);
    await act(caller, id, "heartbeat", { progress_seq: 5 });
    const entry = await entryOf(caller, id);
    expect(entry.last_progress).toBe(last_progress);
    expect(Date.parse(entry.last_heartbeat)).toBeGreaterThan(Date.parse(last_progress));
  });

  it("without a body is good; a stranger's is 404", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    const path = (agent: Agent) => `/workspaces/${agent.id}/delegations/${id}/heartbeat`;
    expect(await call(path(caller), { method: "POST", token: caller.token })).toMatchObject({ status: 200 });
    const stranger = await anAgent();
    expect(await call(path(stranger), { method: "POST", token: stranger.token })).toMatchObject({
      status: 404,
      body: { error: "delegation not found", code: "delegation.not_found" },
    });
  });
});

describe("cancel", () => {
  it("takes the task back from the inbox where nobody has read it", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await entryWhen(caller, id, "dispatched");
    expect(await act(caller, id, "cancel", { reason: "changed my mind" })).toMatchObject({
      status: 200,
      body: { delegation_id: id, status: "cancelled" },
    });
    await vi.waitUntil(async () => (await rowsOf(callee, { method: "message/send" })).length === 0);
    expect(await entryOf(caller, id)).toMatchObject({
      status: "failed",
      error: "cancelled",
      error_detail: "cancelled",
    });
    expect(await resultsOf(caller)).toMatchObject([{ status: "error", response_body: { delegation_id: id } }]);
  });

  it("of a task that was read asks the callee to stop; its answer is told as late", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    const task = await taskAt(callee, id);
    await entryWhen(caller, id, "dispatched");
    await poll(callee, { since_id: task.id });
    expect((await act(caller, id, "cancel")).body).toMatchObject({ cancel_requested: true });
    await entryWhen(callee, id, "failed");
    expect(await rowsOf(callee, { method: "message/send" })).toHaveLength(1);
    expect((await act(callee, id, "heartbeat")).body).toEqual({ cancel_requested: true, deadline_in_s: 0 });
    await answer(callee, caller, id, "too late?");
    expect((await resultsOf(caller)).at(-1)).toMatchObject({ response_body: { text: "too late?", late: true } });
  });

  it("again answers the same; of what has ended otherwise it is 409; of another's it is 404", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    const first = await act(caller, id, "cancel");
    expect(await act(caller, id, "cancel")).toMatchObject({ status: 200, body: first.body });
    const done = await aDelegation(caller, callee);
    await complete(caller, done, "done");
    expect(await act(caller, done, "cancel")).toMatchObject({
      status: 409,
      body: { code: "delegation.ended", error: "delegation is already completed", status: "completed" },
    });
    expect(await act(callee, done, "cancel")).toMatchObject({ status: 404, body: { code: "delegation.not_found" } });
  });
});

describe("a removal in the middle", () => {
  it("of the caller cancels what it sent, on both sides, with a reason", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await call(`/workspaces/${caller.id}?confirm=true`, { method: "DELETE" });
    expect(await entryWhen(callee, id, "failed")).toMatchObject({ error: "cancelled" });
    const { body } = await call(`/workspaces/${caller.id}/delegations`);
    expect(body).toMatchObject([{ delegation_id: id, status: "failed", error: "cancelled" }]);
    expect(await rowsOf(callee, { method: "message/send" })).toEqual([]);
  });

  it("of the callee fails what it had open, on both sides, with a reason and a row", async () => {
    const [caller, callee] = await aPair();
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await call(`/workspaces/${callee.id}?confirm=true`, { method: "DELETE" });
    expect(await entryWhen(caller, id, "failed")).toMatchObject({ error: "target workspace removed" });
    expect(await resultsOf(caller)).toMatchObject([{ status: "error", response_body: { delegation_id: id } }]);
    await vi.waitUntil(async () => {
      const { body } = await call(`/workspaces/${callee.id}/delegations`);
      return body[0]?.status === "failed" && body[0].error === "target workspace removed";
    });
  });
});

describe("the list", () => {
  it("shows each delegation once, newest state first, fifty at most, and nobody else's", async () => {
    const [caller, callee] = await aPair();
    const ids: string[] = [];
    for (let n = 0; n < 52; n++) ids.push(await aDelegation(caller, callee, `task ${n}`));
    await complete(caller, ids[3] ?? "", "done");
    const { body } = await call(`/workspaces/${caller.id}/delegations`, { token: caller.token });
    expect(body).toHaveLength(50);
    expect(body[0]).toMatchObject({ delegation_id: ids[3], status: "completed" });
    expect(new Set(body.map((entry: { delegation_id: string }) => entry.delegation_id)).size).toBe(50);
    const stranger = await anAgent();
    expect((await call(`/workspaces/${stranger.id}/delegations`, { token: stranger.token })).body).toEqual([]);
    expect((await call(`/workspaces/${crypto.randomUUID()}/delegations`)).body).toEqual([]);
  });
});
