import { type Delegation, isOpen } from "../../domain/delegation.ts";
import { delegationRow, LIST_MAX } from "../../domain/delegation-view.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable, sizeOf } from "../shared/mirrored.ts";

/** What a row of the feed tells of an attempt. */
export type Slot = "sent" | "result" | "late" | "contradicted" | "inbox_result" | "inbox_late" | "inbox_stuck";

/** Where the rows of each attempt stand in the feed, by attempt. */
export type Slots = Readonly<Record<string, Readonly<Partial<Record<Slot, number>>>>>;

/** A delegation with what its object needs to carry it out. */
export interface StoredDelegation {
  /** Null for one that has not been written yet. */
  readonly seq: number | null;
  readonly delegation: Delegation;
  /** The task in full, for dispatches and retries. */
  readonly task: string;
  readonly slots: Slots;
  /** When a clock has something to do, in ms since 1970. */
  readonly dueAt: number | null;
}

interface Row extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  due_at: number | null;
  slots: string;
  state: string;
  task: string;
}

const OPEN = "ended_at IS NULL";
/** A task may be a megabyte long; only a dispatch needs it. */
const WITHOUT_TASK = "seq, state, slots, due_at, '' AS task";
/** A key binds while its newest delegation is under way or has just ended, so no more of its rows matter. */
const KEY_ROWS_MAX = 20;

/** The delegations that a workspace sent; the ledger mirrors them unless it is switched off. */
export class DelegationStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;
  /** Undefined until the rows have been looked at; every contact asks for it. */
  #nextDue: number | null | undefined;

  constructor(sql: SqlStorage, nextVersion: () => number) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
  }

  /** Writes a delegation under a new version. */
  put({ seq, delegation, task, slots, dueAt }: StoredDelegation): StoredDelegation & { readonly seq: number } {
    this.#nextDue = undefined;
    const version = this.#nextVersion();
    const { delegationId, idempotencyKey, current, past } = delegation;
    const endedAt = isOpen(current) ? null : current.endedAt;
    const changing = [endedAt, dueAt, past.length + 1, JSON.stringify(slots), JSON.stringify(delegation)];
    if (seq === null) {
      this.#sql.exec(
        `INSERT INTO delegations (seq, version, delegation_id, idempotency_key, task, ended_at, due_at, attempts, slots, state)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        version,
        version,
        delegationId,
        idempotencyKey,
        task,
        ...changing,
      );
      // One that comes back from the ledger has all its attempts at once.
      for (const { attemptId } of [...past, current].slice(1)) this.#noteRetry(attemptId, version);
    } else {
      this.#sql.exec(
        "UPDATE delegations SET version = ?, ended_at = ?, due_at = ?, attempts = ?, slots = ?, state = ? WHERE seq = ?",
        version,
        ...changing,
        seq,
      );
      if (past.length > 0 && isOpen(current)) this.#noteRetry(current.attemptId, seq);
    }
    return { seq: seq ?? version, delegation, task, slots, dueAt };
  }

  #noteRetry(attemptId: string, seq: number): void {
    this.#sql.exec("INSERT OR IGNORE INTO retries (attempt_id, seq) VALUES (?, ?)", attemptId, seq);
  }

  /** Moves a clock; the ledger does not care. */
  dueAt(seq: number, at: number | null): void {
    this.#nextDue = undefined;
    this.#sql.exec("UPDATE delegations SET due_at = ? WHERE seq = ?", at, seq);
  }

  at(seq: number): StoredDelegation | null {
    return this.#read("SELECT * FROM delegations WHERE seq = ?", seq)[0] ?? null;
  }

  find(delegationId: string): StoredDelegation | null {
    return this.#read("SELECT * FROM delegations WHERE delegation_id = ?", delegationId)[0] ?? null;
  }

  /** The delegation that an id means, its own or that of an attempt after the first. */
  findByAttempt(id: string): StoredDelegation | null {
    const retried = "SELECT * FROM delegations WHERE seq = (SELECT seq FROM retries WHERE attempt_id = ?)";
    return this.find(id) ?? this.#read(retried, id)[0] ?? null;
  }

  withKey(idempotencyKey: string): StoredDelegation[] {
    return this.#read(
      `SELECT ${WITHOUT_TASK} FROM delegations WHERE idempotency_key = ? ORDER BY seq DESC LIMIT ?`,
      idempotencyKey,
      KEY_ROWS_MAX,
    );
  }

  open(limit: number): StoredDelegation[] {
    return this.#read(`SELECT ${WITHOUT_TASK} FROM delegations WHERE ${OPEN} LIMIT ?`, limit);
  }

  hasOpen(): boolean {
    return this.#sql.exec(`SELECT 1 FROM delegations WHERE ${OPEN} LIMIT 1`).toArray().length > 0;
  }

  countOpen(): number {
    return this.#sql.exec<{ open: number }>(`SELECT count(*) AS open FROM delegations WHERE ${OPEN}`).one().open;
  }

  /** The newest ones by their last change; an open one may have had none. */
  newest(): Delegation[] {
    const changed = this.#read(
      `SELECT ${WITHOUT_TASK} FROM delegations WHERE version <> seq ORDER BY version DESC LIMIT ?`,
      LIST_MAX,
    );
    const fresh = this.#read(
      `SELECT ${WITHOUT_TASK} FROM delegations WHERE ${OPEN} AND version = seq ORDER BY seq DESC LIMIT ?`,
      LIST_MAX,
    );
    return [...changed, ...fresh].map(({ delegation }) => delegation);
  }

  due(now: number, limit: number): StoredDelegation[] {
    return this.#read(`SELECT * FROM delegations WHERE ${OPEN} AND due_at <= ? ORDER BY due_at LIMIT ?`, now, limit);
  }

  nextDue(): number | null {
    if (this.#nextDue === undefined) {
      this.#nextDue = this.#sql
        .exec<{ at: number | null }>(`SELECT min(due_at) AS at FROM delegations WHERE ${OPEN}`)
        .one().at;
    }
    return this.#nextDue;
  }

  /** Forgets what memory holds of the table, after a turn that was rolled back. */
  forget(): void {
    this.#nextDue = undefined;
  }

  /** Rows of the feed that belong to open delegations, which retention spares. */
  openRows(): number[] {
    return this.#sql
      .exec<{ slots: string }>(`SELECT slots FROM delegations WHERE ${OPEN}`)
      .toArray()
      .flatMap(({ slots }) => Object.values(JSON.parse(slots) as Slots).flatMap((rows) => Object.values(rows)));
  }

  /** When the first one that is kept ended; null while it is open, which no deadline allows for long. */
  oldestEnded(): number | null {
    const first = "SELECT ended_at AS at FROM delegations ORDER BY seq LIMIT 1";
    return this.#sql.exec<{ at: number | null }>(first).toArray()[0]?.at ?? null;
  }

  /** Drops what ended before `before` (ms) and stands in the ledger; returns how many. */
  prune(before: number, flushedThrough: number, limit: number): number {
    const ended = `SELECT seq FROM delegations WHERE ended_at < ? AND version <= ? ORDER BY seq LIMIT ?`;
    const gone = this.#sql
      .exec<{ seq: number; attempts: number }>(
        `DELETE FROM delegations WHERE seq IN (${ended}) RETURNING seq, attempts`,
        before,
        flushedThrough,
        limit,
      )
      .toArray();
    for (const { seq, attempts } of gone) {
      if (attempts > 1) this.#sql.exec("DELETE FROM retries WHERE seq = ?", seq);
    }
    return gone.length;
  }

  /** Nothing is pending for a ledger that is switched off. */
  mirror(isOn: boolean): MirroredTable {
    const table = mirroredTable<Row>(this.#sql, {
      ledger: "delegations",
      table: "delegations",
      size: sizeOf("state", "slots", "task", "delegation_id"),
      toLedger: ({ state, version }) => ledgerRow(JSON.parse(state) as Delegation, version),
    });
    return isOn ? table : { ...table, pending: () => [], read: () => [] };
  }

  #read(query: string, ...values: SqlStorageValue[]): StoredDelegation[] {
    return this.#sql
      .exec<Row>(query, ...values)
      .toArray()
      .map(({ seq, state, task, slots, due_at }) => ({
        seq,
        delegation: JSON.parse(state) as Delegation,
        task,
        slots: JSON.parse(slots) as Slots,
        dueAt: due_at,
      }));
  }
}

function ledgerRow(delegation: Delegation, version: number) {
  const row = delegationRow(delegation);
  return {
    caller_id: row.callerId,
    delegation_id: row.delegationId,
    callee_id: row.calleeId,
    task_preview: row.taskPreview,
    status: row.status,
    last_heartbeat: micros(row.lastHeartbeat),
    deadline: micros(row.deadline),
    result_preview: row.resultPreview,
    error_detail: row.errorDetail,
    retry_count: row.retryCount,
    created_at: row.createdAt * 1000,
    updated_at: micros(row.updatedAt),
    ended_at: micros(row.endedAt),
    idempotency_key: row.idempotencyKey,
    delivery_confirmed: row.deliveryConfirmed,
    version,
  };
}

function micros(ms: number | null): number | null {
  return ms === null ? null : ms * 1000;
}
