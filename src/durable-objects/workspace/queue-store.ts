import { nextToDrain, type QueueItem, type QueueStatus } from "../../domain/queue-item.ts";
import type { RowIds } from "../../domain/row-id.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable, sizeOf } from "../shared/mirrored.ts";

/** An item with the request that it stands for; a final one has let go of the text, which its activity row holds. */
export interface StoredItem extends QueueItem {
  readonly callId: string;
  readonly messageDigest: string;
  /** The attempt of a delegation whose task it is; null for a message. */
  readonly attemptId: string | null;
  /** The row of the feed that holds the request, where the item has no copy of its own. */
  readonly activitySeq: number | null;
  readonly body: string | null;
  readonly bodyKey: string | null;
  /** R2 key of an answer too large for a row. */
  readonly responseBodyKey: string | null;
}

interface ItemRow extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  status: QueueStatus;
  call_id: string;
  caller_id: string | null;
  priority: number;
  method: string;
  message_id: string | null;
  message_digest: string;
  body: string | null;
  body_key: string | null;
  attempts: number;
  last_error: string | null;
  response_body: string | null;
  response_body_key: string | null;
  enqueued_at: number;
  dispatched_at: number | null;
  completed_at: number | null;
  expires_at: number | null;
  attempt_id: string | null;
  activity_seq: number | null;
}

const COLUMNS = [
  "seq",
  "version",
  "status",
  "call_id",
  "caller_id",
  "priority",
  "method",
  "message_id",
  "message_digest",
  "body",
  "body_key",
  "attempts",
  "last_error",
  "response_body",
  "response_body_key",
  "enqueued_at",
  "dispatched_at",
  "completed_at",
  "expires_at",
  "attempt_id",
  "activity_seq",
] as const satisfies readonly (keyof ItemRow)[];
const OPEN = "completed_at IS NULL";
const IN_ORDER = "ORDER BY priority DESC, enqueued_at, seq";

/** Requests to a push agent that wait for it, or for its answer, and those that did in the last days. */
export class QueueStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;
  readonly #ids: () => RowIds;
  readonly #workspaceId: () => string;

  constructor(sql: SqlStorage, nextVersion: () => number, ids: () => RowIds, workspaceId: () => string) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
    this.#ids = ids;
    this.#workspaceId = workspaceId;
  }

  idOf(seq: number): string {
    return this.#ids().idOf(seq);
  }

  /** Null for an id that this workspace never gave to an item. */
  findById(id: string): StoredItem | null {
    const seq = this.#ids().seqOf(id);
    return seq === null ? null : this.find(seq);
  }

  find(seq: number): StoredItem | null {
    return this.#items("SELECT * FROM queue WHERE seq = ?", seq)[0] ?? null;
  }

  /** Writes an item, a new one or a changed one. A new item's seq is older than its version: it is its call's. */
  put(item: StoredItem): void {
    const row = rowOf(item, this.#nextVersion());
    this.#sql.exec(
      `INSERT INTO queue (${COLUMNS.join(", ")}) VALUES (${COLUMNS.map(() => "?").join(", ")})
       ON CONFLICT (seq) DO UPDATE SET ${COLUMNS.slice(1)
         .map((column) => `${column} = excluded.${column}`)
         .join(", ")}`,
      ...COLUMNS.map((column) => row[column] ?? null),
    );
  }

  /** The open items of these words; who sent them is the caller's to compare. */
  openWithDigest(digest: string): StoredItem[] {
    return this.#items(`SELECT * FROM queue WHERE ${OPEN} AND message_digest = ?`, digest);
  }

  /** The item in which a delegated task waits to be sent, or null. */
  waitingFor(callerId: string, attemptId: string): StoredItem | null {
    const waiting = `SELECT * FROM queue WHERE ${OPEN} AND status = 'queued' AND attempt_id = ? AND caller_id = ?`;
    return this.#items(waiting, attemptId, callerId)[0] ?? null;
  }

  /** The item to send next, or null. */
  next(nowUs: number): StoredItem | null {
    const candidates = this.#items(
      `SELECT * FROM queue WHERE ${OPEN} AND status = 'queued' AND (expires_at IS NULL OR expires_at > ?) ${IN_ORDER} LIMIT 1`,
      nowUs,
    );
    const next = nextToDrain(candidates, nowUs);
    return candidates.find(({ seq }) => seq === next?.seq) ?? null;
  }

  /** Items that wait to be sent, and items in the agent's hands. */
  counts(): { queued: number; dispatched: number } {
    const { queued, dispatched } = this.#sql
      .exec<{ queued: number | null; dispatched: number | null }>(
        `SELECT sum(status = 'queued') AS queued, sum(status = 'dispatched') AS dispatched FROM queue WHERE ${OPEN}`,
      )
      .one();
    return { queued: queued ?? 0, dispatched: dispatched ?? 0 };
  }

  expired(nowUs: number, limit: number): StoredItem[] {
    return this.#items(
      `SELECT * FROM queue WHERE ${OPEN} AND status = 'queued' AND expires_at <= ? LIMIT ?`,
      nowUs,
      limit,
    );
  }

  enqueuedBefore(atUs: number): StoredItem[] {
    return this.#items(`SELECT * FROM queue WHERE ${OPEN} AND status = 'queued' AND enqueued_at < ?`, atUs);
  }

  /** When the next item expires, in µs. */
  nextExpiry(): number | null {
    return this.#sql
      .exec<{ at: number | null }>(`SELECT min(expires_at) AS at FROM queue WHERE ${OPEN} AND status = 'queued'`)
      .one().at;
  }

  /** When the oldest item was enqueued, in µs. */
  oldest(): number | null {
    return (
      this.#sql.exec<{ at: number }>("SELECT enqueued_at AS at FROM queue ORDER BY seq LIMIT 1").toArray()[0]?.at ??
      null
    );
  }

  /** Drops final items that ended before `beforeUs` and that the ledger has. */
  prune(beforeUs: number, flushedThrough: number, limit: number): void {
    this.#sql.exec(
      `DELETE FROM queue WHERE seq IN
         (SELECT seq FROM queue WHERE completed_at < ? AND version <= ? ORDER BY seq LIMIT ?)`,
      beforeUs,
      flushedThrough,
      limit,
    );
  }

  mirror(): MirroredTable {
    return mirroredTable<ItemRow>(this.#sql, {
      ledger: "a2a_queue",
      table: "queue",
      size: sizeOf("response_body", "last_error", "method", "message_id"),
      toLedger: (row) => ({
        id: this.idOf(row.seq),
        workspace_id: this.#workspaceId(),
        caller_id: row.caller_id,
        priority: row.priority,
        method: row.method,
        idempotency_key: row.message_id,
        status: row.status,
        attempts: row.attempts,
        last_error: row.last_error,
        enqueued_at: row.enqueued_at,
        dispatched_at: row.dispatched_at,
        completed_at: row.completed_at,
        expires_at: row.expires_at,
        response_body: row.response_body,
        version: row.version,
      }),
    });
  }

  #items(query: string, ...values: SqlStorageValue[]): StoredItem[] {
    return this.#sql
      .exec<ItemRow>(query, ...values)
      .toArray()
      .map(itemOf);
  }
}

function rowOf(item: StoredItem, version: number): ItemRow {
  return {
    seq: item.seq,
    version,
    status: item.status,
    call_id: item.callId,
    caller_id: item.callerId,
    priority: item.priority,
    method: item.method,
    message_id: item.messageId,
    message_digest: item.messageDigest,
    body: item.body,
    body_key: item.bodyKey,
    attempts: item.attempts,
    last_error: item.lastError,
    response_body: item.responseBody,
    response_body_key: item.responseBodyKey,
    enqueued_at: item.enqueuedAt,
    dispatched_at: item.dispatchedAt,
    completed_at: item.completedAt,
    expires_at: item.expiresAt,
    attempt_id: item.attemptId,
    activity_seq: item.activitySeq,
  };
}

function itemOf(row: ItemRow): StoredItem {
  return {
    seq: row.seq,
    status: row.status,
    callId: row.call_id,
    callerId: row.caller_id,
    priority: row.priority,
    method: row.method,
    messageId: row.message_id,
    messageDigest: row.message_digest,
    body: row.body,
    bodyKey: row.body_key,
    attempts: row.attempts,
    lastError: row.last_error,
    responseBody: row.response_body,
    responseBodyKey: row.response_body_key,
    enqueuedAt: row.enqueued_at,
    dispatchedAt: row.dispatched_at,
    completedAt: row.completed_at,
    expiresAt: row.expires_at,
    attemptId: row.attempt_id,
    activitySeq: row.activity_seq,
  };
}
