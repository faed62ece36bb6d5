import { type Delegation, type EndedAttempt, type OpenDelegation, statusOf } from "./delegation.ts";
import { type InboxNews, type InboxRow, inboxRow } from "./delegation-inbox-row.ts";
import { shortened } from "./delegation-text.ts";

const EVENT_TASK_CODE_POINTS = 100;
const EVENT_RESPONSE_CODE_POINTS = 200;
const SUMMARY_CODE_POINTS = 80;

/** A row of the caller's feed that tells the history; the bodies are JSON texts. */
export interface HistoryRow {
  readonly activityType: "delegation";
  /** What contradicts a result is none: whoever counts results finds one. */
  readonly method: "delegate" | "delegate_result" | "delegate_contradiction";
  readonly sourceId: string;
  readonly targetId: string;
  readonly status: string;
  readonly summary: string;
  readonly requestBody: string | null;
  readonly responseBody: string | null;
  readonly errorDetail: string | null;
}

/** What the callee's object keeps of an attempt, as the caller's object tells it. */
export interface ReceivedMessage {
  readonly kind: "received";
  readonly attemptId: string;
  readonly callerId: string;
  readonly delegationId: string;
  readonly taskPreview: string;
  readonly createdAt: number;
  readonly deadline: number;
  /** 0 when the caller brings the task itself: no inbox row, no call. */
  readonly dispatch: number;
}

/** `closed` confirms the callee's own end; any other end is a `cancel`: withdraw what was not read, stop what was. */
export interface EndMessage {
  readonly kind: "cancel" | "closed";
  readonly attemptId: string;
  readonly callerId: string;
  readonly status: EndedAttempt["state"];
  readonly error: string | null;
}

export type CalleeMessage = ReceivedMessage | EndMessage;

export type DelegationEvent = "DELEGATION_SENT" | "DELEGATION_STATUS" | "DELEGATION_COMPLETE" | "DELEGATION_FAILED";

/**
 * What a transition wants written or told, in this order, committed with the new state. An attempt has one row for
 * each slot: a second write to it changes the row and keeps its place.
 */
export type DelegationEffect =
  | {
      readonly kind: "history";
      readonly attemptId: string;
      readonly slot: "sent" | "result" | "late" | "contradicted";
      readonly row: HistoryRow;
    }
  /** Changes the row in the slot `sent`. */
  | {
      readonly kind: "history_status";
      readonly attemptId: string;
      readonly status: string;
      readonly errorDetail: string | null;
    }
  | {
      readonly kind: "inbox";
      readonly attemptId: string;
      readonly slot: "result" | "late" | "stuck";
      readonly row: InboxRow;
      /** Whether a caller that is pushed to is called with it: a notice ends nothing, and its own words are no news. */
      readonly push: boolean;
    }
  /**
   * The result row, told without its text before, now has it. It is changed in place while nobody has read it, and
   * else written anew, because no poller reads a row twice.
   */
  | { readonly kind: "inbox_fill"; readonly attemptId: string; readonly row: InboxRow }
  | { readonly kind: "event"; readonly event: DelegationEvent; readonly payload: Readonly<Record<string, string>> }
  /** Take the task to the callee at `at`, unless `isDispatchDue` says by then that it is no longer wanted. */
  | { readonly kind: "dispatch"; readonly at: number; readonly message: ReceivedMessage }
  | { readonly kind: "callee"; readonly calleeId: string; readonly message: CalleeMessage }
  | {
      readonly kind: "audit";
      readonly action: "delegation.cancel" | "delegation.retry" | "delegation.old_answer";
      /** A workspace id, or the name of an operator's credential. */
      readonly actor: string;
      readonly reason: string | null;
      readonly attemptId: string;
    };

/** What one input makes of a delegation. The same object comes back when it changes nothing. */
export interface Transition {
  readonly delegation: Delegation;
  readonly effects: readonly DelegationEffect[];
}

export function unchanged(delegation: Delegation): Transition {
  return { delegation, effects: [] };
}

/** The row that stands for an attempt from its start on. */
export function sentRow(delegation: Delegation, task: string, status: string): DelegationEffect {
  const { callerId, calleeId, delegationId, current } = delegation;
  return {
    kind: "history",
    attemptId: current.attemptId,
    slot: "sent",
    row: {
      activityType: "delegation",
      method: "delegate",
      sourceId: callerId,
      targetId: calleeId,
      status,
      summary: `Delegating to ${calleeId}`,
      requestBody: JSON.stringify({ task, delegation_id: delegationId }),
      responseBody: null,
      errorDetail: null,
    },
  };
}

/** The row with an attempt's end, and while it waits in the queue of a busy callee that it does. */
export function resultRow(
  delegation: Delegation,
  attemptId: string,
  result: {
    readonly status: "queued" | "completed" | "failed";
    readonly text: string | null;
    readonly error: string | null;
  },
): DelegationEffect {
  const { delegationId } = delegation;
  const { status, text, error } = result;
  const body =
    status === "queued"
      ? { delegation_id: delegationId, queued: true }
      : { text: text ?? "", delegation_id: delegationId };
  return {
    kind: "history",
    attemptId,
    slot: "result",
    row: {
      ...historyRow(delegation),
      status,
      summary: resultSummary(status, text),
      responseBody: JSON.stringify(body),
      errorDetail: error,
    },
  };
}

/** The row with a text that came after its attempt's end: told as late, or kept beside an end that it contradicts. */
export function afterEndRow(
  delegation: Delegation,
  attemptId: string,
  slot: "late" | "contradicted",
  text: string,
): DelegationEffect {
  const isLate = slot === "late";
  const { delegationId: delegation_id } = delegation;
  return {
    kind: "history",
    attemptId,
    slot,
    row: {
      ...historyRow(delegation),
      method: isLate ? "delegate_result" : "delegate_contradiction",
      status: slot,
      summary: `Delegation answered ${isLate ? "late" : "differently"} (${shortened(text, SUMMARY_CODE_POINTS)})`,
      responseBody: JSON.stringify({ text, delegation_id, ...(isLate ? { late: true } : {}) }),
      errorDetail: null,
    },
  };
}

/** The new status in the row that stands for the current attempt. */
export function sentRowStatus({ current }: Delegation, status: string, errorDetail: string | null): DelegationEffect {
  return { kind: "history_status", attemptId: current.attemptId, status, errorDetail };
}

export function sentEvent(delegation: Delegation, task: string): DelegationEffect {
  return event(delegation, "DELEGATION_SENT", { task_preview: shortened(task, EVENT_TASK_CODE_POINTS) });
}

/** What is told when the word for where a delegation stands has changed, short of its end. */
export function statusEffects(before: Delegation, after: OpenDelegation): DelegationEffect[] {
  return statusOf(after) === statusOf(before) ? [] : tellStatus(after);
}

/** Where an open delegation stands now, in the row that stands for its attempt and as an event. */
export function tellStatus(delegation: OpenDelegation): DelegationEffect[] {
  const status = statusOf(delegation);
  const error = delegation.current.stuck?.error ?? null;
  return [sentRowStatus(delegation, status, error), event(delegation, "DELEGATION_STATUS", { status })];
}

export function completeEvent(delegation: Delegation, text: string | null, drained: boolean): DelegationEffect {
  const preview = shortened(text ?? "", EVENT_RESPONSE_CODE_POINTS);
  return event(delegation, "DELEGATION_COMPLETE", {
    response_preview: preview,
    ...(drained ? { via: "queue_drain" } : {}),
  });
}

export function failedEvent(delegation: Delegation, error: string | null): DelegationEffect {
  return event(delegation, "DELEGATION_FAILED", { error: error ?? "" });
}

/** The row of the caller's inbox that tells news of an attempt. */
export function newsRow(
  { delegationId, callerId, calleeId }: Delegation,
  attemptId: string,
  news: Pick<InboxNews, "status"> & Partial<InboxNews>,
): InboxRow {
  const nothing = { text: null, error: null, late: false, envelope: null };
  return inboxRow({ ...nothing, ...news, delegationId, attemptId, callerId, calleeId });
}

/** What the callee's object learns of the current attempt. */
export function receivedMessage({ current, ...delegation }: Delegation): ReceivedMessage {
  const { callerId, delegationId, taskPreview, createdAt } = delegation;
  const { attemptId, deadline, dispatch } = current;
  return { kind: "received", attemptId, callerId, delegationId, taskPreview, createdAt, deadline, dispatch };
}

export function toCallee({ calleeId }: Delegation, message: CalleeMessage): DelegationEffect {
  return { kind: "callee", calleeId, message };
}

function historyRow({ callerId, calleeId }: Delegation) {
  return {
    activityType: "delegation",
    method: "delegate_result",
    sourceId: callerId,
    targetId: calleeId,
    requestBody: null,
  } as const;
}

function resultSummary(status: "queued" | "completed" | "failed", text: string | null): string {
  switch (status) {
    case "queued":
      return "Delegation queued — target at capacity";
    case "completed":
      return `Delegation completed (${shortened(text ?? "", SUMMARY_CODE_POINTS)})`;
    case "failed":
      return "Delegation failed";
  }
}

function event(delegation: Delegation, name: DelegationEvent, facts: Record<string, string>): DelegationEffect {
  const { delegationId, calleeId } = delegation;
  return { kind: "event", event: name, payload: { delegation_id: delegationId, target_id: calleeId, ...facts } };
}
