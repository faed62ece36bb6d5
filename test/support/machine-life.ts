import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { expect, vi } from "vitest";
import { SWEEP_CRON, scheduled } from "../../src/sweeper/scheduled.ts";
import { machines } from "./machines.ts";
import { call } from "./platform.ts";

/** Every call between objects on which the life of a machine hangs. */
export const MACHINE_METHODS = [
  "created",
  "removed",
  "purged",
  "paused",
  "resumed",
  "restarted",
  "placed",
  "board",
  "take",
  "beginStart",
  "machineEnded",
  "environmentOf",
  "look",
];
const STEP_MS = 61_000;
const SETTLING_STEPS = 60;

/** A workspace as it stands in the tree. */
export interface TreeRow extends Record<string, SqlStorageValue> {
  readonly id: string;
  readonly name: string;
  readonly parent_id: string | null;
  readonly status: string;
  readonly sample_error: string;
  readonly paused_at: number | null;
  readonly removed_at: number | null;
  readonly purged_at: number | null;
}

const ROWS = "SELECT id, name, parent_id, status, sample_error, paused_at, removed_at, purged_at FROM nodes";

/** All workspaces that were made since, live or not. */
export function rowsSince(createdAt: number): Promise<TreeRow[]> {
  return runInDurableObject(directory(), (_instance, { storage: { sql } }) => {
    const isNew = sql.exec("SELECT name FROM sqlite_master WHERE name = 'nodes'").toArray().length === 0;
    return isNew ? [] : sql.exec<TreeRow>(`${ROWS} WHERE created_at >= ? ORDER BY seq`, createdAt).toArray();
  });
}

/** The agent of the machine that runs, if one does, under the token that the machine was given last. */
export async function register(id: string): Promise<void> {
  if (machines.runningFor(id).length === 0) return;
  const token = machines.callsFor(id).findLast(({ verb }) => verb === "start")?.order?.files[".auth_token"];
  if (token === undefined) return;
  await call("/registry/register", { token, json: { id, delivery_mode: "poll", agent_card: { name: "agent" } } });
}

/** A minute passes, and every alarm and cron rings that should. */
export async function ring(ids: readonly string[]): Promise<void> {
  vi.setSystemTime(Date.now() + STEP_MS);
  await runDurableObjectAlarm(directory());
  for (const id of ids) {
    await runDurableObjectAlarm(named(env.MACHINE, id));
    await env.WORKSPACE.getByName(id).wake();
    await runDurableObjectAlarm(named(env.WORKSPACE, id));
    await runDurableObjectAlarm(named(env.MACHINE, id));
  }
  await scheduled({ cron: SWEEP_CRON }, env);
}

/** Whatever the object does at this moment ends here; what it has stored stays. */
async function crash(object: DurableObjectStub): Promise<void> {
  await runInDurableObject(object, (_instance, context) => context.abort("crashed")).catch(() => undefined);
}

export async function crashWorkspace(id: string): Promise<void> {
  await crash(named(env.WORKSPACE, id));
  await crash(named(env.MACHINE, id));
}

export function crashDirectory(): Promise<void> {
  return crash(directory());
}

/** Time passes until nobody has anything to tell or to do any more. */
export async function settle(since: number): Promise<void> {
  for (let step = 0; step < SETTLING_STEPS; step += 1) {
    const ids = (await rowsSince(since)).map(({ id }) => id);
    await ring(ids);
    for (const id of ids) await register(id);
    if (step > 2 && (await isSettled(since))) return;
  }
  throw new Error(`the workspaces never settle: ${JSON.stringify(await rowsSince(since))}`);
}

async function isSettled(since: number): Promise<boolean> {
  const rows = await rowsSince(since);
  if (rows.some(({ status, removed_at }) => status === "provisioning" && removed_at === null)) return false;
  if ((await untold(rows)) > 0) return false;
  for (const { id } of rows) if ((await env.WORKSPACE.getByName(id).lookAfterMachines()) !== null) return false;
  return true;
}

/** How many words the directory still has for these workspaces. */
function untold(rows: readonly TreeRow[]): Promise<number> {
  const ids = JSON.stringify(rows.map(({ id }) => id));
  return runInDurableObject(
    directory(),
    (_instance, { storage }) =>
      storage.sql
        .exec<{ count: number }>(
          "SELECT count(*) AS count FROM effects WHERE receiver IN (SELECT value FROM json_each(?))",
          ids,
        )
        .one().count,
  );
}

/** What must be true of every workspace once all is settled. */
export async function expectVerdict(row: TreeRow): Promise<void> {
  const running = machines.runningFor(row.id).length;
  if (row.removed_at !== null) {
    expect(running, `machines of ${row.id}, which is gone`).toBe(0);
    if (row.purged_at !== null) expect(await leftOf(row.id)).toEqual([]);
    return;
  }
  const status = row.paused_at === null ? row.status : "paused";
  expect(running, status).toBeLessThanOrEqual(1);
  expect(running === 0 ? ["failed", "paused", "hibernated"] : ["online", "failed", "offline"]).toContain(status);
  if (status === "failed") expect(row.sample_error).not.toBe("");
  expect(await nameKnownTo(row.id)).toBe(row.name);
}

function nameKnownTo(id: string): Promise<string> {
  return runInDurableObject(
    named(env.WORKSPACE, id),
    (_instance, { storage }) => storage.sql.exec<{ name: string }>("SELECT name FROM workspace").one().name,
  );
}

function leftOf(id: string): Promise<string[]> {
  const tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'";
  return runInDurableObject(named(env.WORKSPACE, id), (_instance, { storage }) =>
    storage.sql
      .exec<{ name: string }>(tables)
      .toArray()
      .map(({ name }) => name),
  );
}

function directory() {
  return named(env.DIRECTORY, "default");
}

/** An object itself; the network stands between objects and whoever finds them by name. */
function named<T extends Rpc.DurableObjectBranded | undefined>(namespace: DurableObjectNamespace<T>, name: string) {
  return namespace.get(namespace.idFromName(name));
}
