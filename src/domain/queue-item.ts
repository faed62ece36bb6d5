import type { PushOutcome } from "./a2a-outcome.ts";
import { microsToTimestamp } from "./activity.ts";

export const QUEUE_STATUSES = ["queued", "dispatched", "completed", "failed", "dropped"] as const;
export type QueueStatus = (typeof QUEUE_STATUSES)[number];

export const DEFAULT_PRIORITY = 50;
/** Dispatches of one item, the first included, before it fails. */
export const MAX_QUEUE_ATTEMPTS = 5;

const MICROS_PER_SECOND = 1_000_000;

/** One request to a push agent that waits for it, or for its answer. Times in µs since 1970. */
export interface QueueItem {
  readonly seq: number;
  readonly status: QueueStatus;
  /** Null for the canvas user. */
  readonly callerId: string | null;
  /** Higher goes first. */
  readonly priority: number;
  readonly method: string;
  readonly messageId: string | null;
  readonly attempts: number;
  readonly lastError: string | null;
  /** JSON text of the agent's answer. */
  readonly responseBody: string | null;
  readonly enqueuedAt: number;
  readonly dispatchedAt: number | null;
  /** When it reached a final status, whichever. */
  readonly completedAt: number | null;
  /** After this it is no longer worth sending; null means always. */
  readonly expiresAt: number | null;
}

export type NewQueueItem = Pick<QueueItem, "seq" | "callerId" | "method" | "messageId"> & {
  readonly expiresInSeconds: number | null;
};

/** A request that found its agent busy. */
export function enqueue({ expiresInSeconds, ...request }: NewQueueItem, now: number): QueueItem {
  return {
    ...request,
    status: "queued",
    priority: DEFAULT_PRIORITY,
    attempts: 0,
    lastError: null,
    responseBody: null,
    enqueuedAt: now,
    dispatchedAt: null,
    completedAt: null,
    expiresAt: expiresInSeconds === null ? null : now + Math.ceil(expiresInSeconds * MICROS_PER_SECOND),
  };
}

/** Whether an item is still to be decided; everything else is final. */
export function isOpen(item: QueueItem): boolean {
  return item.status === "queued" || item.status === "dispatched";
}

/** The open item that a request repeats: same caller, same messageId. It gets that item's queue id, not a second one. */
export function findRepeat(
  items: readonly QueueItem[],
  request: Pick<NewQueueItem, "callerId" | "messageId">,
): QueueItem | null {
  if (request.messageId === null) return null;
  const repeats = (item: QueueItem) => item.messageId === request.messageId && item.callerId === request.callerId;
  return items.find((item) => isOpen(item) && repeats(item)) ?? null;
}

/** Which of two queued items goes first: higher priority, then the older. */
export function drainOrder(a: QueueItem, b: QueueItem): number {
  return b.priority - a.priority || a.enqueuedAt - b.enqueuedAt || a.seq - b.seq;
}

/** The item to send next to an agent that has a hand free, or null. */
export function nextToDrain(items: readonly QueueItem[], now: number): QueueItem | null {
  return items.filter((item) => item.status === "queued" && !isExpired(item, now)).toSorted(drainOrder)[0] ?? null;
}

/** Hands an item to an outgoing call; one that is not queued stays as it is. */
export function dispatch(item: QueueItem, now: number): QueueItem {
  if (item.status !== "queued") return item;
  return { ...item, status: "dispatched", attempts: item.attempts + 1, dispatchedAt: now };
}

/**
 * What a call's outcome makes of the item that it carried. Surely undelivered goes back to its old place in the same
 * row until the attempts are used up; unknown is final, because repeating it might do the work twice.
 */
export function settle(item: QueueItem, outcome: PushOutcome, now: number): QueueItem {
  if (item.status !== "dispatched") return item;
  const { delivered, reason, row } = outcome;
  if (delivered === "no" && item.attempts < MAX_QUEUE_ATTEMPTS) return { ...item, status: "queued", lastError: reason };
  if (delivered === "unknown") return ended(item, "failed", `delivery unknown, not repeated: ${reason}`, now);
  const answered = { ...item, responseBody: row.responseBody };
  return row.status === "ok"
    ? ended(answered, "completed", null, now)
    : ended(answered, "failed", row.errorDetail, now);
}

/** Drops an item whose time ran out before it was sent; one in flight keeps its chance. */
export function expire(item: QueueItem, now: number): QueueItem {
  if (item.status !== "queued" || !isExpired(item, now)) return item;
  return ended(item, "dropped", "expired before the agent was free", now);
}

/** Drops an item that has been queued for longer than an operator wants. */
export function dropStale(item: QueueItem, maxAgeMinutes: number, now: number): QueueItem {
  const tooOld = now - item.enqueuedAt > maxAgeMinutes * 60 * MICROS_PER_SECOND;
  return item.status === "queued" && tooOld ? ended(item, "dropped", "dropped as stale by an operator", now) : item;
}

/** Drops an item whose sender wants it back; one in flight can no longer be had. */
export function withdraw(item: QueueItem, now: number): QueueItem {
  return item.status === "queued" ? ended(item, "dropped", "withdrawn by its sender", now) : item;
}

/**
 * An item as `GET …/a2a/queue/:queue_id` shows it. Its times are written as the original's database wrote them; what
 * is not known yet is absent.
 */
export function queueItemJson(item: QueueItem, queueId: string, workspaceId: string): string {
  const fields = {
    queue_id: queueId,
    workspace_id: workspaceId,
    status: item.status,
    priority: item.priority,
    attempts: item.attempts,
    last_error: item.lastError ?? undefined,
    enqueued_at: databaseTime(item.enqueuedAt),
    dispatched_at: databaseTime(item.dispatchedAt),
    completed_at: databaseTime(item.completedAt),
    expires_at: databaseTime(item.expiresAt),
  };
  const response = item.responseBody === null ? "" : `,"response_body":${item.responseBody}`;
  return `${JSON.stringify(fields).slice(0, -1)}${response}}`;
}

function isExpired(item: QueueItem, now: number): boolean {
  return item.expiresAt !== null && item.expiresAt <= now;
}

function ended(
  item: QueueItem,
  status: "completed" | "failed" | "dropped",
  lastError: string | null,
  now: number,
): QueueItem {
  return { ...item, status, lastError, completedAt: now };
}

function databaseTime(micros: number | null): string | undefined {
  return micros === null ? undefined : microsToTimestamp(micros).replace("T", " ").replace("Z", "+00");
}
