import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { CallIntent } from "../../src/durable-objects/outbound-call/call.ts";
import { observe } from "../../src/durable-objects/outbound-call/observe.ts";
import { aPushAgent, PushAgent } from "../support/agent-server.ts";
import { losing } from "../support/lost-words.ts";
import { type Agent, poll, tell } from "../support/platform.ts";
import { until } from "../support/until.ts";

const DAY_MS = 24 * 60 * 60_000;
const HAND_OVER_MISSED_MS = 11_000;

afterEach(() => {
  vi.useRealTimers();
});

/** What the target's object makes of a message; nobody has handed the call over yet. */
async function aCall(agent: Agent): Promise<CallIntent> {
  const body = '{"jsonrpc":"2.0","id":1,"method":"message/send","params":{}}';
  const messageId = crypto.randomUUID();
  const message = { body, bodyKey: null, method: "message/send", messageId, digest: messageId };
  const { outcome } = await env.WORKSPACE.getByName(agent.id).receive({ caller: null, message });
  if (!outcome.ok || outcome.value.mode !== "call") throw new Error("no call was decided on");
  return { ...outcome.value.intent, body, bodyKey: null };
}

async function openCalls(agent: Agent): Promise<number> {
  return (await callIds(agent)).length;
}

function callIds(agent: Agent): Promise<string[]> {
  return runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage }) =>
    storage.sql
      .exec<{ call_id: string }>("SELECT call_id FROM calls")
      .toArray()
      .map((call) => call.call_id),
  );
}

/** Lets the time pass after which a workspace hands its calls over itself. */
async function missTheHandOver(agent: Agent): Promise<void> {
  const ids = await callIds(agent);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + HAND_OVER_MISSED_MS });
  await runDurableObjectAlarm(env.WORKSPACE.getByName(agent.id));
  // The calls' own alarms stand at the time that the test has made up.
  for (const id of ids) await runDurableObjectAlarm(env.OUTBOUND_CALL.getByName(id));
  vi.useRealTimers();
  await until("the call is reported", async () => (await openCalls(agent)) === 0);
}

describe("a call", () => {
  it("is made by the workspace's own alarm when nobody has handed it over in time, and only once", async () => {
    const agent = await aPushAgent("echo");
    await aCall(agent);
    await missTheHandOver(agent);
    expect((await poll(agent)).body).toMatchObject([{ status: "ok" }]);
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("that is handed over twice is made once, and both learn its outcome", async () => {
    const agent = await aPushAgent("echo");
    const intent = await aCall(agent);
    const call = env.OUTBOUND_CALL.getByName(intent.callId);
    const answers = await Promise.all([1, 2].map(() => call.start({ intent, waitMs: 10_000 })));
    expect(answers).toMatchObject([{ state: "answered" }, { state: "answered" }]);
    expect(await call.start({ intent, waitMs: 0 })).toMatchObject({ state: "answered" });
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("that is killed after it has started is unknown, and is not made again", async () => {
    const agent = await aPushAgent("hold");
    const intent = await aCall(agent);
    const call = env.OUTBOUND_CALL.getByName(intent.callId);
    await call.start({ intent, waitMs: 0 });
    await until("the agent has it", async () => (await agent.player.received()).length === 1);
    await runInDurableObject(call, (_instance, state) => state.abort("killed")).catch(() => undefined);
    await until("the call is reported", async () => {
      await env.OUTBOUND_CALL.getByName(intent.callId)
        .start({ intent, waitMs: 0 })
        .catch(() => undefined);
      return (await openCalls(agent)) === 0;
    });
    expect((await poll(agent)).body).toMatchObject([
      { status: "error", error_detail: "the platform lost sight of the call" },
    ]);
    expect(await env.OUTBOUND_CALL.getByName(intent.callId).start({ intent, waitMs: 0 })).toMatchObject({
      state: "refused",
      code: "a2a.unreachable",
      options: { details: { delivery_confirmed: false } },
    });
    expect(await agent.player.received()).toHaveLength(1);
    await agent.player.release();
  });

  it("whose report is lost answers its caller all the same and reports again until it is confirmed", async () => {
    const agent = await aPushAgent("echo");
    const intent = await aCall(agent);
    const call = env.OUTBOUND_CALL.getByName(intent.callId);
    await losing("reportCall", 3, async () => {
      expect(await call.start({ intent, waitMs: 10_000 })).toMatchObject({ state: "answered", status: 200 });
      await runDurableObjectAlarm(call);
      await runDurableObjectAlarm(call);
    });
    expect(await openCalls(agent)).toBe(1);
    expect((await poll(agent)).body).toEqual([]);
    await runDurableObjectAlarm(call);
    await until("the call is reported", async () => (await openCalls(agent)) === 0);
    expect((await poll(agent)).body).toHaveLength(1);
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("whose confirmation is lost leaves one row, however often it reports", async () => {
    const agent = await aPushAgent("echo");
    const intent = await aCall(agent);
    await env.OUTBOUND_CALL.getByName(intent.callId).start({ intent, waitMs: 10_000 });
    const call = env.OUTBOUND_CALL.getByName(intent.callId);
    await runInDurableObject(call, (_instance, { storage }) => storage.kv.delete("confirmed"));
    await runDurableObjectAlarm(call);
    expect((await poll(agent)).body).toHaveLength(1);
  });

  it("stores nothing any more a day after its report was confirmed", async () => {
    const agent = await aPushAgent("echo");
    const intent = await aCall(agent);
    const call = env.OUTBOUND_CALL.getByName(intent.callId);
    await call.start({ intent, waitMs: 10_000 });
    const keys = () => runInDurableObject(call, (_instance, { storage }) => [...storage.kv.list()].map(([key]) => key));
    expect(await keys()).toEqual(["confirmed", "ended", "intent", "started"]);
    await runDurableObjectAlarm(call);
    expect(await keys()).toHaveLength(4);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + DAY_MS });
    await runDurableObjectAlarm(call);
    expect(await keys()).toEqual([]);
  });

  it("to a workspace that is gone by then ends all the same", async () => {
    const player = new PushAgent();
    const callId = crypto.randomUUID();
    const intent: CallIntent = {
      callId,
      attempt: 1,
      reportTo: crypto.randomUUID(),
      url: player.url("echo"),
      target: { name: "gone", method: "message/send", container: "none", nativeSession: false },
      body: "{}",
      bodyKey: null,
    };
    expect(await env.OUTBOUND_CALL.getByName(callId).start({ intent, waitMs: 10_000 })).toMatchObject({
      state: "answered",
    });
  });

  it("whose Worker cannot hand it over is answered with a queue id and made all the same", async () => {
    const agent = await aPushAgent("echo");
    const answer = await losing("start", 1, () => tell(agent, "hello"));
    expect(answer).toMatchObject({ status: 202, body: { queued: true } });
    await missTheHandOver(agent);
    expect(await agent.player.received()).toHaveLength(1);
  });
});

describe("one look at an agent", () => {
  const call = {
    body: "{}",
    policy: { allowPrivate: true, requireHostname: false },
    answerBytesMax: 1_000,
    ceilingMs: 50,
  };

  it("ends at its ceiling", async () => {
    const player = new PushAgent();
    expect(await observe({ ...call, url: player.url("hold") })).toEqual({ kind: "timed_out" });
    await player.release();
  });

  it("refuses a private address before anything is sent", async () => {
    const player = new PushAgent();
    const policy = { allowPrivate: false, requireHostname: false };
    expect(await observe({ ...call, policy, url: player.url("echo") })).toMatchObject({ kind: "guard_refused" });
    expect(await player.received()).toEqual([]);
  });

  it("takes it from nobody but npm start that nothing was sent", async () => {
    vi.spyOn(globalThis, "fetch").mockImplementation(async () =>
      Response.json({}, { status: 502, headers: { "x-posthouse-not-sent": "nothing listens" } }),
    );
    onTestFinished(() => void vi.restoreAllMocks());
    const url = "http://127.0.0.1:1/";
    expect(await observe({ ...call, url })).toMatchObject({ kind: "answered", status: 502 });
    expect(await observe({ ...call, url, isProbed: true })).toEqual({ kind: "not_sent", reason: "nothing listens" });
  });

  it("tells an answer that is too large from one that was cut", async () => {
    const player = new PushAgent();
    const ceilingMs = 10_000;
    expect(await observe({ ...call, ceilingMs, url: player.url("large/1001") })).toEqual({
      kind: "too_large",
      status: 200,
    });
    expect(await observe({ ...call, ceilingMs, url: player.url("large/1000") })).toMatchObject({ kind: "answered" });
    expect(await observe({ ...call, ceilingMs, url: player.url("cut") })).toEqual({ kind: "answer_cut", status: 200 });
  });
});
