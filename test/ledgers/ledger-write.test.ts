import { describe, expect, it } from "vitest";
import type { Database } from "../../src/ledgers/database.ts";
import { raiseEpoch, writeLedger } from "../../src/ledgers/ledger-write.ts";
import { keyOf, type LedgerRow, standInFor } from "../../src/ledgers/rows.ts";
import { aDatabase, aLane, laneDatabase, query, statements } from "../support/ledger.ts";

const CREATED_US = 1_790_000_000_123_457;

function anActivity(more: Partial<LedgerRow> = {}) {
  const row = {
    id: crypto.randomUUID(),
    workspace_id: crypto.randomUUID(),
    seq: 1,
    created_at: CREATED_US,
    version: 1,
  };
  return { ...row, ...more };
}

function aBatch(rows: Parameters<typeof writeLedger>[1]["rows"], epoch = 0) {
  return { objectId: crypto.randomUUID(), epoch, rows };
}

async function stored(id: string): Promise<Record<string, unknown> | undefined> {
  const [row] = await query(
    "SELECT version::int, summary, request_body, response_body FROM activity_logs WHERE id = $1",
    [id],
  );
  return row;
}

describe("a batch", () => {
  it("of several ledgers is one statement, and every value arrives as it was", async () => {
    const lane = aLane();
    const workspace = { id: crypto.randomUUID(), created_at: CREATED_US, collapsed: true, x: 0.1, tier: 3, version: 2 };
    const body = '{"z":1,"a":12345678901234567890,"text":"naïve \\u2028 <&> \'quoted\'"}';
    const activity = anActivity({ request_body: body, duration_ms: 2 ** 31 - 1 });
    const upload = {
      file_id: crypto.randomUUID(),
      workspace_id: workspace.id,
      size_bytes: 2 ** 40,
      created_at: 0,
      version: 4,
    };
    const answer = await writeLedger(
      laneDatabase(lane),
      aBatch({ workspaces: [workspace], activity_logs: [activity], pending_uploads: [upload], audit_log: [] }),
    );
    expect(answer).toEqual({ accepted: true, generation: expect.stringMatching(/^[0-9a-f-]{36}$/) });
    expect(await statements(lane)).toBe(1);
    expect(await query("SELECT collapsed, x, tier, name FROM workspaces WHERE id = $1", [workspace.id])).toEqual([
      { collapsed: true, x: 0.1, tier: 3, name: null },
    ]);
    const [read] = await query(
      "SELECT request_body, duration_ms, (extract(epoch FROM created_at) * 1000000)::bigint AS us FROM activity_logs WHERE id = $1",
      [activity.id],
    );
    expect(read).toEqual({ request_body: body, duration_ms: 2 ** 31 - 1, us: String(CREATED_US) });
    expect(await query("SELECT size_bytes FROM pending_uploads WHERE file_id = $1", [upload.file_id])).toEqual([
      { size_bytes: String(2 ** 40) },
    ]);
  });

  it("of a lower or an equal version changes nothing, of a higher one everything", async () => {
    const database = laneDatabase(aLane());
    const row = anActivity({ version: 5, summary: "five" });
    await writeLedger(database, aBatch({ activity_logs: [row] }));
    await writeLedger(database, aBatch({ activity_logs: [{ ...row, version: 5, summary: "again" }] }));
    await writeLedger(database, aBatch({ activity_logs: [{ ...row, version: 4, summary: "four" }] }));
    expect(await stored(row.id)).toMatchObject({ version: 5, summary: "five" });
    await writeLedger(database, aBatch({ activity_logs: [{ ...row, version: 6, summary: null }] }));
    expect(await stored(row.id)).toMatchObject({ version: 6, summary: null });
  });

  it("with a row that Postgres refuses writes none of its rows", async () => {
    const good = anActivity();
    const batch = aBatch({ activity_logs: [good, anActivity({ summary: "a\0b" })] });
    await expect(writeLedger(laneDatabase(aLane()), batch)).rejects.toMatchObject({
      kind: "refused",
      sqlstate: "22P05",
    });
    expect(await stored(good.id)).toBeUndefined();
  });

  it("of an object that has a successor writes nothing, also after the epoch was lowered by mistake", async () => {
    const database = laneDatabase(aLane());
    const row = anActivity();
    const batch = aBatch({ activity_logs: [row] }, 2);
    await raiseEpoch(database, batch.objectId, 3);
    await raiseEpoch(database, batch.objectId, 1);
    expect(await writeLedger(database, batch)).toMatchObject({ accepted: false, reason: "superseded" });
    expect(await stored(row.id)).toBeUndefined();
    expect(await writeLedger(database, { ...batch, epoch: 3 })).toMatchObject({ accepted: true });
    expect(await stored(row.id)).toBeDefined();
  });

  it("claims a fresh database for its deployment; another one writes nothing and is told why", async () => {
    const url = await aDatabase();
    const ours = laneDatabase(aLane(), { url, deploymentId: "ours" });
    const theirs = laneDatabase(aLane(), { url, deploymentId: "theirs" });
    const superseded = aBatch({});
    await raiseEpoch(theirs, superseded.objectId, 1);
    expect(await writeLedger(theirs, superseded)).toMatchObject({ reason: "superseded" });
    expect(await writeLedger(ours, aBatch({}))).toMatchObject({ accepted: true });
    const refused = await writeLedger(theirs, aBatch({ activity_logs: [anActivity()] }));
    expect(refused).toMatchObject({ accepted: false, reason: "foreign_deployment" });
    expect(await query("SELECT count(*)::int AS rows FROM activity_logs", [], url)).toEqual([{ rows: 0 }]);
    expect(await query("SELECT deployment_id FROM ledger_identity", [], url)).toEqual([{ deployment_id: "ours" }]);
  });

  it("is told to come again while another writer claims the database, or when its identity is missing", async () => {
    const database = (rows: Record<string, unknown>[]): Database => ({
      deploymentId: "ours",
      query: () => Promise.resolve(rows),
      read: () => Promise.reject(new Error("not read")),
    });
    const claiming = database([{ generation: "g", deployment_id: null, superseded: false, admitted: false }]);
    await expect(writeLedger(claiming, aBatch({}))).rejects.toMatchObject({ kind: "unavailable" });
    await expect(writeLedger(database([]), aBatch({}))).rejects.toMatchObject({ kind: "unavailable" });
  });
});

describe("a row that stands for a refused one", () => {
  it("has its ids and times and no text, and gives way to any version of the row itself", async () => {
    const database = laneDatabase(aLane());
    const row = anActivity({ summary: "private words", source_id: "someone", version: 1, duration_ms: 7 });
    const standIn = standInFor("activity_logs", row);
    const { id, workspace_id, seq, created_at } = row;
    expect(standIn).toEqual({ id, workspace_id, seq, created_at, version: 0 });
    await writeLedger(database, aBatch({ activity_logs: [standIn] }));
    await writeLedger(database, aBatch({ activity_logs: [row] }));
    await writeLedger(database, aBatch({ activity_logs: [standIn] }));
    expect(await stored(row.id)).toMatchObject({ version: 1, summary: "private words" });
  });

  it("is found by the key of its ledger", () => {
    expect(keyOf("pending_uploads", { file_id: "f", workspace_id: "w", created_at: 0, version: 1 })).toBe("f");
    expect(keyOf("audit_log", { id: "a", created_at: 0, version: 1 })).toBe("a");
  });
});
