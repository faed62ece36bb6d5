import { env, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { aPushAgent, type PushAgent } from "../support/agent-server.ts";
import {
  act,
  aDelegation,
  answer,
  complete,
  entryOf,
  entryWhen,
  eventsOf,
  makeCalls,
  resultsOf,
  rowsOf,
  wake,
} from "../support/delegations.ts";
import { type Agent, anAgent, call, tell } from "../support/platform.ts";
import { becomeUnroutable } from "../support/push-rows.ts";
import { beat } from "../support/queue-item.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

const RETRY_MS = 8_000;

/** A caller, and a push agent that behaves as the script says. */
async function aScripted(...script: string[]) {
  const callee = await aPushAgent("script");
  await callee.player.play(...script);
  return { caller: await anAgent(), callee };
}

function later(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
}

async function bodiesAt(player: PushAgent, count: number) {
  const requests = await until(`the agent was called ${count} times`, async () => {
    const received = await player.received();
    return received.length >= count && received;
  });
  return requests.map(({ body }) => JSON.parse(body));
}

/** Eight seconds pass, and the retry that is due then is made and reported. */
async function retried(caller: Agent, callee: Agent, status: string) {
  await until("the retry waits", async () =>
    (await eventsOf(caller, (await aSole(caller)).delegation_id)).some((event) => event.status === "queued"),
  );
  later(RETRY_MS);
  await wake(caller);
  return until(`the delegation is ${status}`, async () => {
    await makeCalls(callee);
    const entry = await aSole(caller);
    return entry.status === status && entry;
  });
}

function queueOf(agent: Agent, which: string): Promise<number> {
  return runInDurableObject(
    env.WORKSPACE.getByName(agent.id),
    (_instance, { storage: { sql } }) => sql.exec(`SELECT 1 FROM queue WHERE ${which}`).toArray().length,
  );
}

async function aSole(caller: Agent) {
  const { body } = await call(`/workspaces/${caller.id}/delegations`, { token: caller.token });
  return body[0];
}

async function textsOf(caller: Agent): Promise<string[]> {
  return (await resultsOf(caller)).map((row) => row.response_body.text);
}

afterEach(() => {
  vi.useRealTimers();
});

describe("a task for a push target", () => {
  it("is called with the delegation's id, and its answer is the result", async () => {
    const { caller, callee } = await aScripted("echo");
    const id = await aDelegation(caller, callee, "sort the mail");
    expect(await entryWhen(caller, id, "completed")).toMatchObject({ response_preview: "echo" });
    expect(await bodiesAt(callee.player, 1)).toMatchObject([
      {
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
    ]);
    expect(await textsOf(caller)).toEqual(["echo"]);
    expect((await eventsOf(caller, id)).map(({ event, status }) => status ?? event)).toEqual([
      "DELEGATION_SENT",
      "dispatched",
      "DELEGATION_COMPLETE",
    ]);
    await entryWhen(callee, id, "completed");
    expect(await rowsOf(callee, { method: "message/send" })).toMatchObject([{ source_id: caller.id, status: "ok" }]);
  });

  it("fails by the agent's own error, with its words, without a second call", async () => {
    const { caller, callee } = await aScripted("status/500", "echo");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "failed");
    later(RETRY_MS + 1_000);
    await wake(caller, callee);
    expect(await callee.player.received()).toHaveLength(1);
    expect(await resultsOf(caller)).toMatchObject([{ status: "error" }]);
  });

  it("answered with a task that is still worked on is delivered, and completed by its update", async () => {
    const { caller, callee } = await aScripted("task/working");
    const id = await aDelegation(caller, callee);
    await until("the answer is recorded", async () => (await rowsOf(callee, { method: "message/send" })).length === 1);
    expect(await entryWhen(caller, id, "dispatched")).not.toHaveProperty("response_preview");
    await complete(callee, id, "done");
    await entryWhen(caller, id, "completed");
    expect(await textsOf(caller)).toEqual(["done"]);
  });

  it.each(["failed", "canceled", "rejected"])("answered with a task that is %s fails with its words", async (state) => {
    const { caller, callee } = await aScripted(`task/${state}`);
    const id = await aDelegation(caller, callee);
    expect(await entryWhen(caller, id, "failed")).toMatchObject({ error: `it is ${state}` });
    expect(await resultsOf(caller)).toMatchObject([{ status: "error", response_body: { text: `it is ${state}` } }]);
  });

  it("is tried once more after eight seconds where it surely was not delivered, with the same message", async () => {
    const { caller, callee } = await aScripted("cloudflare/521", "echo");
    const id = await aDelegation(caller, callee);
    await until("the first dispatch has failed", async () => {
      const { status } = await entryOf(caller, id);
      return status === "queued" && (await callee.player.received()).length === 1;
    });
    await wake(caller);
    expect(await callee.player.received()).toHaveLength(1);
    await retried(caller, callee, "completed");
    const [first, second, ...more] = await bodiesAt(callee.player, 2);
    expect(more).toEqual([]);
    expect(second).toEqual(first);
    expect(await textsOf(caller)).toEqual(["echo"]);
  });

  it("fails after the second dispatch that was surely not delivered", async () => {
    const { caller, callee } = await aScripted("cloudflare/521");
    await aDelegation(caller, callee);
    const { error } = await retried(caller, callee, "failed");
    expect(error).toContain("521");
    later(RETRY_MS * 2);
    await wake(caller, callee);
    expect(await callee.player.received()).toHaveLength(2);
    expect(await resultsOf(caller)).toHaveLength(1);
  });

  it("whose URL may not be called is not called, and fails", async () => {
    const { caller, callee } = await aScripted("echo");
    await becomeUnroutable(callee.id);
    await aDelegation(caller, callee);
    await retried(caller, callee, "failed");
    expect(await callee.player.received()).toEqual([]);
  });

  it("of unknown delivery stays dispatched, says so, and is never repeated", async () => {
    const { caller, callee } = await aScripted("reset", "echo");
    const id = await aDelegation(caller, callee);
    await until("nobody knows", async () => (await entryOf(caller, id))?.delivery_confirmed === false);
    expect(await entryOf(caller, id)).toMatchObject({ status: "dispatched" });
    later(60 * 60_000);
    await wake(caller, callee);
    expect(await callee.player.received()).toHaveLength(1);
    await complete(callee, id, "I did get it");
    await entryWhen(caller, id, "completed");
    expect(await textsOf(caller)).toEqual(["I did get it"]);
  });

  it("cancelled before its call has started is never sent, and may be had again without force", async () => {
    const { caller, callee } = await aScripted("echo");
    later(60 * 60_000);
    const id = await aDelegation(caller, callee);
    await until("the call is handed over", async () => (await entryOf(caller, id)).status === "dispatched");
    await act(caller, id, "cancel");
    await entryWhen(callee, id, "failed");
    // What the end set in motion arrives before the call's alarm rings.
    await quiet(callee.id);
    await until("the call is taken back", async () => {
      await makeCalls(callee);
      return (await rowsOf(callee, { method: "message/send", status: "error" })).length === 1;
    });
    expect(await callee.player.received()).toEqual([]);
    await until("it may be had again", async () => {
      const { status } = await call(`/admin/delegations/${id}/retry?caller_id=${caller.id}`, { json: {} });
      return status === 202;
    });
    await until("the new attempt is made", async () => {
      await makeCalls(callee);
      return (await callee.player.received()).length === 1;
    });
  });

  it("goes on without the caller for as long as it takes", async () => {
    const { caller, callee } = await aScripted("hold");
    const id = await aDelegation(caller, callee);
    await bodiesAt(callee.player, 1);
    await entryWhen(caller, id, "dispatched");
    await callee.player.release();
    await entryWhen(caller, id, "completed");
  });

  it("answered by an update before the call ends has one result; the call's own words differ and are counted only", async () => {
    const { caller, callee } = await aScripted("hold/echo");
    const id = await aDelegation(caller, callee);
    await bodiesAt(callee.player, 1);
    await complete(callee, id, "by update");
    await entryWhen(caller, id, "completed");
    await callee.player.release();
    await until("the call has been told", async () => (await rowsOf(callee, { method: "message/send" })).length === 1);
    expect(await textsOf(caller)).toEqual(["by update"]);
    expect((await eventsOf(caller, id)).filter(({ event }) => event === "DELEGATION_COMPLETE")).toHaveLength(1);
  });

  it("answered with more than a row holds is told in full", async () => {
    const { caller, callee } = await aScripted("large/2000000");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "completed");
    const [text] = await textsOf(caller);
    expect(text?.length).toBeGreaterThan(1_900_000);
  });
});

describe("a caller that is pushed to", () => {
  async function aPushCaller(...script: string[]) {
    const caller = await aPushAgent("script");
    await caller.player.play(...script);
    return { caller, callee: await anAgent() };
  }

  it("is called once with the message that closes its delegation, in the words of its result row", async () => {
    const { caller, callee } = await aPushCaller("echo");
    const id = await aDelegation(caller, callee);
    await entryWhen(callee, id, "dispatched");
    expect(await answer(callee, caller, id, "done")).toMatchObject({ status: 200, body: { status: "queued" } });
    expect(await entryOf(caller, id)).toMatchObject({ status: "completed", response_preview: "done" });
    const bodies = await bodiesAt(caller.player, 1);
    const results = await resultsOf(caller);
    expect(results).toMatchObject([{ response_body: { text: "done", delegation_id: id } }]);
    expect(bodies).toEqual([results[0].request_body]);
    expect(bodies[0].params.message).toMatchObject({
      parts: [{ kind: "text", text: "done" }],
      metadata: { delegation_id: id },
    });
    await until("the call is a row", async () => (await rowsOf(caller, { method: "message/send" })).length === 1);
    await complete(callee, id, "done");
    await answer(callee, caller, id, "done");
    await wake(caller, callee);
    expect(await caller.player.received()).toHaveLength(1);
  });

  it("is called with a failure, and with what comes late, but not with its own words", async () => {
    const { caller, callee } = await aPushCaller("echo");
    const [failed, own] = [await aDelegation(caller, callee), await aDelegation(caller, callee)];
    for (const id of [failed, own]) await entryWhen(callee, id, "dispatched");
    await complete(caller, own, "I did it myself");
    await act(callee, failed, "update", { status: "failed", error: "no ink" });
    const [body] = await bodiesAt(caller.player, 1);
    expect(body.params.message).toMatchObject({
      parts: [{ text: "Delegation failed: no ink" }],
      metadata: { delegation_id: failed, delegation_status: "failed" },
    });
    const late = await aDelegation(caller, callee);
    await entryWhen(callee, late, "dispatched");
    await act(caller, late, "cancel");
    await bodiesAt(caller.player, 2);
    await complete(callee, late, "after all");
    const bodies = await bodiesAt(caller.player, 3);
    expect(bodies[2].params.message).toMatchObject({ parts: [{ text: "after all" }], metadata: { late: true } });
  });

  it.each(["status/500", "reset", "cloudflare/521"])(
    "is not called again where that fails (%s), and its delegation stands",
    async (behaviour) => {
      const { caller, callee } = await aPushCaller(behaviour, "echo");
      const id = await aDelegation(caller, callee);
      await entryWhen(callee, id, "dispatched");
      await answer(callee, caller, id, "done");
      const failed = { method: "message/send", status: "error", source_id: callee.id };
      await until("the call has failed", async () => (await rowsOf(caller, failed)).length === 1);
      later(60 * 60_000);
      await wake(caller, callee);
      expect(await caller.player.received()).toHaveLength(1);
      expect(await entryOf(caller, id)).toMatchObject({ status: "completed", response_preview: "done" });
      expect(await textsOf(caller)).toEqual(["done"]);
    },
  );

  it.each([
    ["gets it from its queue once it is free", 2, (caller: Agent) => beat(caller)],
    [
      "finds it in its inbox, once, when it turns to polling",
      1,
      ({ id, token }: Agent) =>
        call("/registry/register", { token, json: { id, agent_card: {}, delivery_mode: "poll" } }),
    ],
  ])("that is busy %s", async (_how, calls, act) => {
    const { caller, callee } = await aPushCaller("status/503", "echo");
    const id = await aDelegation(caller, callee);
    await entryWhen(callee, id, "dispatched");
    await answer(callee, caller, id, "done");
    await bodiesAt(caller.player, 1);
    const open = () => queueOf(caller, "completed_at IS NULL");
    await until("it waits", async () => (await open()) === 1);
    await act(caller);
    await until("it waits no longer", async () => (await open()) === 0);
    const words = (await bodiesAt(caller.player, calls)).map(({ params }) => params.message.parts[0].text);
    expect(words).toEqual(Array(calls).fill("done"));
    expect(await textsOf(caller)).toEqual(["done"]);
  });

  it("is called with as much as no row holds, and that text is kept once", async () => {
    const { caller, callee } = await aPushCaller("echo");
    const id = await aDelegation(caller, callee);
    await entryWhen(callee, id, "dispatched");
    const text = "x".repeat(900_000);
    await answer(callee, caller, id, text);
    const [body] = await bodiesAt(caller.player, 1);
    expect(body.params.message.parts[0].text).toBe(text);
    await until("the call is a row", async () => (await rowsOf(caller, { method: "message/send" })).length === 1);
    expect((await rowsOf(caller, { method: "message/send" }))[0]).not.toHaveProperty("request_body");
  });
});

describe("a busy push target", () => {
  it("gets the task from its queue once it is free; the result is wherever it is looked for", async () => {
    const { caller, callee } = await aScripted("status/503", "status/429", "echo");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "queued");
    const target = { delegation_id: id, target_id: callee.id };
    await until("the queue is told", async () => (await rowsOf(caller, { method: "delegate_result" })).length === 1);
    expect(await rowsOf(caller, { activity_type: "delegation" })).toMatchObject([
      { method: "delegate", status: "queued" },
      {
        method: "delegate_result",
        status: "queued",
        summary: "Delegation queued — target at capacity",
        response_body: { delegation_id: id, queued: true },
      },
    ]);
    await beat(callee);
    await bodiesAt(callee.player, 2);
    await until("it waits again", async () => {
      await beat(callee);
      return (await callee.player.received()).length === 3;
    });
    await entryWhen(caller, id, "completed");
    expect(await rowsOf(caller, { activity_type: "delegation" })).toMatchObject([
      { method: "delegate", status: "completed" },
      { method: "delegate_result", status: "completed", response_body: { text: "echo", delegation_id: id } },
    ]);
    expect(await textsOf(caller)).toEqual(["echo"]);
    expect(await eventsOf(caller, id)).toEqual([
      { event: "DELEGATION_SENT", ...target, task_preview: "do it" },
      { event: "DELEGATION_STATUS", ...target, status: "dispatched" },
      { event: "DELEGATION_STATUS", ...target, status: "queued" },
      { event: "DELEGATION_COMPLETE", ...target, response_preview: "echo", via: "queue_drain" },
    ]);
    await entryWhen(callee, id, "completed");
  });

  it("that never gets free fails it after its attempts", async () => {
    const { caller, callee } = await aScripted("status/503");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "queued");
    await until("it has failed", async () => {
      await beat(callee);
      return (await entryOf(caller, id)).status === "failed";
    });
    expect(await callee.player.received()).toHaveLength(6);
    expect(await resultsOf(caller)).toHaveLength(1);
  });

  it("that an operator clears fails it with that reason", async () => {
    const { caller, callee } = await aScripted("status/503");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "queued");
    await until("it waits", async () => (await rowsOf(caller, { method: "delegate_result" })).length === 1);
    later(2_000);
    await call(`/admin/a2a-queue/drop-stale?max_age_minutes=0&workspace_id=${callee.id}`, { method: "POST" });
    expect(await entryWhen(caller, id, "failed")).toMatchObject({ error: "dropped as stale by an operator" });
  });

  it("that turns to polling finds it in its inbox, and answers from there", async () => {
    const { caller, callee } = await aScripted("status/503");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "queued");
    await until("it waits", async () => (await rowsOf(caller, { method: "delegate_result" })).length === 1);
    await call("/registry/register", {
      token: callee.token,
      json: { id: callee.id, agent_card: {}, delivery_mode: "poll" },
    });
    await entryWhen(caller, id, "dispatched");
    expect(await rowsOf(callee, { method: "message/send" })).toHaveLength(1);
    await complete(callee, id, "by poll");
    await entryWhen(caller, id, "completed");
    expect(await textsOf(caller)).toEqual(["by poll"]);
  });

  it("loses it again when it is cancelled before it was sent", async () => {
    const { caller, callee } = await aScripted("status/503", "echo");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "queued");
    await until("it waits", async () => (await rowsOf(caller, { method: "delegate_result" })).length === 1);
    expect((await act(caller, id, "cancel")).body).toMatchObject({ cancel_requested: false });
    await entryWhen(callee, id, "failed");
    await beat(callee);
    await tell(callee, "anything else?");
    expect(await callee.player.received()).toHaveLength(2);
    expect((await bodiesAt(callee.player, 2)).map(({ params }) => params.message.parts[0].text)).toEqual([
      "do it",
      "anything else?",
    ]);
  });

  it("does not get to keep it when it turns out busy after the end", async () => {
    const { caller, callee } = await aScripted("hold/status/503", "echo");
    const id = await aDelegation(caller, callee);
    await bodiesAt(callee.player, 1);
    await act(caller, id, "cancel");
    await entryWhen(callee, id, "failed");
    await callee.player.release();
    await until("the call has been told", async () => (await rowsOf(callee, { method: "message/send" })).length === 1);
    await beat(callee);
    await tell(callee, "anything else?");
    expect(await callee.player.received()).toHaveLength(2);
  });

  it("does not get it again once the agent has reported its end by itself", async () => {
    const { caller, callee } = await aScripted("status/503", "echo");
    const id = await aDelegation(caller, callee);
    await entryWhen(caller, id, "queued");
    await until("it waits", async () => (await rowsOf(caller, { method: "delegate_result" })).length === 1);
    await complete(callee, id, "I had it in mind");
    await entryWhen(callee, id, "completed");
    await beat(callee);
    await tell(callee, "anything else?");
    expect(await callee.player.received()).toHaveLength(2);
    expect(await textsOf(caller)).toEqual(["I had it in mind"]);
  });
});
