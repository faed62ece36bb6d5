import { type Envelope, textOf } from "./a2a-envelope.ts";
import {
  type Delegation,
  type EndedDelegation,
  isOpen,
  meantAttempt,
  moved,
  type OpenAttempt,
  type Reporter,
  roleOf,
  takenUp,
} from "./delegation.ts";
import { afterEnd, type NewsAfterEnd } from "./delegation-after-end.ts";
import {
  afterEndRow,
  type DelegationEffect,
  newsRow,
  resultRow,
  sentRowStatus,
  statusEffects,
  type Transition,
  unchanged,
} from "./delegation-effect.ts";
import { end } from "./delegation-ending.ts";
import { previewOf } from "./delegation-text.ts";
import { isJsonObject, memberText } from "./json-text.ts";

/** What a workspace says of a delegation: by an update, by a message that names it, or by its answer to a push call. */
export interface Report {
  /** The verified workspace that says so. */
  readonly by: string;
  /** The id that it says it under. */
  readonly id: string;
  readonly status: "in_progress" | "completed" | "failed";
  /** The result in full; null when it brings none. */
  readonly text: string | null;
  readonly error: string | null;
  /** The message itself, when it is one. */
  readonly envelope: string | null;
  readonly drained: boolean;
}

/**
 * What a report was good for. A message that is `closed`, `filled` or `late` has become a row of the caller's inbox by
 * the effects; of one that is `progressed` or from a `stranger` the inbox gets an ordinary row; the others leave none.
 */
export type Disposition =
  | "progressed"
  | "closed"
  /** Brought the text or the error that the end was told without. */
  | "filled"
  /** Came after the platform had ended the attempt; its text has been told, marked so. */
  | "late"
  /** Answered an attempt that a retry has replaced: kept there and audited. */
  | "kept"
  /** Said nothing new. */
  | "replayed"
  /** Differed from the result that stands: counted. */
  | "contradicted"
  /** Not the callee of that attempt, nor the caller. */
  | "stranger";

export type Reported = Transition & { readonly disposition: Disposition };

/** A message's report under `metadata.delegation_id`; null when it is an ordinary message. */
export function reportOfMessage(
  by: string,
  envelope: Pick<Envelope, "text" | "delegationId" | "delegationStatus">,
): Report | null {
  const { delegationId, delegationStatus, text: message } = envelope;
  const status = delegationStatus ?? "completed";
  if (delegationId === null || (status !== "in_progress" && status !== "completed" && status !== "failed")) return null;
  const text = textOf(message) || partsBesideText(message);
  return {
    by,
    id: delegationId,
    status,
    text,
    error: status === "failed" ? text : null,
    envelope: message,
    drained: false,
  };
}

/** A message without words may still be a result, of files or data: then its parts are the text. */
function partsBesideText(message: string): string | null {
  const text = memberText(message, "params", "message", "parts") ?? "null";
  const parts: unknown = JSON.parse(text);
  return Array.isArray(parts) && parts.some((part) => isJsonObject(part) && part.text === undefined) ? text : null;
}

/** The row that a message leaves in the inbox of whom it was sent to, besides the effects of its report. */
export function leavesOrdinaryRow(disposition: Disposition): boolean {
  return disposition === "progressed" || disposition === "stranger";
}

/** Takes a report in: the first that ends an open attempt wins, and the text of a later one is kept where it is new. */
export function report(delegation: Delegation, given: Report, now: number): Reported {
  const said = given.error === null ? given : { ...given, error: previewOf(given.error) };
  const role = roleOf(delegation, said.by);
  const attempt = role === null ? null : meantAttempt(delegation, said.by, said.id);
  if (role === null || attempt === null) return { ...unchanged(delegation), disposition: "stranger" };
  if (isOpen(attempt)) return reportOnOpen(delegation, attempt, role, said, now);
  const { status } = said;
  if (status === "in_progress") return { ...unchanged(delegation), disposition: "progressed" };
  const after = afterEnd(attempt, { ...said, status, role });
  if (after.disposition === "replayed") return { ...unchanged(delegation), disposition: after.disposition };
  return attempt === delegation.current
    ? reportOnEnded(delegation, after, said)
    : reportOnReplaced(delegation, after, said);
}

function reportOnOpen(
  delegation: Delegation,
  attempt: OpenAttempt,
  role: Reporter,
  { status, text, error, envelope, drained }: Report,
  now: number,
): Reported {
  if (status !== "in_progress") {
    const ending = { state: status, endedBy: role, text, error, envelope, drained };
    return { ...end(delegation, attempt, ending, now), disposition: "closed" };
  }
  if (attempt.state === "in_progress") return { ...unchanged(delegation), disposition: "progressed" };
  const working = moved(delegation, takenUp(attempt, role, now), now);
  return { delegation: working, effects: statusEffects(delegation, working), disposition: "progressed" };
}

function reportOnEnded(delegation: Delegation, after: NewsAfterEnd, said: Report): Reported {
  const noted: EndedDelegation = { ...delegation, current: after.attempt };
  return { delegation: noted, effects: effectsAfterEnd(noted, after, said), disposition: after.disposition };
}

function effectsAfterEnd(delegation: Delegation, after: NewsAfterEnd, said: Report): DelegationEffect[] {
  const { attemptId } = after.attempt;
  const { envelope } = said;
  if (after.disposition === "late") {
    const { error, by } = said;
    const push = by === delegation.calleeId;
    const status = said.status === "failed" ? "failed" : "completed";
    const row = newsRow(delegation, attemptId, { status, text: after.text, error, envelope, late: true });
    return [
      afterEndRow(delegation, attemptId, "late", after.text),
      { kind: "inbox", attemptId, slot: "late", row, push },
    ];
  }
  if (after.disposition === "contradicted") return keptRow(delegation, after);
  const { text, attempt, textWasTold } = after;
  const { state: status } = attempt;
  const error = attempt.state === "failed" ? attempt.error : null;
  const onSentRow = sentRowStatus(delegation, status, error);
  if (textWasTold) return [onSentRow];
  const row = newsRow(delegation, attemptId, { status, text, error, envelope });
  return [resultRow(delegation, attemptId, { status, text, error }), onSentRow, { kind: "inbox_fill", attemptId, row }];
}

function reportOnReplaced(delegation: Delegation, after: NewsAfterEnd, { by }: Report): Reported {
  const { attemptId } = after.attempt;
  const past = delegation.past.map((attempt) => (attempt.attemptId === attemptId ? after.attempt : attempt));
  return {
    delegation: { ...delegation, past },
    effects: [
      ...keptRow(delegation, after),
      { kind: "audit", action: "delegation.old_answer", actor: by, reason: after.disposition, attemptId },
    ],
    disposition: after.disposition === "contradicted" ? "contradicted" : "kept",
  };
}

/** The row of the history that keeps what the caller is not told. */
function keptRow(delegation: Delegation, after: NewsAfterEnd): DelegationEffect[] {
  const { disposition, attempt, text } = after;
  if (text === null) return [];
  return [afterEndRow(delegation, attempt.attemptId, disposition === "contradicted" ? disposition : "late", text)];
}
