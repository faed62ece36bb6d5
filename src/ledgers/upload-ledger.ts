import { and, asc, eq, gt, type SQL, sql } from "drizzle-orm";
import type { Database } from "./database.ts";
import { pendingUploads } from "./schema.ts";

/** Which files an operator asks for; `after` is the id of the last one seen. */
export interface UploadFilter {
  readonly state: string | null;
  readonly workspaceId: string | null;
  readonly after: string | null;
  readonly limit: number;
}

/** One file as operators see it; times in µs since 1970, never its content. */
export interface UploadView {
  readonly file_id: string;
  readonly workspace_id: string;
  readonly filename: string | null;
  readonly mimetype: string | null;
  readonly size_bytes: number | null;
  readonly state: string | null;
  readonly created_at: number;
  readonly fetched_at: number | null;
  readonly acked_at: number | null;
  readonly expires_at: number | null;
  readonly swept_at: number | null;
}

/** Files in the order of their ids. Throws a LedgerFailure. */
export function listUploads(database: Database, filter: UploadFilter): Promise<UploadView[]> {
  const conditions: SQL[] = [];
  if (filter.state !== null) conditions.push(eq(pendingUploads.state, filter.state));
  if (filter.workspaceId !== null) conditions.push(eq(pendingUploads.workspace_id, filter.workspaceId));
  if (filter.after !== null) conditions.push(gt(pendingUploads.file_id, filter.after));
  const { file_id, workspace_id, filename, mimetype, size_bytes, state } = pendingUploads;
  const { created_at, fetched_at, acked_at, expires_at, swept_at } = pendingUploads;
  return database.read((tables) =>
    tables
      .select({
        file_id,
        workspace_id,
        filename,
        mimetype,
        size_bytes,
        state,
        created_at,
        fetched_at,
        acked_at,
        expires_at,
        swept_at,
      })
      .from(pendingUploads)
      .where(and(...conditions))
      .orderBy(asc(file_id))
      .limit(filter.limit),
  );
}

/** Files and bytes by state, what ever happened to files, and the age of the oldest one still waiting. */
export interface UploadStats {
  readonly byState: Readonly<Record<string, { files: number; bytes: number }>>;
  readonly staged: number;
  readonly fetched: number;
  readonly acked: number;
  readonly sweptAcked: number;
  readonly sweptExpired: number;
  readonly oldestWaitingSeconds: number | null;
}

/** Throws a LedgerFailure. */
export async function uploadStats(database: Database): Promise<UploadStats> {
  const rows = await database.read((tables) =>
    tables
      .select({
        state: pendingUploads.state,
        files: sql<string>`count(*)`,
        bytes: sql<string>`coalesce(sum(${pendingUploads.size_bytes}), 0)`,
        fetched: sql<string>`count(${pendingUploads.fetched_at})`,
        acked: sql<string>`count(${pendingUploads.acked_at})`,
        swept: sql<string>`count(${pendingUploads.swept_at})`,
        oldest: sql<string>`extract(epoch FROM now() - min(${pendingUploads.created_at}))`,
      })
      .from(pendingUploads)
      .groupBy(pendingUploads.state),
  );
  const sum = (column: "files" | "fetched" | "acked") => rows.reduce((total, row) => total + Number(row[column]), 0);
  const sweptIn = (state: string) =>
    rows.filter((row) => row.state === state).reduce((total, row) => total + Number(row.swept), 0);
  const waiting = rows
    .filter(({ state }) => state === "staged" || state === "fetched")
    .map(({ oldest }) => Number(oldest));
  return {
    byState: Object.fromEntries(
      rows.map(({ state, files, bytes }) => [String(state), { files: Number(files), bytes: Number(bytes) }]),
    ),
    staged: sum("files"),
    fetched: sum("fetched"),
    acked: sum("acked"),
    sweptAcked: sweptIn("acked"),
    sweptExpired: sweptIn("expired"),
    oldestWaitingSeconds: waiting.length === 0 ? null : Math.floor(Math.max(...waiting)),
  };
}

/** How late an expiry must be before it counts as forgotten by its workspace's alarm. */
const FORGOTTEN_AFTER = "5 minutes";

/** Workspaces with files that should have expired, by the partial index. Throws a LedgerFailure. */
export async function findExpiringUploads(database: Database, limit: number): Promise<string[]> {
  const rows = await database.query(
    `SELECT DISTINCT workspace_id FROM (
       SELECT workspace_id FROM pending_uploads
       WHERE state IN ('staged', 'fetched') AND expires_at < now() - $1::interval ORDER BY expires_at LIMIT $2
     ) AS due`,
    [FORGOTTEN_AFTER, limit],
  );
  return rows.map((row) => String(row.workspace_id));
}
