import { type Attempt, type Delegation, isOpen, moved, newAttempt, statusOf } from "./delegation.ts";
import { begin } from "./delegation-creation.ts";
import { type DelegationEffect, type Transition, unchanged } from "./delegation-effect.ts";
import { giveUp } from "./delegation-ending.ts";
import { REMOVED_ERROR } from "./delegation-received.ts";
import { Refusal } from "./refusal.ts";

/** Who wants something done to a delegation, and why. */
export interface Order {
  /** The caller's workspace id, or the name of an operator's credential. */
  readonly actor: string;
  readonly reason: string | null;
}

/**
 * Ends a delegation at the caller's or an operator's wish, at once: agents of today never ask whether to stop, so
 * waiting for them would mean waiting for the deadline. The callee's object withdraws the task where it was not read;
 * else heartbeats tell the callee to stop, and a result that comes all the same is told as late.
 * `cancelRequested`: the callee may have the task already.
 */
export function cancel(delegation: Delegation, order: Order, now: number): Transition & { cancelRequested: boolean } {
  const { current } = delegation;
  if (current.state === "cancelled") return { ...unchanged(delegation), cancelRequested: current.delivery !== "none" };
  if (!isOpen(current)) throw ended(delegation);
  const reason = order.reason === null ? `cancelled by ${order.actor}` : `cancelled by ${order.actor}: ${order.reason}`;
  const { delegation: cancelled, effects } = giveUp(delegation, "cancelled", reason, now);
  return {
    delegation: cancelled,
    effects: [...effects, audit("delegation.cancel", order, current)],
    cancelRequested: current.delivery !== "none",
  };
}

/** Attempts that one delegation may have: it keeps all of them, and is written whole. */
export const ATTEMPTS_MAX = 50;

export interface RetryOrder extends Order {
  readonly attemptId: string;
  readonly task: string;
  /** The delegation that the idempotency key stands for by now; absent where none does. */
  readonly keyHolder?: Delegation | null;
  /** Also where the task may have been done, or may still be. */
  readonly force: boolean;
}

/**
 * Starts a new attempt of a delegation that failed or was cancelled. Where the task may have reached the callee and
 * nobody knows what became of it, or is stuck there, or was given anew under its key, it takes force; an attempt that
 * was still open ends by it.
 */
export function retry(delegation: Delegation, order: RetryOrder, now: number): Transition {
  const { current } = delegation;
  if (current.state === "completed") throw ended(delegation);
  if (isOpen(current) && current.stuck === null && current.delivery !== "unknown") {
    throw new Refusal("delegation.in_flight", { details: { status: statusOf(delegation) } });
  }
  if (delegation.past.length + 1 >= ATTEMPTS_MAX) throw new Refusal("delegation.too_many_attempts");
  const { keyHolder } = order;
  if (keyHolder && keyHolder.delegationId !== delegation.delegationId && !order.force) {
    throw new Refusal("delegation.key_bound", { details: { holder: keyHolder.delegationId } });
  }
  if (isUncertain(current) && !order.force) throw new Refusal("delegation.outcome_unknown");
  const freed = giveUp(delegation, "cancelled", "replaced by a retry", now);
  const past = [...delegation.past, freed.delegation.current];
  const attempt = newAttempt(order.attemptId, delegation.deadlineMs, now);
  const again = begin(moved({ ...freed.delegation, past }, attempt, now), order.task);
  return {
    delegation: again.delegation,
    effects: [...freed.effects, ...again.effects, audit("delegation.retry", order, attempt)],
  };
}

/** The caller has been removed: nobody waits for what it sent. */
export function callerRemoved(delegation: Delegation, now: number): Transition {
  return giveUp(delegation, "cancelled", "caller workspace removed", now);
}

/** The callee has been removed: nobody works on what it had open. */
export function calleeRemoved(delegation: Delegation, now: number): Transition {
  return giveUp(delegation, "failed", REMOVED_ERROR, now);
}

/** The callee's object took the task of an attempt back before its agent saw it: nobody can have done it. */
export function withdrawn(delegation: Delegation, attemptId: string): Transition {
  const { current } = delegation;
  const isGivenUp = current.attemptId === attemptId && !isOpen(current) && current.endedBy === "platform";
  if (!isGivenUp || current.dispatch === 0 || current.withdrawn) return unchanged(delegation);
  return { delegation: { ...delegation, current: { ...current, withdrawn: true } }, effects: [] };
}

/** Whether the task may have been done, or may still be, without the callee having said how it ended. */
function isUncertain(attempt: Attempt): boolean {
  if (isOpen(attempt)) return true;
  if (attempt.endedBy === "platform" && attempt.withdrawn) return false;
  if (attempt.delivery === "unknown" || attempt.delivery === "pending") return true;
  return attempt.delivery === "confirmed" && attempt.endedBy === "platform" && attempt.late === null;
}

function ended(delegation: Delegation): Refusal {
  const status = statusOf(delegation);
  return new Refusal("delegation.ended", { error: `delegation is already ${status}`, details: { status } });
}

function audit(
  action: "delegation.cancel" | "delegation.retry",
  { actor, reason }: Order,
  { attemptId }: Attempt,
): DelegationEffect {
  return { kind: "audit", action, actor, reason, attemptId };
}
