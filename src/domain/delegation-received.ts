import type { EndMessage, ReceivedMessage } from "./delegation-effect.ts";
import { type HeartbeatAnswer, heartbeatAnswer } from "./delegation-heartbeat.ts";
import { Refusal } from "./refusal.ts";

/** Why what a removed callee had open has failed. */
export const REMOVED_ERROR = "target workspace removed";

/** What a callee's object knows of an attempt that somebody delegated to it; its key is (caller, attempt). */
export interface Received {
  readonly attemptId: string;
  readonly callerId: string;
  readonly delegationId: string;
  readonly taskPreview: string;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deadline: number;
  /** The last dispatch that was carried out. */
  readonly dispatch: number;
  readonly lastHeartbeat: number | null;
  /** As far as it is known here: the caller's object decides. */
  readonly status: "dispatched" | "in_progress" | EndMessage["status"];
  readonly error: string | null;
  /** The attempt ended without its callee: whoever works on it should stop. */
  readonly cancelRequested: boolean;
  /** The task was taken back before the callee saw it. */
  readonly withdrawn: boolean;
}

/**
 * Takes in an attempt, or a further dispatch of it. `deliver`: the task is to be put before the callee now; never
 * twice for one dispatch, and never once the attempt has ended, whichever of the two was heard of first.
 */
export function receive(
  known: Received | null,
  message: ReceivedMessage,
  now: number,
): { received: Received; deliver: boolean } {
  if (known !== null && !isUnderWay(known)) return { received: known, deliver: false };
  const deliver = message.dispatch > (known?.dispatch ?? 0);
  if (known !== null) return { received: deliver ? { ...known, dispatch: message.dispatch } : known, deliver };
  const { kind, ...facts } = message;
  const fresh = { updatedAt: now, lastHeartbeat: null, error: null, cancelRequested: false, withdrawn: false };
  return { received: { ...facts, ...fresh, status: "dispatched" }, deliver };
}

/**
 * Takes in the end of an attempt. `withdraw`: take its row or queue item back where nobody has read it. An end that
 * overtook its beginning is kept, so that the beginning delivers nothing.
 */
export function receiveEnd(
  known: Received | null,
  message: EndMessage,
  now: number,
): { received: Received; withdraw: boolean } {
  const { attemptId, callerId, status, error } = message;
  if (known !== null && !isUnderWay(known)) return { received: known, withdraw: false };
  const cancelRequested = message.kind === "cancel";
  const nothing = {
    delegationId: attemptId,
    taskPreview: "",
    createdAt: now,
    deadline: now,
    dispatch: 0,
    lastHeartbeat: null,
    withdrawn: false,
  };
  const received = { ...(known ?? nothing), attemptId, callerId, updatedAt: now, status, error, cancelRequested };
  return { received, withdraw: known !== null && cancelRequested };
}

/** Nobody works on it any more: the callee has been removed, and its owner is told. */
export function abandoned(received: Received, now: number): Received {
  return { ...received, updatedAt: now, status: "failed", error: REMOVED_ERROR };
}

/** Notes the callee's own heartbeat and answers it; the caller's object hears of it by effect. */
export function beatReceived(received: Received, now: number): { received: Received; answer: HeartbeatAnswer } {
  const state = isUnderWay(received) ? "open" : received.cancelRequested ? "unwanted" : "answered";
  const answer = heartbeatAnswer(received.deadline, state, now);
  if (state !== "open") return { received, answer };
  const updatedAt = received.status === "in_progress" ? received.updatedAt : now;
  return { received: { ...received, status: "in_progress", lastHeartbeat: now, updatedAt }, answer };
}

/**
 * The attempt that a callee means by an id, which two callers may have given it: that of the caller it names, else the
 * only one. It is never guessed, not even where all but one have ended: a repeated word would reach another caller.
 * Null when it is known under no such caller.
 */
export function meantReceived(known: readonly Received[], callerId: string | null): Received | null {
  const candidates = callerId === null ? known : known.filter((received) => received.callerId === callerId);
  if (candidates.length <= 1) return candidates[0] ?? null;
  throw new Refusal("delegation.ambiguous", { details: { candidates: candidates.map(({ callerId }) => callerId) } });
}

/** Whether an attempt has not ended, as far as is known here. */
export function isUnderWay({ status }: Received): boolean {
  return status === "dispatched" || status === "in_progress";
}
