import { type KeptText, previewOf } from "./delegation-text.ts";

/** Every word that tells where a delegation stands, in the order in which operators' counts list them. */
export const DELEGATION_STATUSES = [
  "queued",
  "dispatched",
  "in_progress",
  "completed",
  "failed",
  "stuck",
  "cancelled",
] as const;
export type DelegationStatus = (typeof DELEGATION_STATUSES)[number];

/**
 * What is known of the task's way to the callee. `none`: surely not there yet; `pending`: a call is under way;
 * `unknown`: a call ended without telling, and is never repeated.
 */
export type Delivery = "none" | "pending" | "confirmed" | "unknown";

/** The last sign of work. Being alive is not progress: `progressAt` moves only when `progressSeq` rises. */
export interface Pulse {
  readonly at: number;
  readonly progressSeq: number | null;
  readonly progressAt: number | null;
  readonly details: string | null;
}

interface AttemptFacts {
  /** What the callee sees as messageId and delegation_id: the delegation's own id first, a fresh one for each retry. */
  readonly attemptId: string;
  readonly startedAt: number;
  readonly deadline: number;
  /** Number of the dispatch that counts; 0 when the caller sends the task itself. */
  readonly dispatch: number;
  readonly delivery: Delivery;
  readonly pulse: Pulse | null;
  /** Whether the caller has had its one notice that this attempt is stuck. */
  readonly stuckTold: boolean;
  /** Reports that differed from the result that stands. */
  readonly contradictions: number;
}

/** What stands while nobody hears from whoever works; the next heartbeat lifts it. */
export interface StuckNotice {
  readonly since: number;
  readonly error: string;
}

interface OpenFacts extends AttemptFacts {
  readonly stuck: StuckNotice | null;
}

/** `dispatchAt` is when to send it, or null while it waits in the queue of a busy callee. */
export type Queued = OpenFacts & { readonly state: "queued"; readonly dispatchAt: number | null };
export type Dispatched = OpenFacts & { readonly state: "dispatched"; readonly dispatchedAt: number };
export type InProgress = OpenFacts & { readonly state: "in_progress"; readonly workedOnSince: number };
export type OpenAttempt = Queued | Dispatched | InProgress;

interface EndedFacts extends AttemptFacts {
  readonly endedAt: number;
  /** The first result that contradicts a failure or a cancellation; absent where none does. */
  readonly contradiction?: KeptText;
}

/** Who may report the end of an attempt. */
export type Reporter = "callee" | "caller";

export type Completed = EndedFacts & {
  readonly state: "completed";
  readonly endedBy: Reporter;
  readonly text: KeptText | null;
};
export type ReportedFailure = EndedFacts & {
  readonly state: "failed";
  readonly endedBy: Reporter;
  readonly error: string | null;
  readonly text: KeptText | null;
};
/** Ended by the platform without a word of the callee: what it says afterwards is kept as `late`. */
export type GivenUp = EndedFacts & {
  readonly state: "failed" | "cancelled";
  readonly endedBy: "platform";
  readonly error: string;
  readonly late: KeptText | null;
  /** Its task was taken back before the callee saw it; absent where nobody knows. */
  readonly withdrawn?: true;
};
export type EndedAttempt = Completed | ReportedFailure | GivenUp;

export type Attempt = OpenAttempt | EndedAttempt;

/**
 * A task that one workspace gave another. It belongs to the caller's object; its key is the caller together with
 * `delegationId`. All times are milliseconds since 1970.
 */
export type Delegation = OpenDelegation | EndedDelegation;

interface DelegationFacts {
  readonly callerId: string;
  readonly delegationId: string;
  readonly calleeId: string;
  readonly taskPreview: string;
  readonly idempotencyKey: string | null;
  /** What each attempt gets from its start to its deadline. */
  readonly deadlineMs: number;
  readonly createdAt: number;
  /** When the state last changed; heartbeats leave it alone. */
  readonly updatedAt: number;
  /** Attempts that a retry has replaced, oldest first. */
  readonly past: readonly EndedAttempt[];
}

export interface NewDelegation {
  readonly callerId: string;
  readonly delegationId: string;
  readonly calleeId: string;
  readonly task: string;
  readonly idempotencyKey: string | null;
  readonly deadlineMs: number;
}

/** A delegation that the platform dispatches at once. */
export function newDelegation(request: NewDelegation, now: number): OpenDelegation {
  return begun(request, newAttempt(request.delegationId, request.deadlineMs, now), now);
}

/** A delegation whose task the caller takes to the callee by itself; the platform only keeps watch. */
export function recordedDelegation(request: NewDelegation, now: number): OpenDelegation {
  const facts = openFacts(newAttempt(request.delegationId, request.deadlineMs, now));
  return begun(request, { ...facts, state: "dispatched", dispatch: 0, delivery: "confirmed", dispatchedAt: now }, now);
}

export function newAttempt(attemptId: string, deadlineMs: number, now: number): Queued {
  return {
    attemptId,
    startedAt: now,
    deadline: now + deadlineMs,
    dispatch: 1,
    delivery: "none",
    pulse: null,
    stuckTold: false,
    contradictions: 0,
    stuck: null,
    state: "queued",
    dispatchAt: now,
  };
}

export function isOpen(attempt: Attempt): attempt is OpenAttempt {
  return attempt.state === "queued" || attempt.state === "dispatched" || attempt.state === "in_progress";
}

/** A delegation whose current attempt is open. */
export type OpenDelegation = DelegationFacts & { readonly current: OpenAttempt };
/** A delegation whose current attempt has ended. */
export type EndedDelegation = DelegationFacts & { readonly current: EndedAttempt };

export function isUnderWay(delegation: Delegation): delegation is OpenDelegation {
  return isOpen(delegation.current);
}

/** The attempt once somebody says that work on it has begun; only the callee's word proves that the task arrived. */
export function takenUp(attempt: OpenAttempt, role: Reporter, now: number): InProgress {
  const facts = openFacts(attempt);
  const delivery = role === "callee" ? "confirmed" : facts.delivery;
  return { ...facts, delivery, state: "in_progress", workedOnSince: now };
}

/** The word for where a delegation stands: that of its current attempt, or `stuck` while that notice stands. */
export function statusOf({ current }: Delegation): DelegationStatus {
  return isOpen(current) && current.stuck !== null ? "stuck" : current.state;
}

/** Only what open attempts share: a transition must not carry the old state's fields along. */
export function openFacts(attempt: OpenAttempt): OpenFacts {
  const { stuck } = attempt;
  return { ...attemptFacts(attempt), stuck };
}

/** Only what all attempts share. */
export function attemptFacts(attempt: Attempt): AttemptFacts {
  const { attemptId, startedAt, deadline, dispatch, delivery, pulse, stuckTold, contradictions } = attempt;
  return { attemptId, startedAt, deadline, dispatch, delivery, pulse, stuckTold, contradictions };
}

/** The delegation with its current attempt in a new state. */
export function moved<Moved extends Attempt>(
  delegation: Delegation,
  current: Moved,
  now: number,
): DelegationFacts & { readonly current: Moved } {
  return { ...delegation, current, updatedAt: now };
}

/** What the workspace that calls has to do with a delegation; null when nothing. */
export function roleOf(delegation: Delegation, workspaceId: string): Reporter | null {
  if (workspaceId === delegation.calleeId) return "callee";
  return workspaceId === delegation.callerId ? "caller" : null;
}

/**
 * The attempt that a workspace means by an id. The caller knows the delegation by its own id, which means whatever
 * attempt is current; the callee knows attempts only.
 */
export function meantAttempt(delegation: Delegation, workspaceId: string, id: string): Attempt | null {
  const { current, past } = delegation;
  if (current.attemptId === id) return current;
  if (workspaceId === delegation.callerId && id === delegation.delegationId) return current;
  return past.find(({ attemptId }) => attemptId === id) ?? null;
}

function begun(request: NewDelegation, current: OpenAttempt, now: number): OpenDelegation {
  const { callerId, delegationId, calleeId, task, idempotencyKey, deadlineMs } = request;
  if (callerId === "" || delegationId === "" || calleeId === "") throw new RangeError("a delegation needs its ids");
  return {
    callerId,
    delegationId,
    calleeId,
    taskPreview: previewOf(task),
    idempotencyKey: idempotencyKey || null,
    deadlineMs,
    createdAt: now,
    updatedAt: now,
    past: [],
    current,
  };
}
