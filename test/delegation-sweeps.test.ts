import { env, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { BoardEntry } from "../src/domain/board.ts";
import { DIRECTORY_SCHEMA } from "../src/durable-objects/directory/schema.ts";
import { IDLE_SWEEP_INTERVAL_MS, SweepPlan } from "../src/durable-objects/directory/sweep-plan.ts";
import { Schema } from "../src/durable-objects/shared/schema.ts";
import type { DueDelegations } from "../src/ledgers/delegation-ledger.ts";
import { sweepDelegations } from "../src/sweeper/delegation-sweep.ts";
import { SWEEP_CRON, scheduled } from "../src/sweeper/scheduled.ts";
import { aDatabase, aLane, away, query, statements } from "./support/ledger.ts";
import { type Agent, anAgent, call, poll } from "./support/platform.ts";
import { until } from "./support/until.ts";

const HOUR_MS = 60 * 60_000;
const MINUTE_MS = 60_000;
const FROM_THE_OLDEST = { deadline: null, heartbeat: null };

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function moveClock(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
}

/** What `delegations` sweeps logged of themselves. */
function summaries() {
  const logged = vi.spyOn(console, "log");
  return () =>
    logged.mock.calls
      .map(([line]) => JSON.parse(String(line)) as Record<string, unknown>)
      .filter(({ event }) => event === "sweep.delegations");
}

/** A delegation that stands in the ledger, with the alarm of its owner lost. */
async function aForgottenDelegation(): Promise<{ caller: Agent; callee: Agent; id: string }> {
  const [caller, callee] = [await anAgent(), await anAgent()];
  const { body } = await call(`/workspaces/${caller.id}/delegate`, {
    token: caller.token,
    json: { target_id: callee.id, task: "count the sheep" },
  });
  const id: string = body.delegation_id;
  await until("the ledger shows it", async () => (await stored({ id }))?.status === "dispatched");
  return { caller, callee, id };
}

async function forget({ caller }: { caller: Agent }): Promise<void> {
  const owner = env.WORKSPACE.get(env.WORKSPACE.idFromName(caller.id));
  await runInDurableObject(owner, (_instance, { storage }) => storage.deleteAlarm());
}

async function stored({ id }: { id: string }) {
  const [row] = await query("SELECT * FROM delegations WHERE delegation_id = $1", [id]);
  return row;
}

/** Lets the ledger believe that the clock has moved as the object's has. */
async function age({ id }: { id: string }, column: "deadline" | "last_heartbeat", by: string): Promise<void> {
  await query(`UPDATE delegations SET ${column} = ${column} - $1::interval WHERE delegation_id = $2`, [by, id]);
}

const sweepNow = () => scheduled({ cron: SWEEP_CRON }, env, true);

describe("the sweep of delegations", () => {
  it("ends what is past its deadline, and its caller is told", async () => {
    const forgotten = await aForgottenDelegation();
    await forget(forgotten);
    moveClock(7 * HOUR_MS);
    await age(forgotten, "deadline", "7 hours");
    await sweepNow();
    const row = await until("the ledger says failed", async () => {
      const found = await stored(forgotten);
      return found?.status === "failed" && found;
    });
    expect(row).toMatchObject({ error_detail: "deadline exceeded by sweeper" });
    expect((await poll(forgotten.caller)).body).toMatchObject([
      { method: "delegate_result", status: "error", error_detail: "deadline exceeded by sweeper" },
    ]);
  });

  it("notices silence after a heartbeat: the notice says for how long, and is no end", async () => {
    const forgotten = await aForgottenDelegation();
    const { callee, caller, id } = forgotten;
    await call(`/workspaces/${callee.id}/delegations/${id}/heartbeat`, { method: "POST", token: callee.token });
    await until("the heartbeat stands in the ledger", async () => (await stored(forgotten))?.last_heartbeat);
    await forget(forgotten);
    moveClock(11 * MINUTE_MS);
    await age(forgotten, "last_heartbeat", "11 minutes");
    await sweepNow();
    const row = await until("the ledger says stuck", async () => {
      const found = await stored(forgotten);
      return found?.status === "stuck" && found;
    });
    expect(row).toMatchObject({ error_detail: "no heartbeat for 10m0s", ended_at: null });
    const { status } = await call(`/workspaces/${callee.id}/delegations/${id}/update`, {
      token: callee.token,
      json: { status: "completed", response_preview: "twelve" },
    });
    expect(status).toBe(200);
    await until("it completed all the same", async () => (await stored(forgotten))?.status === "completed");
    expect((await poll(caller)).body).toHaveLength(2);
  });

  it("leaves healthy ones alone, those without a heartbeat included, and counts what its owner had settled", async () => {
    const healthy = await aForgottenDelegation();
    await forget(healthy);
    const before = await stored(healthy);
    moveClock(20 * MINUTE_MS);
    const lines = summaries();
    await sweepNow();
    expect(await stored(healthy)).toEqual(before);
    await age(healthy, "deadline", "7 hours");
    await sweepNow();
    const { raced } = lines().at(-1) as { raced: number };
    expect(raced).toBeGreaterThanOrEqual(1);
    expect(await stored(healthy)).toMatchObject({ status: "dispatched", version: before?.version });
  });

  it("lets one that has failed keep its error", async () => {
    const forgotten = await aForgottenDelegation();
    const { callee, id } = forgotten;
    const json = { status: "failed", error: "out of sheep" };
    await call(`/workspaces/${callee.id}/delegations/${id}/update`, { token: callee.token, json });
    await until("the ledger says failed", async () => (await stored(forgotten))?.status === "failed");
    moveClock(7 * HOUR_MS);
    await age(forgotten, "deadline", "7 hours");
    // As if the ledger had not heard of the end yet.
    await query("UPDATE delegations SET status = 'in_progress' WHERE delegation_id = $1", [id]);
    const lines = summaries();
    await sweepNow();
    expect((lines().at(-1) as { raced: number }).raced).toBeGreaterThanOrEqual(1);
    const { body } = await call(`/workspaces/${forgotten.caller.id}/delegations`, { token: forgotten.caller.token });
    expect(body).toMatchObject([{ delegation_id: id, status: "failed", error_detail: "out of sheep" }]);
  });

  it("goes on past workspaces that nobody knows", async () => {
    const url = await aDatabase();
    await query(
      `INSERT INTO delegations (caller_id, delegation_id, status, deadline, created_at, version)
       SELECT gen_random_uuid(), 'lost', 'dispatched', now() - interval '1 hour', now(), 1 FROM generate_series(1, 8)`,
      [],
      url,
    );
    const lines = summaries();
    await scheduled({ cron: SWEEP_CRON }, { ...env, DATABASE_URL: url }, true);
    expect(lines().at(-1)).toMatchObject({ scanned: 8, woken: 8, raced: 8, failed: 0, stuck: 0, errors: 0 });
  });
});

describe("one run over what a ledger found", () => {
  const due = (...owners: string[]): DueDelegations => ({
    due: owners.map((callerId, n) => ({ callerId, delegationId: `d${n}` })),
    anyOpen: true,
    next: { deadline: "later", heartbeat: null },
  });

  it("asks each owner once about all of its own, and an owner that fails or hangs stops nobody", async () => {
    const asked: unknown[] = [];
    const { summary, next } = await sweepDelegations(FROM_THE_OLDEST, {
      find: async () => due("one", "broken", "hanging", "one", "other"),
      judge: async (callerId, ids) => {
        if (callerId === "broken") throw new Error("broken");
        if (callerId === "hanging") return new Promise(() => undefined);
        asked.push([callerId, ids]);
        return callerId === "one" ? ["failed", "stuck"] : ["raced"];
      },
      now: () => 5,
      timeoutMs: 5,
    });
    expect(asked).toEqual([
      ["one", ["d0", "d3"]],
      ["other", ["d4"]],
    ]);
    expect(summary).toEqual({ scanned: 5, woken: 2, failed: 1, stuck: 1, raced: 1, errors: 2, duration_ms: 0 });
    expect(next).toEqual({ deadline: "later", heartbeat: null });
  });

  it("ends quietly when the ledger is away, and looks again at the same place", async () => {
    const after = { deadline: "here", heartbeat: "there" };
    const run = await sweepDelegations(after, {
      find: () => Promise.reject(new Error("away")),
      judge: async () => [],
      now: () => 5,
    });
    expect(run).toEqual({
      summary: { scanned: 0, woken: 0, failed: 0, stuck: 0, raced: 0, errors: 1, duration_ms: 0 },
      anyOpen: true,
      next: after,
    });
  });
});

describe("the switches", () => {
  const statementsOf = async (variables: Record<string, string>) => {
    const lane = aLane();
    const NEON_FETCH_ENDPOINT = String(env.NEON_FETCH_ENDPOINT).replace(/[^/]*$/, lane);
    await scheduled({ cron: SWEEP_CRON }, { ...env, NEON_FETCH_ENDPOINT, ...variables }, true);
    return statements(lane);
  };

  it("cost no statement where sweeper or ledger are off; loose values leave them on", async () => {
    const [withoutDelegations, withDelegations] = [1, 2];
    expect(await statementsOf({})).toBe(withDelegations);
    for (const name of ["DELEGATION_SWEEPER", "DELEGATION_LEDGER_WRITE"]) {
      expect(await statementsOf({ [name]: "0" }), name).toBe(withoutDelegations);
      for (const loose of ["true", "yes", "off", "1"]) {
        expect(await statementsOf({ [name]: loose }), `${name}=${loose}`).toBe(withDelegations);
      }
    }
  });
});

describe("the plan of sweeps", () => {
  const interval = 5 * MINUTE_MS;
  const intervals = { delegations: interval };
  const entry: BoardEntry = {
    version: 1,
    status: "online",
    url: null,
    deliveryMode: "poll",
    agentCard: null,
    cardInObject: false,
    activeTasks: 0,
    currentTask: "",
    errorRate: 0,
    sampleError: "",
    startedAt: null,
    monthlySpend: 0,
    lastOutboundAt: null,
    setAside: 0,
    flushBlocked: null,
    openDelegations: 0,
    counters: {},
  };

  /** A directory of its own that has just looked and found nothing in flight. */
  async function anIdleDirectory() {
    const directory = env.DIRECTORY.getByName(crypto.randomUUID());
    const tell = (openDelegations: number) =>
      directory.board({ workspaceId: crypto.randomUUID(), entry: { ...entry, openDelegations } });
    const begin = async () => (await directory.beginSweeps({ againInMs: intervals, all: false })).length === 1;
    const end = (idle: boolean, errors = 0) =>
      directory.endSweep({ name: "delegations", idle, cursor: "where it stopped", errors });
    expect(await begin()).toBe(false);
    await tell(0);
    expect(await begin()).toBe(true);
    await end(true);
    return { directory, tell, begin, end };
  }

  it("lets an idle deployment rest for six hours", async () => {
    const { begin } = await anIdleDirectory();
    moveClock(IDLE_SWEEP_INTERVAL_MS - MINUTE_MS);
    expect(await begin()).toBe(false);
    moveClock(MINUTE_MS);
    expect(await begin()).toBe(true);
  });

  it("looks again after an interval while something is in flight", async () => {
    const { directory, begin, end } = await anIdleDirectory();
    moveClock(IDLE_SWEEP_INTERVAL_MS);
    expect(await directory.beginSweeps({ againInMs: intervals, all: false })).toEqual([
      { name: "delegations", cursor: "where it stopped" },
    ]);
    expect(await begin()).toBe(false);
    await end(false);
    moveClock(interval);
    expect(await begin()).toBe(true);
  });

  it("is pulled forward by a workspace from which something has come into flight", async () => {
    const { tell, begin } = await anIdleDirectory();
    await tell(0);
    moveClock(interval);
    expect(await begin()).toBe(false);
    await tell(2);
    moveClock(interval);
    await tell(2);
    expect(await begin()).toBe(true);
  });

  it("does not rest when something came into flight while a sweep found nothing", async () => {
    const { tell, begin, end } = await anIdleDirectory();
    moveClock(IDLE_SWEEP_INTERVAL_MS);
    expect(await begin()).toBe(true);
    await tell(1);
    await end(true);
    moveClock(interval);
    expect(await begin()).toBe(true);
  });

  it("is made anew, due at once, in a directory of the schema before it", async () => {
    const directory = env.DIRECTORY.getByName(crypto.randomUUID());
    const begun = await runInDurableObject(directory, (_instance, { storage }) => {
      new Schema(storage, DIRECTORY_SCHEMA.slice(0, 1)).create();
      storage.sql.exec("UPDATE directory SET sweep_due = ?, tree_version = 7", Date.now() + HOUR_MS);
      expect(new Schema(storage, DIRECTORY_SCHEMA).state).toBe("ready");
      return new SweepPlan(storage.sql).begin({ uploads: 1, delegations: 1 }, false, Date.now());
    });
    expect(begun.map(({ name }) => name)).toEqual(["uploads", "delegations"]);
  });

  it("knows each sweep that a tick asks about, and no other", async () => {
    const { directory } = await anIdleDirectory();
    const all = { uploads: interval, delegations: interval };
    expect(await directory.beginSweeps({ againInMs: all, all: true })).toHaveLength(2);
    expect(await directory.beginSweeps({ againInMs: {}, all: true })).toEqual([]);
  });

  it("counts what went wrong", async () => {
    const { directory, end } = await anIdleDirectory();
    await end(false, 3);
    await end(false, 1);
    expect((await directory.gauges()).sweepErrors).toEqual({ uploads: 0, delegations: 4 });
    expect((await env.DIRECTORY.getByName(crypto.randomUUID()).gauges()).sweepErrors).toEqual({});
  });

  it("keeps its interval while the ledger is away", async () => {
    const lane = aLane();
    await away(lane);
    const NEON_FETCH_ENDPOINT = String(env.NEON_FETCH_ENDPOINT).replace(/[^/]*$/, lane);
    await anAgent();
    const before = await env.DIRECTORY.getByName("default").gauges();
    await scheduled({ cron: SWEEP_CRON }, { ...env, NEON_FETCH_ENDPOINT }, true);
    const { sweepErrors } = await env.DIRECTORY.getByName("default").gauges();
    for (const name of ["uploads", "delegations"]) {
      expect(sweepErrors[name], name).toBe((before.sweepErrors[name] ?? 0) + 1);
    }
    moveClock(interval);
    const due = await env.DIRECTORY.getByName("default").beginSweeps({ againInMs: intervals, all: false });
    expect(due).toMatchObject([{ name: "delegations" }]);
  });
});
