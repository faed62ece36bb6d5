import { answerTextOf } from "./a2a-answer.ts";
import type { PushOutcome } from "./a2a-outcome.ts";
import {
  type Delegation,
  type Dispatched,
  isOpen,
  meantAttempt,
  moved,
  type OpenAttempt,
  openFacts,
  type Queued,
} from "./delegation.ts";
import { withdrawn } from "./delegation-control.ts";
import {
  type DelegationEffect,
  receivedMessage,
  resultRow,
  statusEffects,
  type Transition,
  tellStatus,
  unchanged,
} from "./delegation-effect.ts";
import { giveUp } from "./delegation-ending.ts";
import { report } from "./delegation-report.ts";
import { isJsonObject, parseJsonText } from "./json-text.ts";

/** Dispatches of one attempt, where each one before the last was surely not delivered. */
export const DISPATCHES_MAX = 2;
export const DISPATCH_RETRY_MS = 8_000;

/** States of an A2A task that somebody still works on, or that wait for a further message. */
const UNFINISHED_TASK_STATES: ReadonlySet<unknown> = new Set([
  "submitted",
  "working",
  "input-required",
  "auth-required",
]);
/** States in which an A2A task has ended without a result. */
const FAILED_TASK_STATES: ReadonlySet<unknown> = new Set(["failed", "canceled", "rejected"]);
/** Statuses that a proxy answers in the place of an agent that it could not reach or hear. */
const PROXY_STATUSES: ReadonlySet<number> = new Set([502, 504]);
const POLL_DELIVERED = { kind: "poll_delivered" } as const;

/** What became of a dispatch, as the callee's object tells it. */
export type DispatchOutcome =
  /** The task stands in the callee's inbox: delivered, not completed. */
  | { readonly kind: "poll_delivered" }
  | { readonly kind: "call_started" }
  | { readonly kind: "call_ended"; readonly outcome: PushOutcome }
  /** A request that had waited in the queue of a busy callee was sent; `waitsAgain` when it is still there. */
  | { readonly kind: "drained"; readonly outcome: PushOutcome; readonly waitsAgain: boolean }
  /** It was dropped from that queue unsent, or the callee's object refused it. */
  | { readonly kind: "refused"; readonly error: string };

export interface DispatchReport {
  readonly attemptId: string;
  /** Number of the dispatch that it tells of. */
  readonly dispatch: number;
  readonly outcome: DispatchOutcome;
}

/** Whether a wanted dispatch is still to be made: nobody has taken the task up or ended it meanwhile. */
export function isDispatchDue({ current }: Delegation, attemptId: string, dispatch: number, now: number): boolean {
  if (current.state !== "queued" || current.attemptId !== attemptId || current.dispatch !== dispatch) return false;
  return current.dispatchAt !== null && current.dispatchAt <= now;
}

/**
 * Takes in what became of a dispatch. An answer is the callee's report, whenever it comes, unless it only confirms the
 * receipt. Everything else counts only for the dispatch that stands, so that a repeated telling never uses up the one
 * retry.
 */
export function settleDispatch(delegation: Delegation, told: DispatchReport, now: number): Transition {
  const { attemptId, dispatch } = told;
  let { outcome } = told;
  if (outcome.kind === "call_ended" || outcome.kind === "drained") {
    const { reply } = outcome.outcome;
    if (reply.kind === "pass" && !isReceipt(reply.status, outcome.outcome)) {
      return answered(delegation, attemptId, outcome, reply.status, now);
    }
    if (reply.kind === "pass") outcome = POLL_DELIVERED;
  }
  const { current } = delegation;
  if (current.attemptId !== attemptId || current.dispatch !== dispatch) return unchanged(delegation);
  if (!isOpen(current)) {
    const isUnsent = current.delivery === "pending" && isSurelyUnsent(outcome);
    return isUnsent ? withdrawn(delegation, attemptId) : unchanged(delegation);
  }
  return dispatch > 0
    ? settleOpen(delegation, current, outcome, now)
    : settleRecorded(delegation, current, outcome, now);
}

/** Whether a call did not reach the callee and will not; a busy callee's may wait in its queue. */
function isSurelyUnsent(outcome: DispatchOutcome): boolean {
  if (outcome.kind !== "call_ended") return false;
  const { delivered, reply } = outcome.outcome;
  return delivered === "no" && reply.kind !== "queue";
}

/** The words of a push answer; null when it has none. */
export function pushAnswerText(outcome: PushOutcome): string | null {
  const text = answerTextOf(rawAnswer(outcome));
  return text.toWellFormed().replaceAll("\u0000", "\ufffd") || null;
}

/** The answer as the agent wrote it; one that is no JSON object was recorded as `{text}`. */
function rawAnswer({ reply, row }: PushOutcome): string {
  const answer = (reply.kind === "pass" ? reply.body : null) ?? row.responseBody ?? "";
  const value = parseJsonText(answer)?.value;
  const isRecordedText = isJsonObject(value) && Object.keys(value).length === 1 && typeof value.text === "string";
  return isRecordedText ? String(value.text) : answer;
}

/** Whether an answer only says that the task has arrived: the result comes by an update or a message. */
function isReceipt(status: number, outcome: PushOutcome): boolean {
  if (status >= 300) return false;
  if (status === 202) return true;
  const value = parseJsonText(rawAnswer(outcome))?.value;
  const state = taskStateIn(value);
  if (state !== undefined) return UNFINISHED_TASK_STATES.has(state);
  return isJsonObject(value) && (value.status === "queued" || value.queued === true);
}

/** The state of the A2A task that an answer brings; undefined when it brings none. */
function taskStateIn(value: unknown): unknown {
  if (!isJsonObject(value) || !isJsonObject(value.result) || !isJsonObject(value.result.status)) return undefined;
  return value.result.status.state;
}

/** Why an answer is a failure: by its status, or as a task that has ended without a result; null when it is none. */
function failureIn(status: number, outcome: PushOutcome, text: string | null): string | null {
  if (status >= 300) return outcome.row.errorDetail ?? `agent answered HTTP ${status}`;
  const answer = rawAnswer(outcome);
  const state = taskStateIn(parseJsonText(answer)?.value);
  if (!FAILED_TASK_STATES.has(state)) return null;
  return text === answer ? `agent answered with a task that is ${state}` : text;
}

/** Whether an answer is no word of the callee: a redirect, or a proxy's own page. */
function isWordless(status: number, outcome: PushOutcome): boolean {
  const isProxys = (status >= 300 && status < 400) || PROXY_STATUSES.has(status);
  return isProxys && parseJsonText(rawAnswer(outcome)) === null;
}

function answered(
  delegation: Delegation,
  attemptId: string,
  { kind, outcome }: Extract<DispatchOutcome, { outcome: PushOutcome }>,
  httpStatus: number,
  now: number,
): Transition {
  const text = isWordless(httpStatus, outcome) ? null : pushAnswerText(outcome);
  const error = failureIn(httpStatus, outcome, text);
  const attempt = meantAttempt(delegation, delegation.calleeId, attemptId);
  if (error !== null && text === null && attempt !== null) {
    // The platform words this error itself, so that the callee's own words, which may still come, are told as late.
    if (!isOpen(attempt)) return unchanged(delegation);
    return giveUp({ ...delegation, current: { ...attempt, delivery: "confirmed" } }, "failed", error, now);
  }
  const { delegation: next, effects } = report(
    delegation,
    {
      by: delegation.calleeId,
      id: attemptId,
      status: error === null ? "completed" : "failed",
      text,
      error,
      envelope: null,
      drained: kind === "drained",
    },
    now,
  );
  return { delegation: next, effects };
}

function settleOpen(delegation: Delegation, attempt: OpenAttempt, outcome: DispatchOutcome, now: number): Transition {
  // Whoever works on the task or has it in the inbox has it, and an unknown delivery is never repeated.
  if (attempt.state === "in_progress" || attempt.delivery === "confirmed") return unchanged(delegation);
  if (outcome.kind === "poll_delivered") return dispatched(delegation, attempt, "confirmed", now);
  if (attempt.delivery === "unknown") return unchanged(delegation);
  const isInQueue = attempt.state === "queued" && attempt.dispatchAt === null;
  switch (outcome.kind) {
    case "refused":
      return gaveUp(delegation, attempt, "none", outcome.error, now);
    case "call_started":
      return attempt.state === "dispatched" || isInQueue
        ? unchanged(delegation)
        : dispatched(delegation, attempt, "pending", now);
    case "call_ended":
      return isInQueue ? unchanged(delegation) : settleCall(delegation, attempt, outcome, now);
    case "drained":
      return settleCall(delegation, attempt, outcome, now);
  }
}

/** The caller brings this task itself; where the callee's object lets it not in, nobody there can ever close it. */
function settleRecorded(
  delegation: Delegation,
  attempt: OpenAttempt,
  outcome: DispatchOutcome,
  now: number,
): Transition {
  if (outcome.kind !== "refused") return unchanged(delegation);
  return gaveUp(delegation, attempt, "none", outcome.error, now);
}

function settleCall(
  delegation: Delegation,
  attempt: Queued | Dispatched,
  told: Extract<DispatchOutcome, { outcome: PushOutcome }>,
  now: number,
): Transition {
  const { delivered, reason, reply } = told.outcome;
  const error = reason ?? "no answer";
  if (delivered === "unknown") return dispatched(delegation, attempt, "unknown", now);
  if (delivered === "yes") return gaveUp(delegation, attempt, "confirmed", error, now);
  const waits = told.kind === "drained" ? told.waitsAgain : reply.kind === "queue";
  if (waits) return waitsForCallee(delegation, attempt, now);
  const wasLast = told.kind === "drained" || attempt.dispatch >= DISPATCHES_MAX;
  return wasLast ? gaveUp(delegation, attempt, "none", error, now) : dispatchedAgain(delegation, attempt, now);
}

function dispatched(
  delegation: Delegation,
  attempt: Queued | Dispatched,
  delivery: "pending" | "confirmed" | "unknown",
  now: number,
): Transition {
  const sent = moved(delegation, { ...openFacts(attempt), delivery, state: "dispatched", dispatchedAt: now }, now);
  return { delegation: sent, effects: statusEffects(delegation, sent) };
}

function waitsForCallee(delegation: Delegation, attempt: Queued | Dispatched, now: number): Transition {
  if (attempt.state === "queued" && attempt.dispatchAt === null) return unchanged(delegation);
  const facts = openFacts(attempt);
  const waiting = moved(delegation, { ...facts, delivery: "none", state: "queued", dispatchAt: null }, now);
  const row = resultRow(waiting, facts.attemptId, { status: "queued", text: null, error: null });
  return { delegation: waiting, effects: [row, ...tellStatus(waiting)] };
}

function dispatchedAgain(delegation: Delegation, attempt: Queued | Dispatched, now: number): Transition {
  const facts = openFacts(attempt);
  const dispatchAt = now + DISPATCH_RETRY_MS;
  const again = moved(
    delegation,
    { ...facts, dispatch: facts.dispatch + 1, delivery: "none", state: "queued", dispatchAt },
    now,
  );
  const retry: DelegationEffect = { kind: "dispatch", at: dispatchAt, message: receivedMessage(again) };
  return { delegation: again, effects: [...statusEffects(delegation, again), retry] };
}

function gaveUp(
  delegation: Delegation,
  attempt: OpenAttempt,
  delivery: "none" | "confirmed",
  error: string,
  now: number,
): Transition {
  return giveUp({ ...delegation, current: { ...attempt, delivery } }, "failed", error, now);
}
