import { describe, expect, it } from "vitest";
import { writeLedger } from "../../src/ledgers/ledger-write.ts";
import { deleteWorkspaceRows, endFlushes } from "../../src/ledgers/purge-ledger.ts";
import { aDatabase, aLane, away, back, laneDatabase, query } from "../support/ledger.ts";

const NOW = Date.UTC(2026, 10, 20);

const COLUMNS = { activity_logs: "created_at, seq", workspace_tokens: "created_at", a2a_queue: "enqueued_at" } as const;

/** A row of a workspace in a ledger; the rest of its columns stay empty. */
async function aRow(table: keyof typeof COLUMNS, workspaceId: string): Promise<void> {
  const more = table === "activity_logs" ? "now(), 1" : "now()";
  await query(`INSERT INTO ${table} (id, workspace_id, version, ${COLUMNS[table]}) VALUES ($1, $2, 1, ${more})`, [
    crypto.randomUUID(),
    workspaceId,
  ]);
}

async function rowsOf(workspaceId: string): Promise<number> {
  const [answer] = await query(
    `SELECT (SELECT count(*) FROM activity_logs WHERE workspace_id = $1)
          + (SELECT count(*) FROM workspace_tokens WHERE workspace_id = $1)
          + (SELECT count(*) FROM a2a_queue WHERE workspace_id = $1) AS rows`,
    [workspaceId],
  );
  return Number(answer?.rows);
}

/** A late flush of a workspace's object. */
function aFlush(database: Parameters<typeof writeLedger>[0], objectId: string, epoch: number) {
  const event = { id: crypto.randomUUID(), workspace_id: objectId, created_at: NOW * 1000, version: 1 };
  return writeLedger(database, { objectId, epoch, rows: { structure_events: [event] } });
}

describe("the rows of a purged workspace", () => {
  it("go in slices over all tables, and those of others stay", async () => {
    const [workspaceId, other] = [crypto.randomUUID(), crypto.randomUUID()];
    for (const table of ["activity_logs", "activity_logs", "workspace_tokens", "a2a_queue"] as const) {
      await aRow(table, workspaceId);
      await aRow(table, other);
    }
    const database = laneDatabase(aLane());
    expect(await deleteWorkspaceRows(database, workspaceId, 3)).toBe(3);
    expect(await rowsOf(workspaceId)).toBe(1);
    expect(await deleteWorkspaceRows(database, workspaceId, 3)).toBe(1);
    expect(await deleteWorkspaceRows(database, workspaceId)).toBe(0);
    expect(await rowsOf(workspaceId)).toBe(0);
    expect(await rowsOf(other)).toBe(4);
  });

  it("never come back: a later flush of any epoch is refused, however often that is said", async () => {
    const workspaceId = crypto.randomUUID();
    const database = laneDatabase(aLane());
    expect(await aFlush(database, workspaceId, 0)).toMatchObject({ accepted: true });
    await endFlushes(database, workspaceId);
    await endFlushes(database, workspaceId);
    for (const epoch of [0, 2 ** 13 - 1]) {
      expect(await aFlush(database, workspaceId, epoch)).toMatchObject({ accepted: false, reason: "superseded" });
    }
  });

  it("stay where the database is another deployment's, and wait while it is away", async () => {
    const url = await aDatabase();
    const workspaceId = crypto.randomUUID();
    const theirs = laneDatabase(aLane(), { url, deploymentId: "theirs" });
    await aFlush(theirs, workspaceId, 0);
    const ours = laneDatabase(aLane(), { url, deploymentId: "ours" });
    for (const work of [endFlushes, deleteWorkspaceRows]) {
      await expect(work(ours, workspaceId)).rejects.toMatchObject({ kind: "unavailable", subject: "ledger_identity" });
    }
    expect(await aFlush(theirs, workspaceId, 0)).toMatchObject({ accepted: true });
    const lane = aLane();
    await away(lane);
    await expect(deleteWorkspaceRows(laneDatabase(lane), workspaceId)).rejects.toMatchObject({ kind: "unavailable" });
    await back(lane);
    expect(await deleteWorkspaceRows(laneDatabase(lane), workspaceId)).toBe(0);
  });

  it("may be deleted from a database that nobody has claimed", async () => {
    const database = laneDatabase(aLane(), { url: await aDatabase() });
    await endFlushes(database, crypto.randomUUID());
    expect(await deleteWorkspaceRows(database, crypto.randomUUID())).toBe(0);
  });
});
