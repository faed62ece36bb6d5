import { and, asc, count, eq, inArray, lt, min, type SQL, sql } from "drizzle-orm";
import { type QueueStatus, queueItemJson } from "../domain/queue-item.ts";
import type { Database } from "./database.ts";
import { a2aQueue } from "./schema.ts";

const OPEN_STATUSES = ["queued", "dispatched"] as const satisfies readonly QueueStatus[];

/** How much waits for one target, and since when (µs since 1970). */
export interface TargetDepth {
  readonly workspaceId: string;
  readonly queued: number;
  readonly dispatched: number;
  readonly oldestEnqueuedAt: number | null;
}

export interface QueueFilter {
  /** Null for all that is still open. */
  readonly status: QueueStatus | null;
  readonly workspaceId: string | null;
  readonly limit: number;
}

/** Items as JSON texts, the oldest first, without their answers. Throws a LedgerFailure. */
export async function listQueue(database: Database, { status, workspaceId, limit }: QueueFilter): Promise<string[]> {
  const rows = await database.read((tables) =>
    tables
      .select()
      .from(a2aQueue)
      .where(
        and(
          status === null ? inArray(a2aQueue.status, OPEN_STATUSES) : eq(a2aQueue.status, status),
          ofTarget(workspaceId),
        ),
      )
      .orderBy(asc(a2aQueue.enqueued_at))
      .limit(limit),
  );
  return rows.map((row) =>
    queueItemJson(
      {
        seq: 0,
        status: row.status as QueueStatus,
        callerId: row.caller_id,
        priority: row.priority ?? 0,
        method: row.method ?? "",
        messageId: row.idempotency_key,
        attempts: row.attempts ?? 0,
        lastError: row.last_error,
        responseBody: null,
        enqueuedAt: row.enqueued_at,
        dispatchedAt: row.dispatched_at,
        completedAt: row.completed_at,
        expiresAt: row.expires_at,
      },
      row.id,
      row.workspace_id,
    ),
  );
}

/** Targets for which something waits, the one that waits longest first. Throws a LedgerFailure. */
export async function queueDepths(database: Database, workspaceId: string | null): Promise<TargetDepth[]> {
  const queued = sql<number>`count(*) FILTER (WHERE ${a2aQueue.status} = 'queued')`.mapWith(Number);
  const oldest = min(a2aQueue.enqueued_at);
  const rows = await database.read((tables) =>
    tables
      .select({ workspaceId: a2aQueue.workspace_id, open: count(), queued, oldestEnqueuedAt: oldest })
      .from(a2aQueue)
      .where(and(inArray(a2aQueue.status, OPEN_STATUSES), ofTarget(workspaceId)))
      .groupBy(a2aQueue.workspace_id)
      .orderBy(asc(oldest)),
  );
  return rows.map(({ open, ...row }) => ({ ...row, dispatched: open - row.queued }));
}

/** Up to `limit` targets with something queued since before `beforeUs`. Throws a LedgerFailure. */
export async function staleTargets(database: Database, beforeUs: number, limit: number): Promise<string[]> {
  const rows = await database.read((tables) =>
    tables
      .selectDistinct({ id: a2aQueue.workspace_id })
      .from(a2aQueue)
      .where(and(eq(a2aQueue.status, "queued"), lt(a2aQueue.enqueued_at, beforeUs)))
      .limit(limit),
  );
  return rows.map(({ id }) => id);
}

function ofTarget(workspaceId: string | null): SQL | undefined {
  return workspaceId === null ? undefined : eq(a2aQueue.workspace_id, workspaceId);
}
