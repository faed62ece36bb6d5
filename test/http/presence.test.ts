import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { digestOf } from "../../src/domain/credential.ts";
import { aWorkspace, remove } from "../support/client-tree.ts";
import { query } from "../support/ledger.ts";
import { type Agent, anAgent, call, poll, tell } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const STALE_MS = 90_000;
const CONFIRM_MS = 45_000;

afterEach(() => {
  vi.useRealTimers();
});

function workspaceOf({ id }: Agent) {
  return env.WORKSPACE.get(env.WORKSPACE.idFromName(id));
}

/** Moves the clock; nothing in the platform sleeps through it. */
function later(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
}

/** What an alarm or a sweep does: the object looks at what is due. */
async function look(agent: Agent): Promise<void> {
  await runInDurableObject(workspaceOf(agent), (instance) => instance.wake());
}

async function lastSeenOf(agent: Agent): Promise<number | null> {
  return runInDurableObject(
    workspaceOf(agent),
    (_instance, { storage: { sql } }) =>
      sql.exec<{ at: number | null }>("SELECT last_seen AS at FROM workspace").one().at,
  );
}

async function statusOf({ id }: Agent): Promise<string> {
  return (await call(`/workspaces/${id}`)).body.status;
}

function beat({ id, token }: Agent) {
  return call("/registry/heartbeat", { token, json: { workspace_id: id } });
}

describe("an agent that falls silent", () => {
  it("awaits its agent after 90 s of silence and a second look 45 s later, with WORKSPACE_OFFLINE recorded", async () => {
    const agent = await anAgent();
    later(STALE_MS - 1_000);
    await look(agent);
    expect(await statusOf(agent)).toBe("online");
    later(2_000);
    await look(agent);
    expect(await statusOf(agent)).toBe("online");
    later(CONFIRM_MS - 1_000);
    await look(agent);
    expect(await statusOf(agent)).toBe("online");
    later(2_000);
    await look(agent);
    expect(await statusOf(agent)).toBe("awaiting_agent");
    vi.useRealTimers();
    await quiet(agent.id);
    const [event] = await query(
      "SELECT event_type, payload FROM structure_events WHERE workspace_id = $1 ORDER BY version DESC LIMIT 1",
      [agent.id],
    );
    expect(event).toEqual({ event_type: "WORKSPACE_OFFLINE", payload: "{}" });
  });

  it("is found by the object's own alarm", async () => {
    const agent = await anAgent();
    for (let looks = 0; looks < 4 && (await statusOf(agent)) === "online"; looks++) {
      later(STALE_MS + 1_000);
      expect(await runDurableObjectAlarm(workspaceOf(agent))).toBe(true);
    }
    expect(await statusOf(agent)).toBe("awaiting_agent");
  });

  it("is forgiven when anything of its own arrives between the two looks", async () => {
    const agent = await anAgent();
    const signs: (() => Promise<{ status: number }>)[] = [
      () => poll(agent),
      () => beat(agent),
      () => call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "m" } }),
      () => call(`/registry/${agent.id}/peers`, { token: agent.token }),
    ];
    for (const sign of signs) {
      later(STALE_MS + 1_000);
      await look(agent);
      expect((await sign()).status).toBe(200);
      later(CONFIRM_MS + 1_000);
      await look(agent);
      expect(await statusOf(agent)).toBe("online");
    }
  });

  it("is not kept alive by mail from others, nor by an operator who reads along", async () => {
    const agent = await anAgent();
    for (const wait of [STALE_MS + 1_000, CONFIRM_MS + 1_000]) {
      later(wait);
      await tell(agent, "are you there?");
      await call(`/workspaces/${agent.id}/activity`);
      await look(agent);
    }
    expect(await statusOf(agent)).toBe("awaiting_agent");
  });

  it("is online again by a heartbeat, a poll or a registration, and gets its mail all the while", async () => {
    const agent = await anAgent();
    const back = [
      () => beat(agent),
      () => poll(agent),
      () =>
        call("/registry/register", {
          token: agent.token,
          json: { id: agent.id, delivery_mode: "poll", agent_card: { name: "agent", skills: [] } },
        }),
    ];
    for (const [index, comeBack] of back.entries()) {
      later(STALE_MS + 1_000);
      await look(agent);
      later(CONFIRM_MS + 1_000);
      await look(agent);
      expect(await statusOf(agent)).toBe("awaiting_agent");
      expect((await tell(agent, `while you were away ${index}`)).status).toBe(200);
      expect((await comeBack()).status).toBe(200);
      expect(await statusOf(agent)).toBe("online");
    }
    expect((await poll(agent)).body).toHaveLength(back.length);
  });
});

describe("silence changes nothing", () => {
  it("about a workspace whose agent never came, nor about a removed one", async () => {
    const [waiting, removed] = await Promise.all([aWorkspace(), anAgent()]);
    await remove(removed);
    for (let times = 0; times < 3; times++) {
      later(STALE_MS);
      await look(waiting);
      await look(removed);
    }
    expect(await statusOf(waiting)).toBe("awaiting_agent");
    expect((await call(`/workspaces/${removed.id}?include_removed=true`)).body.status).toBe("removed");
  });

  it("about one that came online by its URL until the same time has passed", async () => {
    const { body } = await call("/workspaces", {
      json: { name: crypto.randomUUID(), runtime: "external", url: "https://agent.example.com" },
    });
    const agent = { id: body.id, token: "" };
    later(STALE_MS - 1_000);
    await look(agent);
    expect(await statusOf(agent)).toBe("online");
    later(2_000);
    await look(agent);
    later(CONFIRM_MS + 1_000);
    await look(agent);
    expect(await statusOf(agent)).toBe("awaiting_agent");
  });
});

describe("a beat", () => {
  it("writes no sign of life while the stored one is young", async () => {
    const agent = await anAgent();
    const lastSeen = () =>
      runInDurableObject(
        workspaceOf(agent),
        (_instance, { storage: { sql } }) => sql.exec<{ at: number }>("SELECT last_seen AS at FROM workspace").one().at,
      );
    await beat(agent);
    const registered = await lastSeen();
    later(CONFIRM_MS - 1_000);
    await beat(agent);
    expect(await lastSeen()).toBe(registered);
    later(2_000);
    await beat(agent);
    expect(await lastSeen()).toBeGreaterThan(registered);
  });
});

describe("the platform's own look at a token", () => {
  it("is no sign of life of its agent, as a call of the agent is", async () => {
    const agent = await anAgent();
    const access = { kind: "token", digest: digestOf(agent.token) } as const;
    const before = await lastSeenOf(agent);
    later(STALE_MS);
    expect((await workspaceOf(agent).verify({ access, passive: true })).outcome.ok).toBe(true);
    expect(await lastSeenOf(agent)).toBe(before);
    await workspaceOf(agent).verify({ access });
    expect(await lastSeenOf(agent)).toBe(Date.now());
  });
});
