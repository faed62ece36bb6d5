import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { PURGE_STEPS, type PurgeState, type PurgeStep } from "../../src/durable-objects/workspace/purge-store.ts";
import { writeLedger } from "../../src/ledgers/ledger-write.ts";
import { LARGE_BODY_BYTES } from "../../src/storage/large-body.ts";
import { SWEEP_CRON, scheduled } from "../../src/sweeper/scheduled.ts";
import { aDelegation } from "../support/delegations.ts";
import { aLane, away, back, laneDatabase, query } from "../support/ledger.ts";
import { aMachine, machines, registered, ring } from "../support/machines.ts";
import { aForm, keysOf, stage } from "../support/parcel-post.ts";
import { type Agent, anAgent, call, poll, send, tell } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;

afterEach(async () => {
  vi.useRealTimers();
  await back();
  await runInDurableObject(directory(), (_instance, { storage }) => {
    storage.sql.exec("UPDATE flush_state SET retry_at = 0");
  });
  await runDurableObjectAlarm(directory());
});

const workspace = (id: string) => env.WORKSPACE.getByName(id);
const directory = () => env.DIRECTORY.getByName("default");

function purge(id: string, query = "") {
  return call(`/workspaces/${id}?purge=true${query}`, { method: "DELETE" });
}

/** All keys and tables of a workspace's object. */
function storageOf(id: string) {
  return runInDurableObject(workspace(id), (_instance, { storage }) => ({
    tables: storage.sql
      .exec<{ name: string }>(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'",
      )
      .toArray()
      .map(({ name }) => name),
    kv: Object.fromEntries(storage.kv.list<PurgeState>()),
  }));
}

/** The step at which a purge stands. */
async function stepOf(id: string): Promise<string | undefined> {
  return (await storageOf(id)).kv.purge?.step;
}

/** Time passes for the object until its purge is done. */
function isDone(id: string): Promise<unknown> {
  return until(`the purge of ${id} is done`, async () => {
    await runDurableObjectAlarm(workspace(id));
    return (await stepOf(id)) === "done";
  });
}

const PURGED_LEDGERS = ["activity_logs", "workspace_tokens", "a2a_queue"];

async function ledgerRows(id: string): Promise<number> {
  const counts = await Promise.all(
    PURGED_LEDGERS.map((ledger) => query(`SELECT count(*)::int AS rows FROM ${ledger} WHERE workspace_id = $1`, [id])),
  );
  return counts.flat().reduce((sum, { rows }) => sum + Number(rows), 0);
}

/** An agent with mail, a large text, a file, an open delegation to another one. */
async function aBusyAgent(): Promise<Agent & { callee: Agent; delegationId: string }> {
  const [agent, callee] = await Promise.all([anAgent(), anAgent()]);
  await tell(agent, "a secret word");
  await tell(agent, "x".repeat(LARGE_BODY_BYTES + 1));
  await stage(agent, aForm(["plans.txt", "the plans"]));
  const delegationId = await aDelegation(agent, callee, "help me");
  await quiet(agent.id);
  return { ...agent, callee, delegationId };
}

/** Nothing is left of it anywhere but what has to stay. */
async function isGone(id: string): Promise<void> {
  expect(await storageOf(id)).toEqual({ tables: [], kv: { purge: expect.objectContaining({ step: "done" }) } });
  expect(await keysOf({ id })).toEqual([]);
  expect(await ledgerRows(id)).toBe(0);
}

describe("a purge", () => {
  it("leaves nothing of a workspace but a tombstone, its delegations and its events", async () => {
    const agent = await aBusyAgent();
    expect(await keysOf(agent)).toHaveLength(2);
    expect(await ledgerRows(agent.id)).toBeGreaterThan(2);
    const { status, body } = await purge(agent.id);
    expect(status).toBe(200);
    expect(body).toMatchObject({ status: "purged", cascade_deleted: 0 });
    await isDone(agent.id);
    await isGone(agent.id);
    const listed = await call(`/admin/delegations?status=cancelled&caller_id=${agent.id}`);
    expect(listed.text).toContain(agent.delegationId);
    const heard = await runInDurableObject(workspace(agent.callee.id), (_instance, { storage }) =>
      storage.sql.exec("SELECT status FROM received").toArray(),
    );
    expect(heard).toEqual([{ status: "cancelled" }]);
    const events = await query("SELECT event_type FROM structure_events WHERE workspace_id = $1", [agent.id]);
    expect(events).toContainEqual({ event_type: "WORKSPACE_REMOVED" });
    expect(await query("SELECT state FROM pending_uploads WHERE workspace_id = $1", [agent.id])).toEqual([
      { state: "expired" },
    ]);
    expect(await purge(agent.id)).toMatchObject({ body: { status: "purged", cascade_deleted: 0 } });
  });

  it("is answered as done where nothing holds it up", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    expect((await purge(agent.id)).body).toEqual({ status: "purged", cascade_deleted: 0 });
    await isGone(agent.id);
  });

  it("of an unknown id, or a second one, is 200 and does nothing", async () => {
    const agent = await anAgent();
    await purge(agent.id);
    await isDone(agent.id);
    for (const id of [crypto.randomUUID(), agent.id]) {
      await until("the answer is final", async () => !("pending" in (await purge(id)).body) || sweep());
      expect((await purge(id)).body).toEqual({ status: "purged", cascade_deleted: 0 });
    }
  });

  it("takes a removed workspace too", async () => {
    const agent = await aBusyAgent();
    await call(`/workspaces/${agent.id}`, { method: "DELETE" });
    expect((await call(`/workspaces/${agent.id}?include_removed=true`)).status).toBe(200);
    await purge(agent.id);
    await isDone(agent.id);
    await isGone(agent.id);
  });

  it("wants to be confirmed for a parent, and takes along what hangs below, removed before or not", async () => {
    const parent = await anAgent();
    const child = await aChildOf(parent.id);
    const gone = await aChildOf(child);
    await call(`/workspaces/${gone}`, { method: "DELETE" });
    expect(await purge(parent.id)).toMatchObject({
      status: 409,
      body: { children: [{ id: child }], children_count: 1 },
    });
    expect((await call(`/workspaces/${child}`)).status).toBe(200);
    expect((await purge(parent.id, "&confirm=true")).body).toMatchObject({ status: "purged", cascade_deleted: 2 });
    for (const id of [parent.id, child, gone]) {
      await isDone(id);
      await isGone(id);
    }
    const rows = await until("the ledger knows", async () => {
      const known = await query("SELECT parent_id FROM workspaces WHERE id = ANY($1) AND purged", [
        [parent.id, child, gone],
      ]);
      return known.length === 3 && known;
    });
    expect(rows.map(({ parent_id }) => parent_id).sort()).toEqual([parent.id, child, null].sort());
  });
});

async function aChildOf(parentId: string): Promise<string> {
  const json = { name: crypto.randomUUID(), runtime: "external", parent_id: parentId };
  return (await call("/workspaces", { json })).body.id;
}

function sweep(): Promise<void> {
  return scheduled({ cron: SWEEP_CRON }, env, true);
}

describe("a purged workspace", () => {
  it("is 410 for ever and never new", async () => {
    const agent = await aBusyAgent();
    await purge(agent.id);
    await isDone(agent.id);
    await evictDurableObject(workspace(agent.id));
    const seen = await call(`/workspaces/${agent.id}?include_removed=true`);
    expect(seen).toMatchObject({ status: 410, body: { error: "workspace removed", id: agent.id } });
    expect(seen.body.removed_at).toMatch(/Z$/);
    for (const path of ["activity", "tokens", "delegations", "pending-uploads/x/content"]) {
      const { status } = await call(`/workspaces/${agent.id}/${path}`);
      expect([path, status]).toEqual([path, path.startsWith("pending") ? 400 : 410]);
    }
    expect((await tell(agent, "hello?")).status).toBe(410);
    expect((await tell(agent, "hello?", agent.callee)).status).toBe(403);
    expect((await call("/registry/register", { json: { id: agent.id, agent_card: {} } })).status).toBe(410);
    expect(await call(`/workspaces/${agent.id}/state`, { token: agent.token })).toMatchObject({
      status: 404,
      body: { workspace_id: agent.id, status: "removed", deleted: true },
    });
    expect((await poll(agent)).status).toBe(401);
    expect((await call("/workspaces")).text).not.toContain(agent.id);
    expect((await call(`/registry/${agent.id}/peers`)).status).toBe(410);
    const patched = await call(`/workspaces/${agent.id}`, { method: "PATCH", json: { name: "again" } });
    expect(patched.status).toBe(410);
    await isGone(agent.id);
  });

  it("stores nothing whoever wakes it or tells it what is past", async () => {
    const agent = await anAgent();
    await purge(agent.id);
    await isDone(agent.id);
    const stub = workspace(agent.id);
    await stub.wake();
    await stub.scrub();
    expect(await stub.lookAfterMachines()).toBeNull();
    await runInDurableObject(stub, (instance) => (instance as unknown as { alarm(): Promise<void> }).alarm());
    const mark = { treeVersion: 9_999_999, platformUrl: "" };
    await stub.paused(mark);
    expect(await stub.removed({ removedAt: 1, cascade: null })).toBe(0);
    expect(await stub.purged({ workspaceId: agent.id, removedAt: 1, cascade: null })).toEqual({
      done: true,
      stopsPending: 0,
    });
    const seed = { id: agent.id, token: null, events: [], name: "again" };
    expect(await stub.created(seed as unknown as Parameters<typeof stub.created>[0])).toBe(false);
    await isGone(agent.id);
  });

  it("has no text in the ledger of workspaces, and a late flush of its object is refused", async () => {
    const { body } = await call("/workspaces", { json: { name: "the name", role: "the role", runtime: "external" } });
    await quiet(body.id);
    await purge(body.id);
    await isDone(body.id);
    const row = await until("the ledger knows", async () => {
      const [known] = await query("SELECT * FROM workspaces WHERE id = $1 AND purged", [body.id]);
      return known;
    });
    expect(JSON.stringify(row)).not.toMatch(/the name|the role|external/);
    expect(row).toMatchObject({ status: "removed", removed_at: expect.anything() });
    const late = { objectId: body.id, epoch: 1, rows: {} };
    expect(await writeLedger(laneDatabase(aLane()), late)).toMatchObject({ accepted: false, reason: "superseded" });
  });

  it("is forgotten by the hub but for its end", async () => {
    const agent = await aBusyAgent();
    await purge(agent.id);
    await isDone(agent.id);
    const told = await runInDurableObject(env.EVENT_HUB.getByName("default"), (_instance, { storage }) =>
      storage.sql.exec("SELECT event FROM hub_events WHERE workspace_id = ?", agent.id).toArray(),
    );
    expect(told.filter(({ event }) => event !== "WORKSPACE_REMOVED").length).toBeLessThanOrEqual(1);
  });

  it("closes the sockets of operators too", async () => {
    const agent = await anAgent();
    const held = send(`/workspaces/${agent.id}/activity?wait=25&since_secs=1`);
    await until("somebody listens", () =>
      runInDurableObject(workspace(agent.id), (_instance, state) => state.getWebSockets().length > 0),
    );
    await purge(agent.id);
    await isDone(agent.id);
    expect((await held).status).toBe(410);
  });
});

describe("a purge that is held up", () => {
  it("waits for Postgres and goes on when it is back", async () => {
    const agent = await aBusyAgent();
    await away();
    expect((await purge(agent.id)).body).toEqual({ status: "purged", cascade_deleted: 0, pending: true });
    await until("it stands at the flush", async () => {
      await runDurableObjectAlarm(workspace(agent.id));
      return (await stepOf(agent.id)) === "flush";
    });
    expect(await keysOf(agent)).toEqual([]);
    expect((await call(`/workspaces/${agent.id}/activity`)).status).toBe(410);
    expect((await call(`/workspaces/${agent.id}`)).status).toBe(410);
    expect((await purge(agent.id)).body).toEqual({ status: "purged", cascade_deleted: 0, pending: true });
    await back();
    // The end of its back-off, as time would bring it, seen by an object that has lost its memory.
    await runInDurableObject(workspace(agent.id), (_instance, { storage }) => {
      storage.sql.exec("UPDATE flush_state SET retry_at = 0");
    });
    await evictDurableObject(workspace(agent.id));
    await isDone(agent.id);
    await isGone(agent.id);
    const listed = await call(`/admin/delegations?status=cancelled&caller_id=${agent.id}`);
    expect(listed.text).toContain(agent.delegationId);
  });

  it("waits for its machine to stop, and says so", async () => {
    const id = await aMachine();
    await registered(id);
    machines.play(id, "stop", "lose_call", "lose_call", "lose_call");
    expect((await purge(id)).body).toEqual({ status: "purged", cascade_deleted: 0, pending: true, stops_pending: 1 });
    expect(await stepOf(id)).toBe("stop_machines");
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
    await until("the machine and all else are gone", async () => {
      vi.setSystemTime(Date.now() + MINUTE_MS);
      await ring(id);
      return (await stepOf(id)) === "done";
    });
    expect(machines.runningFor(id)).toEqual([]);
    await isGone(id);
  });

  it("can take each step twice, as after a crash, and ends a back-off by itself", async () => {
    const agent = await aBusyAgent();
    await away();
    await purge(agent.id);
    for (const step of PURGE_STEPS.slice(0, PURGE_STEPS.indexOf("flush") + 1)) {
      await stand(agent.id, step);
      await until("it stands at the flush", async () => (await stepOf(agent.id)) === "flush");
    }
    for (const step of ["end_flushes", "delete_ledger_rows", "end_flushes"] as const) {
      await stand(agent.id, step);
      const failed = (await storageOf(agent.id)).kv.purge;
      expect(failed).toMatchObject({ step, failures: 1 });
      expect(failed?.retryAt).toBeGreaterThan(Date.now());
    }
    await back();
    await until("it is done", async () => (await stepOf(agent.id)) === "done");
    await isGone(agent.id);
  });

  it("gets its tombstone from the minute cron where the object lost everything before", async () => {
    const agent = await anAgent();
    await away();
    await purge(agent.id);
    await runInDurableObject(workspace(agent.id), (_instance, { storage }) => storage.deleteAll());
    await evictDurableObject(workspace(agent.id));
    expect((await storageOf(agent.id)).kv).toEqual({});
    await back();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 2 * MINUTE_MS });
    await until("the cron has found it", async () => {
      await sweep();
      vi.setSystemTime(Date.now() + 2 * MINUTE_MS);
      return (await stepOf(agent.id)) === "done";
    });
    await isGone(agent.id);
    const due = await runInDurableObject(directory(), (_instance, { storage }) =>
      storage.sql.exec("SELECT lifecycle_due FROM nodes WHERE id = ?", agent.id).one(),
    );
    expect(due).toEqual({ lifecycle_due: null });
  });

  it("is taken by an object that never heard of its creation, from whichever step it goes on", async () => {
    for (const step of PURGE_STEPS.slice(0, -1)) {
      const id = crypto.randomUUID();
      await runInDurableObject(workspace(id), (_instance, { storage }) => {
        storage.kv.put("purge", { workspaceId: id, since: Date.now(), step, failures: 0, retryAt: 0 });
      });
      const order = { workspaceId: id, removedAt: Date.now(), cascade: null };
      expect(await workspace(id).purged(order)).toEqual({ done: true, stopsPending: 0 });
      await isGone(id);
    }
  });

  it("does not wait for ever for others to hear of it", async () => {
    const agent = await aBusyAgent();
    await away();
    await purge(agent.id);
    await runInDurableObject(workspace(agent.id), (_instance, { storage }) => {
      storage.sql.exec(
        "INSERT INTO effects (receiver, kind, payload, created_at, next_at) VALUES ('nobody', 'nothing', '{}', ?, ?)",
        Date.now(),
        Date.now() + 1_000,
      );
    });
    await stand(agent.id, "tell_others");
    expect(await stepOf(agent.id)).toBe("tell_others");
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 25 * 60 * MINUTE_MS });
    await back();
    await isDone(agent.id);
    await isGone(agent.id);
  });
});

/** Puts a purge at a step, as if a crash had come before it was noted that it is over, and lets it go on. */
async function stand(id: string, step: PurgeStep): Promise<void> {
  await runInDurableObject(workspace(id), (_instance, { storage }) => {
    const state = storage.kv.get<PurgeState>("purge");
    if (state) storage.kv.put("purge", { ...state, step, failures: 0, retryAt: 0 });
  });
  await workspace(id).wake();
}
