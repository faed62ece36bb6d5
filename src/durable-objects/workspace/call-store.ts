import type { MirroredTable } from "../shared/flush.ts";

/** A call that has been decided on and whose outcome has not been reported. Times in ms since 1970. */
export interface StoredCall extends Record<string, SqlStorageValue> {
  /** The attempt's number, and that of the queue item should there be one. */
  seq: number;
  call_id: string;
  /** The queue item that it carries, which then holds the request. */
  queue_seq: number | null;
  caller_id: string | null;
  url: string;
  method: string;
  native_session: number;
  message_id: string | null;
  message_digest: string;
  body: string | null;
  body_key: string | null;
  expires_in_s: number | null;
  /** The attempt of a delegation whose task it takes to the agent; null for a message. */
  attempt_id: string | null;
  /** The row of the feed that holds the request, where the call has no copy of its own. */
  activity_seq: number | null;
  created_at: number;
  /** When the workspace hands the call over itself, unless the report has come. */
  hand_over_at: number;
}

/** The open calls of a workspace: one row from the decision to the report, so that no crash forgets one. */
export class CallStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;

  constructor(sql: SqlStorage, nextVersion: () => number) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
  }

  add(call: Omit<StoredCall, "seq">): StoredCall {
    const seq = this.#nextVersion();
    this.#sql.exec(
      `INSERT INTO calls (seq, call_id, queue_seq, caller_id, url, method, native_session, message_id, message_digest,
         body, body_key, expires_in_s, attempt_id, activity_seq, created_at, hand_over_at)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      seq,
      call.call_id,
      call.queue_seq,
      call.caller_id,
      call.url,
      call.method,
      call.native_session,
      call.message_id,
      call.message_digest,
      call.body,
      call.body_key,
      call.expires_in_s,
      call.attempt_id,
      call.activity_seq,
      call.created_at,
      call.hand_over_at,
    );
    return { ...call, seq } as StoredCall;
  }

  find(seq: number): StoredCall | null {
    return this.#sql.exec<StoredCall>("SELECT * FROM calls WHERE seq = ?", seq).toArray()[0] ?? null;
  }

  all(): StoredCall[] {
    return this.#sql.exec<StoredCall>("SELECT * FROM calls ORDER BY seq").toArray();
  }

  /** The open call of a message, should it come again. */
  findOpen(callId: string): StoredCall | null {
    return this.#sql.exec<StoredCall>("SELECT * FROM calls WHERE call_id = ? LIMIT 1", callId).toArray()[0] ?? null;
  }

  /** The open call that takes a delegated task to the agent. */
  openFor(callerId: string, attemptId: string): number | null {
    const query = "SELECT seq FROM calls WHERE attempt_id = ? AND caller_id = ? LIMIT 1";
    return this.#sql.exec<{ seq: number }>(query, attemptId, callerId).toArray()[0]?.seq ?? null;
  }

  remove(seq: number): void {
    this.#sql.exec("DELETE FROM calls WHERE seq = ?", seq);
  }

  handOverAt(seq: number, at: number): void {
    this.#sql.exec("UPDATE calls SET hand_over_at = ? WHERE seq = ?", at, seq);
  }

  due(now: number, limit: number): number[] {
    return this.#sql
      .exec<{ seq: number }>("SELECT seq FROM calls WHERE hand_over_at <= ? ORDER BY hand_over_at LIMIT ?", now, limit)
      .toArray()
      .map(({ seq }) => seq);
  }

  nextDue(): number | null {
    return this.#sql.exec<{ at: number | null }>("SELECT min(hand_over_at) AS at FROM calls").one().at;
  }

  /** The ledger knows nothing of calls, but their numbers come from the counter and must not be given out again. */
  numbers(): MirroredTable {
    return {
      ledger: "a2a_queue",
      pending: () => [],
      read: () => [],
      highestVersion: () => this.#sql.exec<{ seq: number | null }>("SELECT max(seq) AS seq FROM calls").one().seq ?? 0,
    };
  }
}
