import { type ActivityRow, activityJson } from "../../domain/activity.ts";
import type { ActivityQuery } from "../../domain/activity-query.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { RowIds } from "../../domain/row-id.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable, sizeOf } from "../shared/mirrored.ts";

/** What the hub is told of a row: nothing, that it was logged, the agent's words, or also the agent's answer. */
export type RowEvent = "logged" | "message" | "answer";

/** A row about to be written; the store gives it seq, version and time. Bodies are JSON texts. */
export interface NewActivity {
  readonly activityType: string;
  readonly method?: string | null;
  readonly sourceId?: string | null;
  readonly targetId?: string | null;
  readonly summary?: string | null;
  readonly requestBody?: string | null;
  readonly responseBody?: string | null;
  /** R2 key of a body too large for a row; the body itself is then null. */
  readonly requestBodyKey?: string | null;
  readonly responseBodyKey?: string | null;
  readonly toolTrace?: string | null;
  readonly durationMs?: number | null;
  readonly status?: string;
  readonly errorDetail?: string | null;
  readonly messageId?: string | null;
  /** Digest of the message's text; with sender and messageId it tells a repetition from a new message. */
  readonly messageDigest?: string | null;
  readonly event?: RowEvent | null;
  /** Written by the workspace itself: no mail. */
  readonly own: boolean;
}

interface StoredActivity extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  created_at: number;
  activity_type: string;
  method: string | null;
  source_id: string | null;
  target_id: string | null;
  summary: string | null;
  request_body: string | null;
  response_body: string | null;
  request_body_key: string | null;
  response_body_key: string | null;
  tool_trace: string | null;
  duration_ms: number | null;
  status: string;
  error_detail: string | null;
  message_id: string | null;
  message_digest: string | null;
  event: RowEvent | null;
  own: number;
  hidden: number;
}

/** What a page needs of a row, in the order of `PageRow`. */
const PAGE_COLUMNS = `seq, created_at, activity_type, source_id, target_id, method, summary, request_body, response_body,
  tool_trace, duration_ms, status, error_detail, request_body_key, response_body_key`;
type Text = string | null;
type PageRow = [
  number,
  number,
  string,
  Text,
  Text,
  Text,
  Text,
  Text,
  Text,
  Text,
  number | null,
  string,
  Text,
  Text,
  Text,
];

/** A body that the Worker streams from R2 into the answer. */
export interface LargeBody {
  /** Which row of the page, counted from 0. */
  readonly row: number;
  readonly member: "request_body" | "response_body";
  readonly key: string;
}

/** Some rows of the feed, each as a JSON text, with what readers and senders of them need beside. */
export interface FeedRows {
  readonly rows: string[];
  readonly seqs: number[];
  /** Ids of the senders, for readers who ask who they are. */
  readonly sources: (string | null)[];
  /** Bodies that are still to be put in. */
  readonly large: LargeBody[];
  /** Newest first, and cut for its size: the page goes on below this seq. */
  readonly rest: number | null;
}

/** One answer to a reader: the finished JSON array where nothing is to be added, else its rows. */
export type ActivityPage = { readonly kind: "whole"; readonly count: number; readonly text: string } | RowsPage;

export interface RowsPage extends Omit<FeedRows, "seqs"> {
  readonly kind: "rows";
}

/** The page of an empty feed. */
export const EMPTY_PAGE: ActivityPage = { kind: "whole", count: 0, text: "[]" };

/** A row as the hub tells it. */
export interface BroadcastRow extends ActivityRow {
  readonly version: number;
  readonly event: RowEvent | null;
}

/** A page is cut here, so that neither object nor Worker ever holds more; one row always fits. */
const PAGE_BYTES_MAX = 1024 * 1024;
const REPEAT_WINDOW_US = 24 * 60 * 60 * 1_000_000;
const SIZE = sizeOf(
  "request_body",
  "response_body",
  "summary",
  "tool_trace",
  "error_detail",
  "method",
  "status",
  "activity_type",
  "message_id",
);

/** The feed of a workspace, which is also its inbox: rows in strict order, never two with one time. */
export class InboxStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;
  readonly #ids: () => RowIds;
  readonly #workspaceId: () => string;
  #lastCreatedAt: number | null = null;
  #head: number | null = null;
  #unread: { after: number; rows: number } | null = null;

  constructor(sql: SqlStorage, nextVersion: () => number, ids: () => RowIds, workspaceId: () => string) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
    this.#ids = ids;
    this.#workspaceId = workspaceId;
  }

  /** Writes a row and returns its seq. */
  append(row: NewActivity, nowUs: number): number {
    const seq = this.#nextVersion();
    const createdAt = Math.max(nowUs, this.#newest() + 1);
    this.#sql.exec(
      `INSERT INTO activity (seq, version, created_at, activity_type, method, source_id, target_id, summary, request_body,
         response_body, request_body_key, response_body_key, tool_trace, duration_ms, status, error_detail, message_id,
         message_digest, event, own)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      seq,
      seq,
      createdAt,
      row.activityType,
      row.method ?? null,
      row.sourceId ?? null,
      row.targetId ?? null,
      row.summary ?? null,
      row.requestBody ?? null,
      row.responseBody ?? null,
      row.requestBodyKey ?? null,
      row.responseBodyKey ?? null,
      row.toolTrace ?? null,
      row.durationMs ?? null,
      row.status ?? "ok",
      row.errorDetail ?? null,
      row.messageId ?? null,
      row.messageDigest ?? null,
      row.event ?? null,
      row.own ? 1 : 0,
    );
    this.#lastCreatedAt = createdAt;
    this.#head = seq;
    if (this.#unread && !row.own) this.#unread.rows += 1;
    return seq;
  }

  /** Writes a row anew in its place, under a new version; false when it is gone. */
  rewrite(seq: number, row: NewActivity): boolean {
    const { rowsWritten } = this.#sql.exec(
      `UPDATE activity SET version = ?, summary = ?, request_body = ?, response_body = ?, request_body_key = ?,
         response_body_key = ?, status = ?, error_detail = ? WHERE seq = ?`,
      this.#nextVersion(),
      row.summary ?? null,
      row.requestBody ?? null,
      row.responseBody ?? null,
      row.requestBodyKey ?? null,
      row.responseBodyKey ?? null,
      row.status ?? "ok",
      row.errorDetail ?? null,
      seq,
    );
    return rowsWritten > 0;
  }

  /** Changes a row's status and error, under a new version. */
  restatus(seq: number, status: string, errorDetail: string | null): void {
    this.#sql.exec(
      "UPDATE activity SET version = ?, status = ?, error_detail = ? WHERE seq = ?",
      this.#nextVersion(),
      status,
      errorDetail,
      seq,
    );
  }

  idOf(seq: number): string {
    return this.#ids().idOf(seq);
  }

  /** The row that the same sender wrote with the same messageId and the same words within 24 h. */
  findRepeat(sourceId: string | null, messageId: string, digest: string, nowUs: number): number | null {
    const row = this.#sql
      .exec<{ seq: number }>(
        `SELECT seq FROM activity WHERE message_id = ? AND message_digest = ? AND source_id IS ? AND created_at > ?
         ORDER BY seq DESC LIMIT 1`,
        messageId,
        digest,
        sourceId,
        nowUs - REPEAT_WINDOW_US,
      )
      .toArray()[0];
    return row?.seq ?? null;
  }

  /** The seq of a cursor, or the contract's 410: unknown, foreign, ahead of the head, or with something lost after it. */
  cursor(id: string, lostSeq: number): number {
    const seq = this.#ids().seqOf(id);
    const head = this.head();
    if (seq === null || seq > head || seq < lostSeq || (seq !== head && !this.#everWas(seq)))
      throw new Refusal("activity.cursor_gone");
    return seq;
  }

  /** The seq of a row that is acknowledged, clamped to the head; null for an id that is none of ours. */
  acknowledged(id: string): number | null {
    const seq = this.#ids().seqOf(id);
    return seq === null ? null : Math.min(seq, this.head());
  }

  /** When the newest row was written, in ms; null without any. */
  newestAt(): number | null {
    const [newest] = this.#sql
      .exec<{ created_at: number }>("SELECT created_at FROM activity ORDER BY seq DESC LIMIT 1")
      .toArray();
    return newest === undefined ? null : newest.created_at / 1000;
  }

  /** Highest seq of any row that ever was. */
  head(): number {
    this.#head ??= this.#sql
      .exec<{ head: number }>(
        "SELECT max(coalesce((SELECT max(seq) FROM activity), 0), coalesce((SELECT max(seq) FROM activity_stubs), 0)) AS head",
      )
      .one().head;
    return this.#head;
  }

  /** Rows from others that the agent has neither read nor acknowledged. */
  unread(after: number): number {
    if (this.#unread?.after !== after) {
      const { rows } = this.#sql
        .exec<{ rows: number }>("SELECT count(*) AS rows FROM activity WHERE seq > ? AND own = 0", after)
        .one();
      this.#unread = { after, rows };
    }
    return this.#unread.rows;
  }

  /** A page of the feed: ascending after a cursor, newest first without one. */
  page(query: ActivityQuery, after: number | null, nowUs: number): ActivityPage {
    const { rows, sources, large, rest } = this.rows(query, after, nowUs);
    if (large.length > 0 || rest !== null || (query.includePeerInfo && rows.length > 0))
      return { kind: "rows", rows, sources, large, rest };
    return { kind: "whole", count: rows.length, text: `[${rows.join(",")}]` };
  }

  /**
   * The rows of a page, or as many as are good to hold at once. Who reads upwards goes on from the last one; who reads
   * the newest takes the first of them for all, so `rest` says where they go on, `below` that seq.
   */
  rows(query: ActivityQuery, after: number | null, nowUs: number, below: number | null = null): FeedRows {
    const page = {
      rows: [] as string[],
      seqs: [] as number[],
      sources: [] as (string | null)[],
      large: [] as LargeBody[],
    };
    if (after !== null && after >= this.head()) return { ...page, rest: null };
    const conditions = ["hidden = 0"];
    const values: SqlStorageValue[] = [];
    const where = (condition: string, ...bound: SqlStorageValue[]) => {
      conditions.push(condition);
      values.push(...bound);
    };
    if (after !== null) where("seq > ?", after);
    if (below !== null) where("seq < ?", below);
    if (query.type !== null) where("activity_type = ?", query.type);
    if (query.source !== null) where(query.source === "canvas" ? "source_id IS NULL" : "source_id IS NOT NULL");
    if (query.peerId !== null) where("(source_id = ? OR target_id = ?)", query.peerId, query.peerId);
    if (query.sinceSeconds !== null) where("created_at >= ?", nowUs - query.sinceSeconds * 1_000_000);
    if (query.beforeMicros !== null) where("created_at < ?", query.beforeMicros);
    if (query.inboundOnly) where("own = 0");
    const cursor = this.#sql.exec(
      `SELECT ${PAGE_COLUMNS} FROM activity WHERE ${conditions.join(" AND ")}
       ORDER BY seq ${after === null ? "DESC" : "ASC"} LIMIT ?`,
      ...values,
      query.limit,
    );
    let size = 0;
    let rest: number | null = null;
    const ids = this.#ids();
    const workspaceId = this.#workspaceId();
    // Arrays, because an object with named members for every row is most of the cost of a long page.
    for (const stored of cursor.raw()) {
      const [
        seq,
        createdAtMicros,
        activityType,
        sourceId,
        targetId,
        method,
        summary,
        requestBody,
        responseBody,
        toolTrace,
        durationMs,
        status,
        errorDetail,
        requestBodyKey,
        responseBodyKey,
      ] = stored as PageRow;
      const text = activityJson({
        seq,
        id: ids.idOf(seq),
        workspaceId,
        activityType,
        sourceId,
        targetId,
        method,
        summary,
        requestBody,
        responseBody,
        toolTrace,
        durationMs,
        status,
        errorDetail,
        createdAtMicros,
      });
      size += text.length;
      if (size > PAGE_BYTES_MAX && page.rows.length > 0) {
        rest = after === null ? (page.seqs.at(-1) ?? null) : null;
        break;
      }
      const row = page.rows.push(text) - 1;
      page.seqs.push(seq);
      page.sources.push(sourceId);
      if (requestBodyKey !== null) page.large.push({ row, member: "request_body", key: requestBodyKey });
      if (responseBodyKey !== null) page.large.push({ row, member: "response_body", key: responseBodyKey });
    }
    return { ...page, rest };
  }

  /** The request that a row holds, or where it lies; nothing where the row is gone. */
  requestOf(seq: number): { body: string | null; bodyKey: string | null } {
    const query = "SELECT request_body AS body, request_body_key AS bodyKey FROM activity WHERE seq = ?";
    return (
      this.#sql.exec<{ body: string | null; bodyKey: string | null }>(query, seq).toArray()[0] ?? {
        body: null,
        bodyKey: null,
      }
    );
  }

  /** Rows that the hub has not been told of, oldest first; `through` is how far they are complete. */
  unbroadcast(after: number, limit: number): { rows: BroadcastRow[]; through: number } {
    const rows: BroadcastRow[] = [];
    let size = 0;
    for (const stored of this.#sql.exec<StoredActivity>(
      "SELECT * FROM activity WHERE seq > ? AND event IS NOT NULL ORDER BY seq LIMIT ?",
      after,
      limit,
    )) {
      rows.push({ ...this.#row(stored), version: stored.seq, event: stored.event });
      size += (stored.request_body?.length ?? 0) + (stored.response_body?.length ?? 0);
      if (rows.length === limit || size > PAGE_BYTES_MAX) return { rows, through: stored.seq };
    }
    return { rows, through: Number.POSITIVE_INFINITY };
  }

  /** Takes rows off the plain route (a file that turned out to be the user's). */
  hide(seqs: readonly number[]): void {
    for (const seq of seqs) {
      const version = this.#nextVersion();
      this.#sql.exec("UPDATE activity SET version = ?, hidden = 1 WHERE seq = ? AND hidden = 0", version, seq);
    }
  }

  /** Takes back mail that nobody has read: off the plain route, and nothing that anybody could miss. */
  withdraw(seq: number): void {
    this.#sql.exec("UPDATE activity SET version = ?, hidden = 1, own = 1 WHERE seq = ?", this.#nextVersion(), seq);
    this.#unread = null;
  }

  /**
   * Drops up to `limit` rows older than `before` that are no longer mail, or older than `unreadBefore`, and that the
   * ledger has confirmed. A stub keeps each one valid as a cursor. Returns how many went and the highest that nobody
   * had read.
   */
  prune(
    bounds: {
      before: number;
      unreadBefore: number;
      readThrough: number;
      flushedThrough: number;
      spared: readonly number[];
    },
    nowMs: number,
    limit: number,
  ): { pruned: number; lostSeq: number; bodyKeys: string[] } {
    const rows = this.#sql
      .exec<{ seq: number; own: number; request_body_key: string | null; response_body_key: string | null }>(
        `SELECT seq, own, request_body_key, response_body_key FROM activity
         WHERE version <= ?1 AND created_at < ?2 AND (own = 1 OR seq <= ?3 OR created_at < ?4)
           AND seq NOT IN (SELECT value FROM json_each(?6)) ORDER BY seq LIMIT ?5`,
        bounds.flushedThrough,
        bounds.before,
        bounds.readThrough,
        bounds.unreadBefore,
        limit,
        JSON.stringify(bounds.spared),
      )
      .toArray();
    const bodyKeys: string[] = [];
    let lostSeq = 0;
    for (const { seq, own, request_body_key, response_body_key } of rows) {
      this.#sql.exec("INSERT INTO activity_stubs (seq, pruned_at) VALUES (?, ?)", seq, nowMs);
      this.#sql.exec("DELETE FROM activity WHERE seq = ?", seq);
      if (own === 0 && seq > bounds.readThrough) lostSeq = seq;
      for (const key of [request_body_key, response_body_key]) if (key !== null) bodyKeys.push(key);
    }
    this.#unread = null;
    return { pruned: rows.length, lostSeq, bodyKeys };
  }

  /** When the oldest row may be looked at by `prune`, in µs; null for an empty feed. */
  oldest(): number | null {
    return (
      this.#sql.exec<{ at: number | null }>("SELECT created_at AS at FROM activity ORDER BY seq LIMIT 1").toArray()[0]
        ?.at ?? null
    );
  }

  /** Stubs older than `before` (ms) go, up to `limit`. */
  dropStubs(before: number, limit: number): void {
    this.#sql.exec(
      "DELETE FROM activity_stubs WHERE seq IN (SELECT seq FROM activity_stubs WHERE pruned_at < ? ORDER BY seq LIMIT ?)",
      before,
      limit,
    );
  }

  mirror(): MirroredTable {
    return mirroredTable<StoredActivity>(this.#sql, {
      ledger: "activity_logs",
      table: "activity",
      size: SIZE,
      toLedger: (row) => ({
        id: this.#ids().idOf(row.seq),
        workspace_id: this.#workspaceId(),
        seq: row.seq,
        activity_type: row.activity_type,
        source_id: row.source_id,
        target_id: row.target_id,
        method: row.method,
        summary: row.summary,
        request_body: row.request_body,
        response_body: row.response_body,
        request_body_key: row.request_body_key,
        response_body_key: row.response_body_key,
        tool_trace: row.tool_trace,
        duration_ms: row.duration_ms,
        status: row.status,
        error_detail: row.error_detail,
        message_id: row.message_id,
        own: row.own === 1,
        hidden: row.hidden === 1,
        message_digest: row.message_digest,
        created_at: row.created_at,
        version: row.version,
      }),
    });
  }

  /** Forgets what memory holds of the table, after a turn that was rolled back. */
  forget(): void {
    this.#lastCreatedAt = null;
    this.#head = null;
    this.#unread = null;
  }

  #newest(): number {
    this.#lastCreatedAt ??=
      this.#sql
        .exec<{ at: number | null }>("SELECT created_at AS at FROM activity ORDER BY seq DESC LIMIT 1")
        .toArray()[0]?.at ?? 0;
    return this.#lastCreatedAt;
  }

  #everWas(seq: number): boolean {
    return (
      this.#sql
        .exec("SELECT 1 FROM activity WHERE seq = ?1 UNION ALL SELECT 1 FROM activity_stubs WHERE seq = ?1", seq)
        .toArray().length > 0
    );
  }

  #row(stored: StoredActivity): ActivityRow {
    return {
      seq: stored.seq,
      id: this.#ids().idOf(stored.seq),
      workspaceId: this.#workspaceId(),
      activityType: stored.activity_type,
      sourceId: stored.source_id,
      targetId: stored.target_id,
      method: stored.method,
      summary: stored.summary,
      requestBody: stored.request_body,
      responseBody: stored.response_body,
      toolTrace: stored.tool_trace,
      durationMs: stored.duration_ms,
      status: stored.status,
      errorDetail: stored.error_detail,
      createdAtMicros: stored.created_at,
    };
  }
}
