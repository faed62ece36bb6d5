import { describe, expect, it } from "vitest";
import { listQueue, queueDepths, staleTargets } from "../../src/ledgers/queue-ledger.ts";
import { aLane, away, laneDatabase, query } from "../support/ledger.ts";

const HOUR_US = 3_600_000_000;
const NOON_US = Date.UTC(2026, 10, 20, 12) * 1000;

/** Puts an item of a target into the ledger; the rest of its columns stay empty. */
async function anItem(workspaceId: string, status: string, enqueuedAtUs: number): Promise<string> {
  const id = crypto.randomUUID();
  await query(
    `INSERT INTO a2a_queue (id, workspace_id, status, enqueued_at, version)
     VALUES ($1, $2, $3, timestamptz 'epoch' + $4::bigint * interval '1 microsecond', 1)`,
    [id, workspaceId, status, enqueuedAtUs],
  );
  return id;
}

describe("the queue in the ledger", () => {
  it("lists what is open, the oldest first, even a row that stands for a refused one", async () => {
    const workspaceId = crypto.randomUUID();
    const young = await anItem(workspaceId, "queued", NOON_US);
    const old = await anItem(workspaceId, "dispatched", NOON_US - HOUR_US);
    const done = await anItem(workspaceId, "completed", NOON_US);
    const database = laneDatabase(aLane());
    const ids = async (status: "completed" | null, limit: number) =>
      (await listQueue(database, { status, workspaceId, limit })).map((item) => JSON.parse(item).queue_id);
    expect(await ids(null, 10)).toEqual([old, young]);
    expect(await ids(null, 1)).toEqual([old]);
    expect(await ids("completed", 10)).toEqual([done]);
    const [item] = await listQueue(database, { status: null, workspaceId, limit: 1 });
    expect(JSON.parse(item ?? "")).toMatchObject({ status: "dispatched", priority: 0, attempts: 0 });
  });

  it("counts what waits for each target, whoever has waited longest first", async () => {
    const [one, other] = [crypto.randomUUID(), crypto.randomUUID()];
    await anItem(one, "queued", NOON_US);
    await anItem(one, "queued", NOON_US + HOUR_US);
    await anItem(other, "dispatched", NOON_US - HOUR_US);
    await anItem(other, "failed", NOON_US - 2 * HOUR_US);
    const database = laneDatabase(aLane());
    const depths = (await queueDepths(database, null)).filter(({ workspaceId }) => [one, other].includes(workspaceId));
    expect(depths).toEqual([
      { workspaceId: other, queued: 0, dispatched: 1, oldestEnqueuedAt: NOON_US - HOUR_US },
      { workspaceId: one, queued: 2, dispatched: 0, oldestEnqueuedAt: NOON_US },
    ]);
    expect(await queueDepths(database, one)).toHaveLength(1);
  });

  it("finds the targets with something stale, each once", async () => {
    const [stale, fresh] = [crypto.randomUUID(), crypto.randomUUID()];
    await anItem(stale, "queued", NOON_US - HOUR_US);
    await anItem(stale, "queued", NOON_US - HOUR_US);
    await anItem(fresh, "queued", NOON_US);
    const found = await staleTargets(laneDatabase(aLane()), NOON_US, 500);
    expect(found.filter((id) => [stale, fresh].includes(id))).toEqual([stale]);
  });

  it("is unavailable while Postgres is away", async () => {
    const lane = aLane();
    await away(lane);
    await expect(queueDepths(laneDatabase(lane), null)).rejects.toMatchObject({ kind: "unavailable" });
  });
});
