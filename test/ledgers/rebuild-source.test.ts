import { beforeAll, describe, expect, it } from "vitest";
import { raiseEpoch, writeLedger } from "../../src/ledgers/ledger-write.ts";
import {
  activityOf,
  attemptsOf,
  epochOf,
  keptFiles,
  liveTokens,
  openDelegations,
  openQueueItems,
  recentActivity,
  sentRows,
} from "../../src/ledgers/rebuild-source.ts";
import type { LedgerRows } from "../../src/ledgers/rows.ts";
import { aDatabase, aLane, laneDatabase } from "../support/ledger.ts";

const NOON_US = Date.UTC(2026, 10, 20, 12) * 1000;
const uuid = () => crypto.randomUUID();

describe("what the ledger still has of a workspace", () => {
  let url = "";
  const database = () => laneDatabase(aLane(), { url });

  beforeAll(async () => {
    url = await aDatabase();
  });

  async function write(rows: Partial<{ [Name in keyof LedgerRows]: LedgerRows[Name][] }>): Promise<void> {
    const answer = await writeLedger(database(), { objectId: uuid(), epoch: 0, rows });
    if (!answer.accepted) throw new Error(answer.reason);
  }

  function aRow(workspaceId: string, seq: number, more: Partial<LedgerRows["activity_logs"]> = {}) {
    const at = NOON_US + seq;
    return {
      id: uuid(),
      workspace_id: workspaceId,
      seq,
      activity_type: "a2a_receive",
      created_at: at,
      version: seq,
      ...more,
    };
  }

  it("is nothing where it knows nobody", async () => {
    const id = uuid();
    expect(await recentActivity(database(), id, 0)).toEqual([]);
    expect(await openDelegations(database(), { callerId: id, calleeId: null })).toEqual([]);
    expect(await keptFiles(database(), id)).toEqual([]);
    expect(await liveTokens(database(), id)).toEqual([]);
  });

  it("is the newest rows of its feed, in slices of which each is whole", async () => {
    const id = uuid();
    const large = "x".repeat(1024 * 1024);
    await write({ activity_logs: Array.from({ length: 501 }, (_, index) => aRow(id, index + 1)) });
    for (let seq = 502; seq <= 506; seq += 1) await write({ activity_logs: [aRow(id, seq, { request_body: large })] });
    await write({ activity_logs: [aRow(uuid(), 507), aRow(id, 508, { version: 0 })] });
    const slices = await recentActivity(database(), id, NOON_US + 1);
    expect(slices).toEqual([
      { from: 1, through: 500, rows: 500 },
      { from: 501, through: 504, rows: 4 },
      { from: 505, through: 506, rows: 2 },
    ]);
    const [, second = { from: 0, through: 0, rows: 0 }] = slices;
    expect((await activityOf(database(), id, second)).map(({ seq }) => seq)).toEqual([501, 502, 503, 504]);
    expect(await recentActivity(database(), id, NOON_US + 506)).toEqual([{ from: 506, through: 506, rows: 1 }]);
    expect(await recentActivity(database(), id, 0, 2)).toEqual([{ from: 505, through: 506, rows: 2 }]);
    expect(await recentActivity(database(), id, 0, 100, 2.5 * 1024 * 1024)).toEqual([
      { from: 505, through: 506, rows: 2 },
    ]);
  });

  it("is its open delegations, with the ids of their attempts and the rows that may hold their tasks", async () => {
    const id = uuid();
    const calleeId = uuid();
    const aDelegation = (status: string, more: Partial<LedgerRows["delegations"]> = {}) => ({
      caller_id: id,
      delegation_id: uuid(),
      callee_id: calleeId,
      status,
      created_at: NOON_US,
      version: 1,
      ...more,
    });
    const statuses = ["queued", "dispatched", "in_progress", "stuck", "completed", "failed", "cancelled"];
    await write({ delegations: statuses.map((status) => aDelegation(status)) });
    const open = await openDelegations(database(), { callerId: id, calleeId: null });
    expect(open.map(({ status }) => status).sort()).toEqual(["dispatched", "in_progress", "queued", "stuck"]);
    expect(await openDelegations(database(), { callerId: null, calleeId })).toHaveLength(4);

    const [row] = open;
    if (!row) throw new Error("an open delegation");
    const { delegationId } = row;
    expect(await attemptsOf(database(), row, 0)).toEqual([delegationId]);
    const retry = (version: number, attempt: string, action = "delegation.retry") => ({
      id: uuid(),
      workspace_id: id,
      action,
      subject: delegationId,
      detail: JSON.stringify({ attempt_id: attempt }),
      created_at: NOON_US,
      version,
    });
    await write({ audit_log: [retry(3, "third"), retry(2, "second"), retry(4, "none", "delegation.cancel")] });
    expect(await attemptsOf(database(), row, 2)).toEqual([delegationId, "second", "third"]);

    const sent = { activity_type: "delegation", method: "delegate", target_id: calleeId };
    const body = JSON.stringify({ task: "count", delegation_id: delegationId });
    await write({
      activity_logs: [
        aRow(id, 10, { ...sent, request_body: body }),
        aRow(id, 11, { ...sent, request_body_key: "large" }),
        aRow(id, 12, { ...sent, request_body: JSON.stringify({ task: "other", delegation_id: uuid() }) }),
        aRow(id, 13, { ...sent, target_id: uuid(), request_body: body }),
      ],
    });
    expect(await sentRows(database(), row)).toEqual([
      { seq: 11, text: null, key: "large", createdAt: NOON_US + 11 },
      { seq: 10, text: body, key: null, createdAt: NOON_US + 10 },
    ]);
  });

  it("is its files whose bytes are there and can be found, and the tokens that nobody revoked", async () => {
    const id = uuid();
    const aFile = (more: Partial<LedgerRows["pending_uploads"]>) => ({
      file_id: uuid(),
      workspace_id: id,
      state: "staged",
      body_offset: 7,
      activity_seq: 2,
      created_at: NOON_US,
      version: 1,
      ...more,
    });
    const kept = aFile({ attached_at: NOON_US });
    await write({ pending_uploads: [kept, aFile({ swept_at: NOON_US }), aFile({ body_offset: null })] });
    expect(await keptFiles(database(), id)).toMatchObject([
      { file_id: kept.file_id, body_offset: 7, activity_seq: 2, attached_at: NOON_US },
    ]);
    const aToken = (revoked_at: number | null) => ({
      id: uuid(),
      workspace_id: id,
      prefix: "abc",
      created_at: NOON_US,
      revoked_at,
      version: 1,
    });
    const live = aToken(null);
    await write({ workspace_tokens: [live, aToken(NOON_US)] });
    expect(await liveTokens(database(), id)).toEqual([{ id: live.id, prefix: "abc", created_at: NOON_US }]);
  });

  it("is what waits for its agent, and the epoch that may write for it", async () => {
    const id = uuid();
    const anItem = (status: string) => ({ id: uuid(), workspace_id: id, status, enqueued_at: NOON_US, version: 1 });
    await write({ a2a_queue: ["queued", "dispatched", "completed", "failed", "dropped"].map(anItem) });
    const waiting = await openQueueItems(database(), id);
    expect(waiting.map(({ status }) => status).sort()).toEqual(["dispatched", "queued"]);
    expect(await epochOf(database(), id)).toBe(0);
    await raiseEpoch(database(), id, 7);
    expect(await epochOf(database(), id)).toBe(7);
  });
});
