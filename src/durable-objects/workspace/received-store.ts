import type { Received } from "../../domain/delegation-received.ts";
import { LIST_MAX } from "../../domain/delegation-view.ts";

/** An attempt that somebody delegated to this workspace, and its row of the inbox where it has one. */
export interface StoredReceived {
  readonly received: Received;
  readonly activitySeq: number | null;
}

interface Row extends Record<string, SqlStorageValue> {
  attempt_id: string;
  caller_id: string;
  delegation_id: string;
  status: Received["status"];
  created_at: number;
  updated_at: number;
  deadline: number;
  dispatch: number;
  last_heartbeat: number | null;
  cancel_requested: number;
  withdrawn: number;
  activity_seq: number | null;
  error: string | null;
  task_preview: string;
}

const OPEN = "status IN ('dispatched', 'in_progress')";

/** Who sent this workspace which delegation, one row an attempt. */
export class ReceivedStore {
  readonly #sql: SqlStorage;
  /** No deadline is earlier; undefined until the rows have been looked at, for which no index is worth its rows. */
  #oldest: number | null | undefined;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  put({ received, activitySeq }: StoredReceived): void {
    if (this.#oldest !== undefined) this.#oldest = Math.min(this.#oldest ?? received.deadline, received.deadline);
    this.#sql.exec(
      `INSERT INTO received (attempt_id, caller_id, delegation_id, status, created_at, updated_at, deadline,
         dispatch, last_heartbeat, cancel_requested, withdrawn, activity_seq, error, task_preview)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET status = excluded.status, updated_at = excluded.updated_at,
         dispatch = excluded.dispatch, last_heartbeat = excluded.last_heartbeat,
         cancel_requested = excluded.cancel_requested, withdrawn = excluded.withdrawn,
         activity_seq = excluded.activity_seq, error = excluded.error`,
      received.attemptId,
      received.callerId,
      received.delegationId,
      received.status,
      received.createdAt,
      received.updatedAt,
      received.deadline,
      received.dispatch,
      received.lastHeartbeat,
      received.cancelRequested ? 1 : 0,
      received.withdrawn ? 1 : 0,
      activitySeq,
      received.error,
      received.taskPreview,
    );
  }

  find(attemptId: string, callerId: string): StoredReceived | null {
    return this.#read("SELECT * FROM received WHERE attempt_id = ? AND caller_id = ?", attemptId, callerId)[0] ?? null;
  }

  /** What callers have sent under one id. */
  under(attemptId: string): StoredReceived[] {
    return this.#read("SELECT * FROM received WHERE attempt_id = ?", attemptId);
  }

  open(limit: number): StoredReceived[] {
    return this.#read(`SELECT * FROM received WHERE ${OPEN} LIMIT ?`, limit);
  }

  /** The newest ones by their last change, but for ends whose task never came and for what is its own. */
  newest(ownId: string): Received[] {
    const fromOthers = "SELECT * FROM received WHERE task_preview <> '' AND caller_id <> ?";
    return this.#read(`${fromOthers} ORDER BY updated_at DESC LIMIT ?`, ownId, LIST_MAX).map(
      ({ received }) => received,
    );
  }

  /** The first deadline of all, past or not. */
  oldest(): number | null {
    if (this.#oldest === undefined) {
      this.#oldest = this.#sql.exec<{ at: number | null }>("SELECT min(deadline) AS at FROM received").one().at;
    }
    return this.#oldest;
  }

  /** Forgets what memory holds of the table, after a turn that was rolled back. */
  forget(): void {
    this.#oldest = undefined;
  }

  /** Drops what has not changed since `before`, nor was due after it; returns how many. */
  prune(before: number, limit: number): number {
    this.#oldest = undefined;
    const over = "SELECT attempt_id, caller_id FROM received WHERE deadline < ? AND updated_at < ? LIMIT ?";
    return this.#sql
      .exec(`DELETE FROM received WHERE (attempt_id, caller_id) IN (${over}) RETURNING 1`, before, before, limit)
      .toArray().length;
  }

  #read(query: string, ...values: SqlStorageValue[]): StoredReceived[] {
    return this.#sql
      .exec<Row>(query, ...values)
      .toArray()
      .map((row) => ({
        activitySeq: row.activity_seq,
        received: {
          attemptId: row.attempt_id,
          callerId: row.caller_id,
          delegationId: row.delegation_id,
          taskPreview: row.task_preview,
          createdAt: row.created_at,
          updatedAt: row.updated_at,
          deadline: row.deadline,
          dispatch: row.dispatch,
          lastHeartbeat: row.last_heartbeat,
          status: row.status,
          error: row.error,
          cancelRequested: row.cancel_requested === 1,
          withdrawn: row.withdrawn === 1,
        },
      }));
  }
}
