import { describe, expect, it } from "vitest";
import type { Delegation } from "../../src/domain/delegation.ts";
import { delegate } from "../../src/domain/delegation-creation.ts";
import { delegationRow } from "../../src/domain/delegation-view.ts";
import { listDelegations } from "../../src/ledgers/delegation-ledger.ts";
import { writeLedger } from "../../src/ledgers/ledger-write.ts";
import type { LedgerRows } from "../../src/ledgers/rows.ts";
import { aRequest, beaten, NOW, pollDelivered, said, told } from "../domain/delegation-samples.ts";
import { aLane, laneDatabase } from "../support/ledger.ts";

const database = laneDatabase(aLane());

/** The row that a delegation's object mirrors at this version. */
function rowAt(version: number, delegation: Delegation): LedgerRows["delegations"] {
  const row = delegationRow(delegation);
  return {
    caller_id: row.callerId,
    delegation_id: row.delegationId,
    callee_id: row.calleeId,
    task_preview: row.taskPreview,
    status: row.status,
    deadline: row.deadline * 1000,
    result_preview: row.resultPreview,
    error_detail: row.errorDetail,
    retry_count: row.retryCount,
    created_at: row.createdAt * 1000,
    updated_at: row.updatedAt * 1000,
    version,
  };
}

function flush(...delegations: LedgerRows["delegations"][]) {
  return writeLedger(database, { objectId: crypto.randomUUID(), epoch: 0, rows: { delegations } });
}

async function stored({ callerId }: Delegation) {
  const statuses = ["queued", "dispatched", "in_progress", "completed", "failed"] as const;
  const search = { statuses, callerId, calleeId: null, text: null, after: null, limit: 10 };
  return (await listDelegations(database, search)).map(({ row }) => row);
}

function underWay(task = "count the sheep"): Delegation {
  const { delegation } = delegate(aRequest({ callerId: crypto.randomUUID(), task }), NOW);
  return beaten(told(delegation, pollDelivered).delegation, NOW);
}

describe("the text of a result", () => {
  it.each(["in their order", "the later one first"])(
    "survives when the status came first and the text with its replay, flushed %s",
    async (order) => {
      const working = underWay();
      const ended = said(working, { status: "completed", text: null });
      const filled = said(ended.delegation, { status: "completed", text: "twelve" });
      const rows = [rowAt(1, working), rowAt(2, ended.delegation), rowAt(3, filled.delegation)];
      for (const row of order === "in their order" ? rows : rows.toReversed()) await flush(row);
      expect(await stored(working)).toMatchObject([{ status: "completed", resultPreview: "twelve" }]);
    },
  );

  it.each(["in their order", "the later one first"])(
    "survives when the text came first and a replay without it followed, flushed %s",
    async (order) => {
      const working = underWay();
      const ended = said(working, { status: "completed", text: "twelve" });
      const replayed = said(ended.delegation, { status: "completed", text: null });
      const rows = [rowAt(1, working), rowAt(2, ended.delegation), rowAt(3, replayed.delegation)];
      for (const row of order === "in their order" ? rows : rows.toReversed()) await flush(row);
      expect(await stored(working)).toMatchObject([{ status: "completed", resultPreview: "twelve" }]);
    },
  );
});

describe("a preview", () => {
  it.each([
    ["東", 3],
    ["🐎", 4],
    ["e\u0301", 3],
    ["a", 1],
  ])("of %s over and over is cut between characters, at 4,096 bytes or just below", async (character, bytes) => {
    const text = character.repeat(5_000);
    const ended = said(underWay(text), { status: "completed", text: `.${text}` }).delegation;
    await flush(rowAt(1, ended));
    const [row] = await stored(ended);
    for (const preview of [row?.taskPreview ?? "", row?.resultPreview ?? ""]) {
      expect(preview.isWellFormed()).toBe(true);
      const size = new TextEncoder().encode(preview).length;
      expect(size).toBeLessThanOrEqual(4096);
      expect(size).toBeGreaterThan(4096 - bytes);
    }
    expect(`.${text}`.startsWith(row?.resultPreview ?? "?")).toBe(true);
  });
});
