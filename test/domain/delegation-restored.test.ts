import { describe, expect, it } from "vitest";
import { statusOf } from "../../src/domain/delegation.ts";
import { isDispatchDue } from "../../src/domain/delegation-dispatch.ts";
import { report } from "../../src/domain/delegation-report.ts";
import { restoredDelegation, restoredReceived } from "../../src/domain/delegation-restored.ts";
import { type DelegationRow, delegationRow } from "../../src/domain/delegation-view.ts";
import { CALLEE, CALLER, HOUR_MS, ID, NOW, queued, RETRY_ID } from "./delegation-samples.ts";

const LATER = NOW + HOUR_MS;

function aRow(more: Partial<DelegationRow>): DelegationRow {
  return { ...delegationRow(queued()), ...more };
}

const first = { attemptIds: [ID], startedAt: NOW };

describe("a delegation that the ledger tells of", () => {
  it("is handed over again while it is queued, as the dispatch that it was", () => {
    const delegation = restoredDelegation(aRow({}), first, LATER);
    expect(isDispatchDue(delegation, ID, 1, LATER)).toBe(true);
    expect(delegation).toMatchObject({ callerId: CALLER, calleeId: CALLEE, deadlineMs: 6 * HOUR_MS, past: [] });
  });

  it("keeps its row in the ledger as it was, but for what is not known any more", () => {
    for (const status of ["queued", "dispatched", "in_progress"] as const) {
      const row = aRow({ status, lastHeartbeat: status === "in_progress" ? NOW + 1 : null });
      const deliveryConfirmed = status === "dispatched" ? false : null;
      expect(delegationRow(restoredDelegation(row, first, LATER))).toEqual({ ...row, deliveryConfirmed });
    }
  });

  it("is stuck as it was, and told of it no second time", () => {
    for (const errorDetail of ["no heartbeat for 10m0s", null]) {
      const delegation = restoredDelegation(aRow({ status: "stuck", errorDetail, updatedAt: LATER }), first, LATER);
      expect(statusOf(delegation)).toBe("stuck");
      const error = errorDetail ?? "no heartbeat";
      expect(delegation.current).toMatchObject({ stuckTold: true, stuck: { since: LATER, error } });
    }
  });

  it("ends by its callee's word under the attempt of a retry; one before it is late", () => {
    const traces = { attemptIds: [ID, RETRY_ID], startedAt: LATER };
    const row = aRow({ status: "dispatched", retryCount: 1, deadline: LATER + HOUR_MS });
    const delegation = restoredDelegation(row, traces, LATER);
    expect(delegation).toMatchObject({ deadlineMs: HOUR_MS, current: { attemptId: RETRY_ID } });
    const word = {
      by: CALLEE,
      status: "completed",
      text: "seven",
      error: null,
      envelope: null,
      drained: false,
    } as const;
    expect(statusOf(report(delegation, { ...word, id: RETRY_ID }, LATER).delegation)).toBe("completed");
    expect(statusOf(report(delegation, { ...word, id: ID }, LATER).delegation)).toBe("dispatched");
  });

  it("has at least its own id, and a deadline of at least a moment", () => {
    const delegation = restoredDelegation(aRow({ deadline: NOW - 1 }), { attemptIds: [], startedAt: NOW }, LATER);
    expect(delegation).toMatchObject({ deadlineMs: 1, current: { attemptId: ID, deadline: NOW - 1 } });
  });
});

describe("what a callee knows again of an attempt", () => {
  it("is how far it had come", () => {
    const status = (of: DelegationRow["status"]) => restoredReceived(aRow({ status: of }), RETRY_ID).status;
    expect(status("dispatched")).toBe("dispatched");
    expect(status("in_progress")).toBe("in_progress");
    expect(status("stuck")).toBe("in_progress");
    expect(restoredReceived(aRow({ status: "dispatched" }), RETRY_ID)).toMatchObject({
      attemptId: RETRY_ID,
      delegationId: ID,
      callerId: CALLER,
      dispatch: 1,
      cancelRequested: false,
    });
  });
});
