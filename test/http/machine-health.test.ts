import { env } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { CallReport } from "../../src/durable-objects/outbound-call/call.ts";
import { PushAgent } from "../support/agent-server.ts";
import { aMachine, callsOf, listed, machines, registered, ring, statusBecomes, tokenOf } from "../support/machines.ts";
import { type Agent, call, poll, tell } from "../support/platform.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;
/** After so long without a word silence is noted, and the machine looked at. */
const STALE_MS = 90_000;

afterEach(() => {
  vi.useRealTimers();
});

function later(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
}

/** A machine goes away by itself: the backend knows it no more. */
function dies(id: string): void {
  machines.remove({ workspaceId: id, instanceId: null });
}

const looksAt = (id: string) => callsOf(id).filter((verb) => verb === "isRunning").length;
const startsOf = (id: string) => callsOf(id).filter((verb) => verb === "start").length;

async function aRunningMachine(): Promise<Agent> {
  const id = await aMachine();
  const agent = await registered(id);
  await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
  return agent;
}

/** Registers a platform-run agent under its start's token, called at a URL that behaves like this. */
async function registeredAt(id: string, player: PushAgent, behaviour: string): Promise<Agent> {
  await until("it runs", async () => machines.runningFor(id).length === 1);
  const token = tokenOf(id);
  const json = { id, url: player.url(behaviour), delivery_mode: "push", agent_card: { name: "agent" } };
  expect((await call("/registry/register", { token, json })).status).toBe(200);
  await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
  return { id, token };
}

async function eventTypesOf(id: string): Promise<string[]> {
  return (await call(`/events/${id}`)).body.map((event: { event_type: string }) => event.event_type).reverse();
}

describe("a machine that stopped by itself", () => {
  it("is started anew once its agent has been silent, offline in between, with nothing left of the old one", async () => {
    const { id } = await aRunningMachine();
    dies(id);
    later(STALE_MS + 1_000);
    await until("the next one runs", async () => {
      await ring(id);
      return machines.runningFor(id).length === 1;
    });
    expect(callsOf(id)).toEqual(["start", "isRunning", "stop", "start"]);
    await registered(id);
    expect(await listed(id)).toMatchObject({ status: "online", last_sample_error: "" });
    await until("all is recorded", async () => (await eventTypesOf(id)).length === 5);
    expect(await eventTypesOf(id)).toEqual([
      "WORKSPACE_PROVISIONING",
      "WORKSPACE_ONLINE",
      "WORKSPACE_OFFLINE",
      "WORKSPACE_PROVISIONING",
      "WORKSPACE_ONLINE",
    ]);
  });

  it("is never looked at while its agent is heard", async () => {
    const { id, token } = await aRunningMachine();
    dies(id);
    later(STALE_MS - 1_000);
    await call("/registry/heartbeat", { token, json: { workspace_id: id } });
    later(2_000);
    await ring(id);
    expect(callsOf(id)).toEqual(["start"]);
  });

  it("is found by the message that does not reach it, whose sender is told when to try again", async () => {
    const id = await aMachine({ runtime: "codex" });
    await registeredAt(id, new PushAgent(), "reset");
    dies(id);
    const answer = await tell({ id, token: "" }, "are you there");
    expect(answer).toMatchObject({
      status: 503,
      body: {
        error: "workspace agent unreachable — container restart triggered",
        restarting: true,
        retry_after: 15,
        delivery_confirmed: false,
      },
    });
    expect(answer.headers.get("Retry-After")).toBe("15");
    await until("the next one runs", async () => startsOf(id) === 2 && machines.runningFor(id).length === 1);
    expect(callsOf(id)).toEqual(["start", "isRunning", "stop", "start"]);
  });

  it("makes a gateway's answer in its place the word of its death, but only then", async () => {
    const id = await aMachine({ runtime: "codex" });
    const player = new PushAgent();
    const agent = await registeredAt(id, player, "text/504");
    expect((await tell({ id, token: "" }, "first")).status).toBe(504);
    expect(looksAt(id)).toBe(1);
    dies(id);
    expect(await tell({ id, token: "" }, "second")).toMatchObject({ status: 503, body: { restarting: true } });
    await until("the next one runs", async () => startsOf(id) === 2);
    expect((await poll(agent)).status).toBe(401);
  });

  it("fails the workspace, with the reason, when it happens more than five times within an hour", async () => {
    const { id } = await aRunningMachine();
    for (let death = 1; death <= 5; death += 1) {
      dies(id);
      later(6 * MINUTE_MS);
      await until("the next one runs", async () => {
        await ring(id);
        return startsOf(id) === death + 1 && machines.runningFor(id).length === 1;
      });
      await registered(id);
      await ring(id);
    }
    dies(id);
    later(6 * MINUTE_MS);
    await ring(id);
    await statusBecomes(id, "failed");
    expect(await listed(id)).toMatchObject({
      last_sample_error:
        "the machine stopped by itself more than 5 times within an hour — see its log, then restart the workspace",
    });
    await until("it is recorded", async () => (await eventTypesOf(id)).at(-1) === "WORKSPACE_PROVISION_FAILED");
    expect(startsOf(id)).toBe(6);
    // People may restart it, and then it counts from the beginning.
    await call(`/workspaces/${id}/restart`, { method: "POST" });
    await until("it runs again", async () => {
      await ring(id);
      return startsOf(id) === 7 && machines.runningFor(id).length === 1;
    });
    await registered(id);
    dies(id);
    later(6 * MINUTE_MS);
    await until("it is started anew", async () => {
      await ring(id);
      return startsOf(id) === 8;
    });
  });
});

describe("a word about a machine", () => {
  const reportOf = (deadInstanceId: string | undefined, attempt: number): CallReport => ({
    callId: "call",
    attempt,
    repeated: false,
    outcome: {
      delivered: "unknown",
      reason: "reset",
      reply: { kind: "refuse", code: "a2a.restarting", options: {} },
      row: { status: "error", summary: "failed", errorDetail: "reset", toolTrace: null },
      recorded: null,
      usage: null,
      durationMs: 1,
      ...(deadInstanceId === undefined ? {} : { deadInstanceId }),
    },
  });

  it("that comes late is about the one before, and replaces nothing", async () => {
    const { id } = await aRunningMachine();
    const [first] = machines.runningFor(id);
    await call(`/workspaces/${id}/restart`, { method: "POST" });
    await until("the next one runs", async () => startsOf(id) === 2 && machines.runningFor(id).length === 1);
    await registered(id);
    await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
    expect((await env.WORKSPACE.getByName(id).reportCall(reportOf(first, 1))).outcome.ok).toBe(true);
    await ring(id);
    expect([startsOf(id), (await listed(id)).status]).toEqual([2, "online"]);
  });

  it("that comes twice replaces it once", async () => {
    const { id } = await aRunningMachine();
    const [instanceId] = machines.runningFor(id);
    dies(id);
    const report = reportOf(instanceId, 1);
    await Promise.all([1, 2].map(() => env.WORKSPACE.getByName(id).reportCall(report)));
    await until("the next one runs", async () => startsOf(id) === 2 && machines.runningFor(id).length === 1);
    await registered(id);
    await env.WORKSPACE.getByName(id).reportCall(report);
    await ring(id);
    expect(startsOf(id)).toBe(2);
  });

  it("is not asked for when an agent says in its own words that it is busy", async () => {
    const id = await aMachine({ runtime: "codex" });
    await registeredAt(id, new PushAgent(), "status/503");
    expect((await tell({ id, token: "" }, "later")).status).toBe(202);
    expect(looksAt(id)).toBe(0);
  });
});

describe("a machine whose agent is silent though it runs", () => {
  it("is looked at again at intervals, and left alone", async () => {
    const { id } = await aRunningMachine();
    later(STALE_MS + 1_000);
    await ring(id);
    later(MINUTE_MS);
    await ring(id);
    expect(await listed(id)).toMatchObject({ status: "offline" });
    expect(looksAt(id)).toBe(1);
    later(5 * MINUTE_MS);
    await ring(id);
    expect(looksAt(id)).toBe(2);
    expect(machines.runningFor(id)).toHaveLength(1);
    expect(startsOf(id)).toBe(1);
  });

  it("is not taken for dead when the backend cannot say", async () => {
    const { id } = await aRunningMachine();
    dies(id);
    machines.play(id, "isRunning", "lose_answer");
    later(STALE_MS + 1_000);
    await ring(id);
    expect(callsOf(id)).toEqual(["start", "isRunning"]);
    later(6 * MINUTE_MS);
    await until("the next one runs", async () => {
      await ring(id);
      return startsOf(id) === 2;
    });
  });
});

describe("what is paused, removed or external", () => {
  it("is never started because it does not run", async () => {
    const paused = await aRunningMachine();
    const removed = await aRunningMachine();
    const external = (await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "external" } })).body.id;
    await call(`/workspaces/${paused.id}/pause`, { method: "POST" });
    await call(`/workspaces/${removed.id}`, { method: "DELETE" });
    later(10 * MINUTE_MS);
    for (const id of [paused.id, removed.id, external]) {
      await ring(id);
      await ring(id);
      expect([startsOf(id), looksAt(id)]).toEqual([id === external ? 0 : 1, 0]);
    }
  });
});

describe("an agent whose machine was restarted", () => {
  const contextsOf = async (agent: Agent) =>
    (await poll(agent)).body
      .map(({ request_body }: { request_body: { params?: { message?: Record<string, unknown> } } }) => request_body)
      .filter((body: { params?: { message?: { metadata?: { kind?: string } } } } | null) => {
        return body?.params?.message?.metadata?.kind === "restart_context";
      });

  it("is told so once it is up, with the names of its secrets and none of their values", async () => {
    const id = await aMachine({ secrets: { API_KEY: "s3cret" } });
    const before = await registered(id);
    expect(await contextsOf(before)).toEqual([]);
    await call(`/workspaces/${id}/restart`, { method: "POST" });
    await until("the next one runs", async () => startsOf(id) === 2 && machines.runningFor(id).length === 1);
    const agent = await registered(id);
    const told = await until("it is told", async () => {
      await ring(id);
      const contexts = await contextsOf(agent);
      return contexts.length > 0 && contexts;
    });
    expect(told).toHaveLength(1);
    const { text } = told[0].params.message.parts[0];
    expect(text).toMatch(/^=== WORKSPACE RESTART CONTEXT ===\nThe workspace was restarted\.\nRestarted at: \d{4}-/);
    expect(text).toMatch(/Last heartbeat before it: \d{4}-/);
    expect(text).toContain("API_KEY");
    expect(JSON.stringify(told)).not.toContain("s3cret");
    await call("/registry/heartbeat", { token: agent.token, json: { workspace_id: id } });
    expect(await contextsOf(agent)).toHaveLength(1);
  });

  it("is called with it where it is pushed to, once", async () => {
    const id = await aMachine({ runtime: "codex" });
    const player = new PushAgent();
    await registeredAt(id, player, "echo");
    await call(`/workspaces/${id}/restart`, { method: "POST" });
    await until("the next one runs", async () => startsOf(id) === 2);
    await registeredAt(id, player, "echo");
    const received = await until("it is called", async () => {
      const calls = await player.received();
      return calls.length > 0 && calls;
    });
    expect(received).toHaveLength(1);
    expect(JSON.parse(received[0]?.body ?? "")).toMatchObject({
      method: "message/send",
      params: { message: { metadata: { kind: "restart_context" } } },
    });
  });

  it("is called with it after it has registered, though it beats before", async () => {
    const id = await aMachine({ runtime: "codex" });
    const player = new PushAgent();
    await registeredAt(id, player, "echo");
    await call(`/workspaces/${id}/restart`, { method: "POST" });
    await until("the next one runs", async () => startsOf(id) === 2 && machines.runningFor(id).length === 1);
    await until("its start is known", async () => {
      const { outcome } = await env.WORKSPACE.getByName(id).machineRows();
      return outcome.ok && outcome.value.machines.every(({ state }) => state === "running");
    });
    await call("/registry/heartbeat", { token: tokenOf(id), json: { workspace_id: id } });
    await registeredAt(id, player, "echo");
    const received = await until("it is called", async () => {
      const calls = await player.received();
      return calls.length > 0 && calls;
    });
    expect(received.map(({ body }) => JSON.parse(body).params.message.metadata)).toEqual([{ kind: "restart_context" }]);
  });

  it("learns that its machine had stopped by itself", async () => {
    const { id } = await aRunningMachine();
    dies(id);
    later(STALE_MS + 1_000);
    await until("the next one runs", async () => {
      await ring(id);
      return startsOf(id) === 2 && machines.runningFor(id).length === 1;
    });
    const agent = await registered(id);
    const [context] = await until("it is told", async () => {
      await ring(id);
      const contexts = await contextsOf(agent);
      return contexts.length > 0 && contexts;
    });
    expect(context.params.message.parts[0].text).toContain("because its machine had stopped by itself");
  });

  it("is told nothing after a pause or a sleep, which it was told of by what ended them", async () => {
    const { id } = await aRunningMachine();
    await call(`/workspaces/${id}/pause`, { method: "POST" });
    await until("nothing runs", async () => machines.runningFor(id).length === 0);
    await call(`/workspaces/${id}/resume`, { method: "POST" });
    await until("it runs", async () => machines.runningFor(id).length === 1);
    const agent = await registered(id);
    await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
    expect(await contextsOf(agent)).toEqual([]);
  });
});
