import {
  attemptFacts,
  type Delegation,
  type EndedAttempt,
  type EndedDelegation,
  isUnderWay,
  moved,
  type OpenAttempt,
  type Reporter,
} from "./delegation.ts";
import {
  completeEvent,
  type DelegationEffect,
  failedEvent,
  newsRow,
  resultRow,
  sentRowStatus,
  type Transition,
  toCallee,
} from "./delegation-effect.ts";
import { keepText, previewOf } from "./delegation-text.ts";

/** Why an attempt ends: somebody reports how, or the platform gives it up. Errors are no longer than previews. */
export type Ending =
  | {
      readonly state: "completed" | "failed";
      readonly endedBy: Reporter;
      readonly text: string | null;
      readonly error: string | null;
      readonly envelope: string | null;
      /** The answer came to a request that had waited in the queue of a busy callee. */
      readonly drained: boolean;
    }
  | { readonly state: "failed" | "cancelled"; readonly endedBy: "platform"; readonly error: string };

/**
 * The one final transition of an attempt. All that tells of it is made here: two history rows, one event, one row in
 * the caller's inbox, and what the callee learns.
 */
export function end(
  delegation: Delegation,
  attempt: OpenAttempt,
  ending: Ending,
  now: number,
): Transition & { readonly delegation: EndedDelegation } {
  const ended = moved(delegation, endedAttempt(attempt, ending, now), now);
  return { delegation: ended, effects: endEffects(ended, attempt.attemptId, ending) };
}

/** Ends the current attempt without a word of the callee; one that has ended already stays as it is. */
export function giveUp(
  delegation: Delegation,
  state: "failed" | "cancelled",
  error: string,
  now: number,
): Transition & { readonly delegation: EndedDelegation } {
  if (!isUnderWay(delegation)) return { delegation, effects: [] };
  return end(delegation, delegation.current, { state, endedBy: "platform", error: previewOf(error) }, now);
}

function endedAttempt(attempt: OpenAttempt, ending: Ending, now: number): EndedAttempt {
  const facts = { ...attemptFacts(attempt), endedAt: now };
  if (ending.endedBy === "platform") {
    const { state, endedBy, error } = ending;
    return { ...facts, state, endedBy, error, late: null };
  }
  const { endedBy, text, error } = ending;
  const delivery = endedBy === "callee" ? "confirmed" : facts.delivery;
  const reported = { ...facts, delivery, endedBy, text: text === null ? null : keepText(text) };
  if (ending.state === "completed") return { ...reported, state: "completed" };
  return { ...reported, state: "failed", error };
}

function endEffects(delegation: Delegation, attemptId: string, ending: Ending): DelegationEffect[] {
  const { state, endedBy } = ending;
  const { text, envelope, drained } =
    ending.endedBy === "platform" ? { text: null, envelope: null, drained: false } : ending;
  const error = state === "completed" ? null : ending.error;
  const status = state === "cancelled" ? "failed" : state;
  const shownError = state === "cancelled" ? "cancelled" : error;
  return [
    resultRow(delegation, attemptId, { status, text, error: shownError }),
    sentRowStatus(delegation, status, shownError),
    state === "completed" ? completeEvent(delegation, text, drained) : failedEvent(delegation, shownError),
    {
      kind: "inbox",
      attemptId,
      slot: "result",
      row: newsRow(delegation, attemptId, { status: state, text, error, envelope }),
      push: endedBy !== "caller",
    },
    toCallee(delegation, {
      kind: endedBy === "callee" ? "closed" : "cancel",
      attemptId,
      callerId: delegation.callerId,
      status: state,
      error: shownError,
    }),
  ];
}
