import { and, asc, between, desc, eq, gt, gte, inArray, isNotNull, isNull, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { type DelegationKey, type FoundDelegation, listDelegations } from "./delegation-ledger.ts";
import { a2aQueue, activityLogs, auditLog, pendingUploads, workspaceTokens } from "./schema.ts";

/** No more of a feed than this comes back; the newest rows of it. */
export const REBUILD_ROWS_MAX = 5_000;
export const REBUILD_BYTES_MAX = 64 * 1024 * 1024;
/** What is read and handed over at once. */
const SLICE_ROWS_MAX = 500;
const SLICE_BYTES_MAX = 4 * 1024 * 1024;
/** Open delegations, and files, that come back at most. */
const OPEN_MAX = 1_000;
const FILES_MAX = 5_000;

/** Rows of a feed from one seq to another, both included. */
export interface ActivitySlice {
  readonly from: number;
  readonly through: number;
  readonly rows: number;
}

export type ActivityEntry = typeof activityLogs.$inferSelect;
export type FileEntry = typeof pendingUploads.$inferSelect & { readonly body_offset: number };
export type QueueEntry = typeof a2aQueue.$inferSelect;
export type TokenEntry = Pick<typeof workspaceTokens.$inferSelect, "id" | "prefix" | "created_at">;

/**
 * The newest rows of a workspace's feed since `since` (µs), in slices that are good to hold, oldest first. A row that
 * stands for one that Postgres refused has no words and is left out. Throws a LedgerFailure.
 */
export async function recentActivity(
  database: Database,
  workspaceId: string,
  since: number,
  rowsMax = REBUILD_ROWS_MAX,
  bytesMax = REBUILD_BYTES_MAX,
): Promise<ActivitySlice[]> {
  const { seq, request_body, response_body, tool_trace } = activityLogs;
  const found = await database.read((tables) =>
    tables
      .select({
        seq,
        bytes: sql<number>`200 + coalesce(octet_length(${request_body}), 0)
          + coalesce(octet_length(${response_body}), 0) + coalesce(octet_length(${tool_trace}), 0)`.mapWith(Number),
      })
      .from(activityLogs)
      .where(
        and(
          eq(activityLogs.workspace_id, workspaceId),
          gt(activityLogs.version, 0),
          gte(activityLogs.created_at, since),
        ),
      )
      .orderBy(desc(seq))
      .limit(rowsMax),
  );
  let total = 0;
  const kept = found.filter(({ bytes }) => {
    total += bytes;
    return total <= bytesMax;
  });
  return slicesOf(kept.reverse());
}

/** The rows of a slice, oldest first. Throws a LedgerFailure. */
export function activityOf(database: Database, workspaceId: string, slice: ActivitySlice): Promise<ActivityEntry[]> {
  const { workspace_id, seq, version } = activityLogs;
  return database.read((tables) =>
    tables
      .select()
      .from(activityLogs)
      .where(and(eq(workspace_id, workspaceId), between(seq, slice.from, slice.through), gt(version, 0)))
      .orderBy(asc(seq)),
  );
}

/** What a workspace has open: the delegations that it sent, or that others sent it. Throws a LedgerFailure. */
export async function openDelegations(
  database: Database,
  parties: { readonly callerId: string | null; readonly calleeId: string | null },
): Promise<FoundDelegation["row"][]> {
  const statuses = ["queued", "dispatched", "in_progress", "stuck"] as const;
  const found = await listDelegations(database, { statuses, ...parties, text: null, after: null, limit: OPEN_MAX });
  return found.map(({ row }) => row);
}

/** Ids of a delegation's attempts, its own first, the current one last. Throws a LedgerFailure. */
export async function attemptsOf(
  database: Database,
  { callerId, delegationId }: DelegationKey,
  retryCount: number,
): Promise<string[]> {
  if (retryCount === 0) return [delegationId];
  const { workspace_id, action, subject, detail, version } = auditLog;
  const rows = await database.read((tables) =>
    tables
      .select({ attemptId: sql<string>`${detail}::json->>'attempt_id'` })
      .from(auditLog)
      .where(and(eq(workspace_id, callerId), eq(action, "delegation.retry"), eq(subject, delegationId)))
      .orderBy(asc(version)),
  );
  return [delegationId, ...rows.map(({ attemptId }) => attemptId)];
}

/** The row of the feed that told of a delegation's start; its text lies in R2 under `key` where it was too large. */
export interface SentRow {
  readonly seq: number;
  readonly text: string | null;
  readonly key: string | null;
  /** µs since 1970. */
  readonly createdAt: number;
}

/**
 * Rows that may tell of a delegation's start, the newest first: those with its id, and those whose text is not here.
 * Throws a LedgerFailure.
 */
export function sentRows(
  database: Database,
  delegation: DelegationKey & { readonly calleeId: string; readonly createdAt: number },
): Promise<SentRow[]> {
  const { callerId, delegationId, calleeId, createdAt: createdMs } = delegation;
  const { workspace_id, activity_type, method, target_id, seq, request_body, request_body_key, created_at } =
    activityLogs;
  const named = sql`(${request_body} IS NULL OR strpos(${request_body}, ${JSON.stringify(delegationId)}) > 0)`;
  return database.read((tables) =>
    tables
      .select({ seq, text: request_body, key: request_body_key, createdAt: created_at })
      .from(activityLogs)
      .where(
        and(
          eq(workspace_id, callerId),
          eq(activity_type, "delegation"),
          eq(method, "delegate"),
          eq(target_id, calleeId),
          gte(created_at, createdMs * 1000),
          named,
        ),
      )
      .orderBy(desc(seq))
      .limit(SENT_ROWS_MAX),
  );
}

const SENT_ROWS_MAX = 10;

/** Files whose bytes have not been deleted, the newest of them. Throws a LedgerFailure. */
export async function keptFiles(database: Database, workspaceId: string): Promise<FileEntry[]> {
  const { workspace_id, swept_at, body_offset, version, created_at } = pendingUploads;
  const rows = await database.read((tables) =>
    tables
      .select()
      .from(pendingUploads)
      .where(and(eq(workspace_id, workspaceId), isNull(swept_at), isNotNull(body_offset), gt(version, 0)))
      .orderBy(desc(created_at))
      .limit(FILES_MAX),
  );
  return rows as FileEntry[];
}

/** Tokens that the ledger takes for live. Throws a LedgerFailure. */
export function liveTokens(database: Database, workspaceId: string): Promise<TokenEntry[]> {
  const { id, prefix, created_at, workspace_id, revoked_at } = workspaceTokens;
  return database.read((tables) =>
    tables
      .select({ id, prefix, created_at })
      .from(workspaceTokens)
      .where(and(eq(workspace_id, workspaceId), isNull(revoked_at)))
      .orderBy(asc(created_at)),
  );
}

/** Requests that wait for a workspace's agent, or were on their way to it. Throws a LedgerFailure. */
export function openQueueItems(database: Database, workspaceId: string): Promise<QueueEntry[]> {
  const { workspace_id, status, enqueued_at } = a2aQueue;
  return database.read((tables) =>
    tables
      .select()
      .from(a2aQueue)
      .where(and(eq(workspace_id, workspaceId), inArray(status, ["queued", "dispatched"])))
      .orderBy(asc(enqueued_at))
      .limit(OPEN_MAX),
  );
}

/** The lowest epoch that may still write for an object. Throws a LedgerFailure. */
export async function epochOf(database: Database, objectId: string): Promise<number> {
  const [row] = await database.query("SELECT epoch FROM ledger_epochs WHERE object_id = $1", [objectId]);
  return Number(row?.epoch ?? 0);
}

function slicesOf(rows: readonly { readonly seq: number; readonly bytes: number }[]): ActivitySlice[] {
  const slices: ActivitySlice[] = [];
  let bytes = 0;
  for (const row of rows) {
    const last = slices.at(-1);
    if (!last || last.rows === SLICE_ROWS_MAX || bytes + row.bytes > SLICE_BYTES_MAX) {
      slices.push({ from: row.seq, through: row.seq, rows: 1 });
      bytes = row.bytes;
    } else {
      slices[slices.length - 1] = { from: last.from, through: row.seq, rows: last.rows + 1 };
      bytes += row.bytes;
    }
  }
  return slices;
}
