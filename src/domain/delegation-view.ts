import { microsToTimestamp } from "./activity.ts";
import {
  type Attempt,
  DELEGATION_STATUSES,
  type Delegation,
  type DelegationStatus,
  isOpen,
  statusOf,
} from "./delegation.ts";
import type { Received } from "./delegation-received.ts";
import { shortened } from "./delegation-text.ts";
import { Refusal } from "./refusal.ts";

/** Most delegations that `GET /delegations` shows, each once. */
export const LIST_MAX = 50;
const LIST_SUMMARY_CODE_POINTS = 200;
const LIST_RESPONSE_CODE_POINTS = 300;

/** A delegation as the ledger mirrors it; absent values are null, times are milliseconds. */
export interface DelegationRow {
  readonly callerId: string;
  readonly delegationId: string;
  readonly calleeId: string;
  readonly taskPreview: string;
  readonly status: DelegationStatus;
  readonly lastHeartbeat: number | null;
  readonly deadline: number;
  readonly resultPreview: string | null;
  readonly errorDetail: string | null;
  readonly retryCount: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly endedAt: number | null;
  readonly idempotencyKey: string | null;
  /** False where nobody knows whether the task arrived; null where that is no question. */
  readonly deliveryConfirmed: false | null;
}

export function delegationRow(delegation: Delegation): DelegationRow {
  const { callerId, delegationId, calleeId, taskPreview, idempotencyKey, createdAt, updatedAt, past, current } =
    delegation;
  return {
    callerId,
    delegationId,
    calleeId,
    taskPreview,
    status: statusOf(delegation),
    lastHeartbeat: current.pulse?.at ?? null,
    deadline: current.deadline,
    resultPreview: resultPreviewOf(current),
    errorDetail: errorOf(current),
    retryCount: past.length,
    createdAt,
    updatedAt,
    endedAt: isOpen(current) ? null : current.endedAt,
    idempotencyKey,
    deliveryConfirmed: current.delivery === "unknown" ? false : null,
  };
}

/** One row of `GET /admin/delegations`; what is not known is absent. */
export function adminEntry(row: DelegationRow) {
  return {
    delegation_id: row.delegationId,
    caller_id: row.callerId,
    callee_id: row.calleeId,
    task_preview: row.taskPreview,
    status: row.status,
    last_heartbeat: timestamp(row.lastHeartbeat),
    deadline: timestamp(row.deadline),
    result_preview: row.resultPreview ?? undefined,
    error_detail: row.errorDetail ?? undefined,
    retry_count: row.retryCount,
    created_at: timestamp(row.createdAt),
    updated_at: timestamp(row.updatedAt),
    delivery_confirmed: row.deliveryConfirmed ?? undefined,
  };
}

/** One row of `GET /workspaces/:id/delegations` for the workspace that delegated. */
export function sentEntry(delegation: Delegation) {
  const { current } = delegation;
  const row = delegationRow(delegation);
  return {
    ...listEntry(row, "sent"),
    // Both keys: servers always said `error`, clients look for `error_detail` first.
    ...(row.errorDetail === null ? {} : errorKeys(row.status === "cancelled" ? "cancelled" : row.errorDetail)),
    response_preview: row.resultPreview === null ? undefined : shortened(row.resultPreview, LIST_RESPONSE_CODE_POINTS),
    late: !isOpen(current) && current.endedBy === "platform" && current.late !== null ? true : undefined,
    progress_seq: current.pulse?.progressSeq ?? undefined,
    last_progress: timestamp(current.pulse?.progressAt ?? null),
    delivery_confirmed: row.deliveryConfirmed ?? undefined,
    retry_count: row.retryCount,
  };
}

/** The same for the workspace that was delegated to. */
export function receivedEntry(received: Received, calleeId: string) {
  return {
    ...listEntry({ ...received, calleeId, delegationId: received.attemptId }, "received"),
    ...(received.error === null ? {} : errorKeys(received.error)),
    cancel_requested: received.cancelRequested ? true : undefined,
  };
}

/** Newest state first. Clients take the first row that names their delegation. */
export function newestStateFirst(
  a: Pick<Listed, "updatedAt" | "createdAt">,
  b: Pick<Listed, "updatedAt" | "createdAt">,
): number {
  return b.updatedAt - a.updatedAt || b.createdAt - a.createdAt;
}

/** The filters of `GET /admin/delegations`, in the order in which the refusal of any other lists them. */
export const DELEGATION_FILTERS = ["in_flight", "stuck", "failed", "completed", "cancelled"] as const;
export type DelegationFilter = (typeof DELEGATION_FILTERS)[number];

/** The statuses that a filter shows. */
export function statusesOf(filter: DelegationFilter): readonly DelegationStatus[] {
  return filter === "in_flight" ? ["queued", "dispatched", "in_progress"] : [filter];
}

/** Reads `status`; absent means in flight, but an empty one is refused like any unknown word. */
export function readFilter(status: string | null): DelegationFilter {
  const filter = DELEGATION_FILTERS.find((known) => known === (status ?? "in_flight"));
  if (filter !== undefined) return filter;
  throw new Refusal("delegation.unknown_filter", {
    details: { allowed: DELEGATION_FILTERS, requested_status: status },
  });
}

const ADMIN_LIMIT_DEFAULT = 100;
const ADMIN_LIMIT_MAX = 1000;

/** Reads `limit`; empty counts as absent. */
export function readLimit(limit: string | null): number {
  if (limit === null || limit === "") return ADMIN_LIMIT_DEFAULT;
  const number = /^[+-]?\d+$/.test(limit) ? Number(limit) : Number.NaN;
  if (number >= 1 && number <= ADMIN_LIMIT_MAX) return number;
  throw new Refusal("delegation.invalid_limit", { details: { requested: limit } });
}

/** How many delegations stand where: every status, also those that nothing has. */
export function statusCounts(counts: ReadonlyMap<string, number>): Record<DelegationStatus, number> {
  const entries = DELEGATION_STATUSES.map((status) => [status, counts.get(status) ?? 0] as const);
  return Object.fromEntries(entries) as Record<DelegationStatus, number>;
}

type Listed = Pick<
  DelegationRow,
  | "delegationId"
  | "callerId"
  | "calleeId"
  | "taskPreview"
  | "status"
  | "createdAt"
  | "updatedAt"
  | "deadline"
  | "lastHeartbeat"
>;

function listEntry(row: Listed, direction: "sent" | "received") {
  return {
    id: row.delegationId,
    type: "delegation",
    delegation_id: row.delegationId,
    source_id: row.callerId,
    target_id: row.calleeId,
    direction,
    summary: shortened(row.taskPreview, LIST_SUMMARY_CODE_POINTS),
    // Clients of today wait for completed and failed only.
    status: row.status === "cancelled" ? "failed" : row.status,
    created_at: timestamp(row.createdAt),
    updated_at: timestamp(row.updatedAt),
    last_heartbeat: timestamp(row.lastHeartbeat),
    deadline: timestamp(row.deadline),
    _ledger: true,
  };
}

function errorKeys(error: string) {
  return { error, error_detail: error };
}

function resultPreviewOf(attempt: Attempt): string | null {
  if (isOpen(attempt)) return null;
  const kept = attempt.endedBy === "platform" ? attempt.late : attempt.text;
  return kept?.preview ?? null;
}

function errorOf(attempt: Attempt): string | null {
  if (isOpen(attempt)) return attempt.stuck?.error ?? null;
  return attempt.state === "completed" ? null : attempt.error;
}

function timestamp(millis: number): string;
function timestamp(millis: number | null): string | undefined;
function timestamp(millis: number | null): string | undefined {
  return millis === null ? undefined : microsToTimestamp(millis * 1000);
}
