import {
  type Attempt,
  type GivenUp,
  newAttempt,
  type OpenAttempt,
  type OpenDelegation,
  openFacts,
  type StuckNotice,
} from "./delegation.ts";
import type { Received } from "./delegation-received.ts";
import type { DelegationRow } from "./delegation-view.ts";

/** Why nothing more is known of an attempt that a retry replaced before its object was made anew. */
const REPLACED = "replaced by a retry before its workspace was rebuilt";

/** What history still tells of an open delegation beside its row in the ledger. Times in ms since 1970. */
export interface DelegationTraces {
  /** Ids of its attempts, the delegation's own first, the current one last. */
  readonly attemptIds: readonly string[];
  /** When the current attempt began. */
  readonly startedAt: number;
}

/**
 * An open delegation as the ledger tells it, for its caller's new object. One that is queued is handed over again,
 * which its number makes harmless; how any other reached its callee is unknown, so it is not repeated, and the callee's
 * word ends it.
 */
export function restoredDelegation(row: DelegationRow, traces: DelegationTraces, now: number): OpenDelegation {
  const { callerId, delegationId, calleeId, taskPreview, idempotencyKey, createdAt, updatedAt } = row;
  const deadlineMs = Math.max(1, row.deadline - traces.startedAt);
  const attemptId = traces.attemptIds.at(-1) ?? delegationId;
  const begun = newAttempt(attemptId, deadlineMs, traces.startedAt);
  const past = traces.attemptIds.slice(0, -1).map((id) => replaced(id, row));
  const facts = { callerId, delegationId, calleeId, taskPreview, idempotencyKey, deadlineMs, createdAt, updatedAt };
  return { ...facts, past, current: standing({ ...begun, deadline: row.deadline }, row, now) };
}

/** What the callee's new object knows of an attempt that waits for its agent. */
export function restoredReceived(row: DelegationRow, attemptId: string): Received {
  const { callerId, delegationId, taskPreview, createdAt, updatedAt, deadline, lastHeartbeat } = row;
  const status = row.status === "in_progress" || row.status === "stuck" ? "in_progress" : "dispatched";
  const facts = { attemptId, callerId, delegationId, taskPreview, createdAt, updatedAt, deadline, lastHeartbeat };
  return { ...facts, status, dispatch: 1, error: null, cancelRequested: false, withdrawn: false };
}

function standing(begun: OpenAttempt, row: DelegationRow, now: number): OpenAttempt {
  const { status, lastHeartbeat, updatedAt } = row;
  const pulse =
    lastHeartbeat === null ? null : { at: lastHeartbeat, progressSeq: null, progressAt: null, details: null };
  const facts = { ...openFacts(begun), pulse };
  switch (status) {
    case "queued":
      return { ...facts, state: "queued", dispatchAt: now };
    case "dispatched":
      return { ...facts, delivery: "unknown", state: "dispatched", dispatchedAt: updatedAt };
    default: {
      const stuck: StuckNotice | null =
        status === "stuck" ? { since: updatedAt, error: row.errorDetail ?? "no heartbeat" } : null;
      const told = { stuck, stuckTold: stuck !== null };
      return { ...facts, ...told, delivery: "confirmed", state: "in_progress", workedOnSince: updatedAt };
    }
  }
}

function replaced(attemptId: string, { createdAt, updatedAt, deadline }: DelegationRow): Attempt & GivenUp {
  return {
    attemptId,
    startedAt: createdAt,
    deadline,
    dispatch: 1,
    delivery: "unknown",
    pulse: null,
    stuckTold: false,
    contradictions: 0,
    state: "cancelled",
    endedAt: updatedAt,
    endedBy: "platform",
    error: REPLACED,
    late: null,
  };
}
