import { type Delegation, type NewDelegation, newDelegation, recordedDelegation, statusOf } from "./delegation.ts";
import { receivedMessage, sentEvent, sentRow, type Transition, toCallee } from "./delegation-effect.ts";
import { Refusal } from "./refusal.ts";

/** How long a completed delegation still answers for its idempotency key. */
export const BINDING_AFTER_COMPLETION_MS = 10 * 60_000;

/** A task that the platform takes to the callee. */
export function delegate(request: NewDelegation, now: number): Transition {
  return begin(newDelegation(request, now), request.task);
}

/** What every attempt that the platform dispatches starts with: its row, its event, its first dispatch. */
export function begin(delegation: Delegation, task: string): Transition {
  return {
    delegation,
    effects: [
      sentRow(delegation, task, "pending"),
      sentEvent(delegation, task),
      { kind: "dispatch", at: delegation.current.startedAt, message: receivedMessage(delegation) },
    ],
  };
}

/**
 * A task that the caller takes to the callee by itself and wants a trace of. `known` is what the caller has under that
 * id already: recording it again changes nothing, and for another callee it is refused.
 */
export function record(known: Delegation | null, request: NewDelegation, now: number): Transition {
  if (known !== null && known.calleeId !== request.calleeId) {
    throw new Refusal("delegation.id_taken", { details: { target_id: known.calleeId } });
  }
  if (known !== null) return { delegation: known, effects: [] };
  const delegation = recordedDelegation(request, now);
  return {
    delegation,
    effects: [
      sentRow(delegation, request.task, "dispatched"),
      sentEvent(delegation, request.task),
      toCallee(delegation, receivedMessage(delegation)),
    ],
  };
}

/**
 * The delegation of a caller that its idempotency key stands for. Clients derive keys without a time in them, so a key
 * binds while the task is under way and shortly after its completion; a failed or cancelled one frees it.
 */
export function bindingOf(delegations: readonly Delegation[], key: string | null, now: number): Delegation | null {
  if (key === null || key === "") return null;
  const bound = delegations.filter((delegation) => delegation.idempotencyKey === key && binds(delegation, now));
  return bound.toSorted((a, b) => b.createdAt - a.createdAt)[0] ?? null;
}

function binds(delegation: Delegation, now: number): boolean {
  const { current } = delegation;
  switch (current.state) {
    case "completed":
      return now - current.endedAt < BINDING_AFTER_COMPLETION_MS;
    case "failed":
    case "cancelled":
      return false;
    default:
      return true;
  }
}

/** What `delegate` answers with 202; a hit echoes what is stored, not what was asked. */
export function delegateAnswer(delegation: Delegation, isHit: boolean) {
  const { delegationId, calleeId } = delegation;
  return isHit
    ? { delegation_id: delegationId, status: statusOf(delegation), target_id: calleeId, idempotent_hit: true }
    : { delegation_id: delegationId, status: "delegated", target_id: calleeId };
}
