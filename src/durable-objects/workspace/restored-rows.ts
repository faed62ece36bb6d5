import type { UploadFileState } from "../../domain/upload.ts";
import type { ActivityEntry, FileEntry, QueueEntry, TokenEntry } from "../../ledgers/rebuild-source.ts";

const MAIL_TYPE = "a2a_receive";
const OUTCOME_UNKNOWN = "the workspace was rebuilt during the call: its outcome is unknown";
const REQUEST_LOST = "the workspace was rebuilt: the request was lost before it was sent";

/** A row of the feed in its old place, as the ledger had it; the hub has been told of it long ago. */
export function restoreActivity(sql: SqlStorage, workspaceId: string, row: ActivityEntry): void {
  const own = row.own ?? !looksLikeMail(row, workspaceId);
  sql.exec(
    `INSERT OR REPLACE INTO activity (seq, version, created_at, activity_type, method, source_id, target_id, summary,
       request_body, response_body, request_body_key, response_body_key, tool_trace, duration_ms, status, error_detail,
       message_id, message_digest, own, hidden)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    row.seq,
    Math.max(row.version, row.seq),
    row.created_at,
    row.activity_type ?? MAIL_TYPE,
    row.method,
    row.source_id,
    row.target_id,
    row.summary,
    row.request_body,
    row.response_body,
    row.request_body_key,
    row.response_body_key,
    row.tool_trace,
    row.duration_ms,
    row.status ?? "ok",
    row.error_detail,
    row.message_id,
    row.message_digest,
    own ? 1 : 0,
    row.hidden === true ? 1 : 0,
  );
}

/** For rows of which the ledger does not say whether they are mail: it did not always. */
function looksLikeMail({ activity_type, method, source_id }: ActivityEntry, workspaceId: string): boolean {
  return activity_type === MAIL_TYPE && method !== "notify" && source_id !== workspaceId;
}

/** A file in its old place, with the upload that holds its bytes. */
export function restoreFile(sql: SqlStorage, seq: number, row: FileEntry): void {
  const state = (row.state ?? "expired") as UploadFileState;
  const isWaiting = state === "staged" || state === "fetched";
  const endsAt = millis(row.expires_at);
  sql.exec(
    `INSERT OR REPLACE INTO files (seq, version, upload, activity_seq, body_offset, size, sha256, name, mime_type, state,
       staged_at, attached_at, fetched_at, acked_at, expired_at, expires_at)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    seq,
    Math.max(row.version, seq),
    uploadOf(sql, row),
    row.activity_seq ?? seq,
    row.body_offset,
    row.size_bytes ?? 0,
    row.sha256 ?? "",
    row.filename ?? "",
    row.mimetype ?? "",
    state,
    millis(row.created_at),
    millis(row.attached_at),
    millis(row.fetched_at),
    millis(row.acked_at),
    state === "expired" ? endsAt : null,
    isWaiting ? endsAt : null,
  );
}

/** A token of the lost object as what it is now: revoked. Nobody knows its digest. */
export function restoreRevokedToken(sql: SqlStorage, seq: number, version: number, row: TokenEntry, now: number): void {
  sql.exec(
    "INSERT OR REPLACE INTO tokens (seq, version, digest, prefix, created_at, revoked_at) VALUES (?, ?, '', ?, ?, ?)",
    seq,
    version,
    row.prefix ?? "",
    row.created_at,
    now * 1000,
  );
}

/** An item of the queue as ended: its request is nowhere any more, and what came of a call is unknown. */
export function restoreEndedItem(sql: SqlStorage, seq: number, version: number, row: QueueEntry, now: number): void {
  const isUnknown = row.status === "dispatched";
  sql.exec(
    `INSERT OR REPLACE INTO queue (seq, version, status, call_id, caller_id, priority, method, message_id, message_digest,
       attempts, last_error, enqueued_at, dispatched_at, completed_at, expires_at)
     VALUES (?, ?, ?, '', ?, ?, ?, ?, '', ?, ?, ?, ?, ?, ?)`,
    seq,
    version,
    isUnknown ? "failed" : "dropped",
    row.caller_id,
    row.priority ?? 0,
    row.method ?? "",
    row.idempotency_key,
    row.attempts ?? 0,
    isUnknown ? OUTCOME_UNKNOWN : REQUEST_LOST,
    row.enqueued_at,
    row.dispatched_at,
    now * 1000,
    row.expires_at,
  );
}

function uploadOf(sql: SqlStorage, { upload_id, created_at }: FileEntry): number {
  const uploadId = upload_id ?? "";
  const known = sql.exec<{ upload: number }>("SELECT upload FROM uploads WHERE upload_id = ?", uploadId).toArray()[0];
  if (known) return known.upload;
  return sql
    .exec<{ upload: number }>(
      "INSERT INTO uploads (upload_id, state, renewed_at) VALUES (?, 'stored', ?) RETURNING upload",
      uploadId,
      millis(created_at),
    )
    .one().upload;
}

function millis(micros: number): number;
function millis(micros: number | null): number | null;
function millis(micros: number | null): number | null {
  return micros === null ? null : Math.floor(micros / 1000);
}
