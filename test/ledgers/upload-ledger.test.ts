import { beforeAll, describe, expect, it } from "vitest";
import { dropOldActivity } from "../../src/ledgers/activity-retention.ts";
import { listUploads, uploadStats } from "../../src/ledgers/upload-ledger.ts";
import { aDatabase, aLane, laneDatabase, query } from "../support/ledger.ts";

const NOBODY = { state: null, workspaceId: null, after: null, limit: 100 };

describe("the ledger of uploads", () => {
  let url = "";
  const database = () => laneDatabase(aLane(), { url });
  const workspaceId = crypto.randomUUID();

  beforeAll(async () => {
    url = await aDatabase();
  });

  async function put(state: string, more: { fetched?: boolean; acked?: boolean; swept?: boolean; of?: string } = {}) {
    const id = crypto.randomUUID();
    const at = (yes: boolean | undefined) => (yes ? new Date().toISOString() : null);
    await query(
      `INSERT INTO pending_uploads (file_id, workspace_id, state, size_bytes, created_at, fetched_at, acked_at, swept_at, version)
       VALUES ($1, $2, $3, 10, now() - interval '1 minute', $4, $5, $6, 1)`,
      [id, more.of ?? workspaceId, state, at(more.fetched), at(more.acked), at(more.swept)],
      url,
    );
    return id;
  }

  it("counts nothing in an empty table, and then every file by what became of it", async () => {
    expect(await uploadStats(database())).toEqual({
      byState: {},
      staged: 0,
      fetched: 0,
      acked: 0,
      sweptAcked: 0,
      sweptExpired: 0,
      oldestWaitingSeconds: null,
    });
    await put("staged");
    await put("fetched", { fetched: true });
    await put("acked", { fetched: true, acked: true, swept: true });
    await put("expired", { swept: true });
    const stats = await uploadStats(database());
    expect(stats).toMatchObject({ staged: 4, fetched: 2, acked: 1, sweptAcked: 1, sweptExpired: 1 });
    expect(stats.byState.staged).toEqual({ files: 1, bytes: 10 });
    expect(stats.oldestWaitingSeconds).toBeGreaterThanOrEqual(59);
  });

  it("lists files by state, workspace and page", async () => {
    const other = crypto.randomUUID();
    const ids = [await put("staged", { of: other }), await put("acked", { of: other })].sort();
    const mine = { ...NOBODY, workspaceId: other };
    expect((await listUploads(database(), mine)).map((row) => row.file_id)).toEqual(ids);
    expect(await listUploads(database(), { ...mine, state: "acked" })).toHaveLength(1);
    expect((await listUploads(database(), { ...mine, after: ids[0] ?? null })).map((row) => row.file_id)).toEqual([
      ids[1],
    ]);
    expect((await listUploads(database(), NOBODY)).length).toBeGreaterThan(2);
  });

  it("drops old activity in one bounded statement and says how much", async () => {
    await query(
      `INSERT INTO activity_logs (id, workspace_id, seq, created_at, version)
       VALUES ($1, $2, 1, now() - interval '10 days', 1), ($3, $2, 2, now(), 2)`,
      [crypto.randomUUID(), workspaceId, crypto.randomUUID()],
      url,
    );
    expect(await dropOldActivity(database(), 5)).toBe(1);
    expect(await dropOldActivity(database(), 5)).toBe(0);
  });
});
