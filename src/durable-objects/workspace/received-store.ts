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

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  put({ received, activitySeq }: StoredReceived): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO received (attempt_id, caller_id, delegation_id, status, created_at, updated_at, deadline,
         dispatch, last_heartbeat, cancel_requested, withdrawn, activity_seq, error, task_preview)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
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

  open(): StoredReceived[] {
    return this.#read(`SELECT * FROM received WHERE ${OPEN}`);
  }

  /** The newest ones by their last change, but for ends whose task never came and for what is its own. */
  newest(ownId: string): Received[] {
    const fromOthers = "SELECT * FROM received WHERE task_preview <> '' AND caller_id <> ?";
    return this.#read(`${fromOthers} ORDER BY updated_at DESC LIMIT ?`, ownId, LIST_MAX).map(
      ({ received }) => received,
    );
  }

  prune(before: number, limit: number): void {
    this.#sql.exec(
      `DELETE FROM received WHERE (attempt_id, caller_id) IN
         (SELECT attempt_id, caller_id FROM received WHERE updated_at < ? AND deadline < ? LIMIT ?)`,
      before,
      before,
      limit,
    );
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
