import { keyOf } from "../../ledgers/rows.ts";
import type { FlushEntry } from "./flush-batch.ts";
import type { BlockedReason, RefusedEntry } from "./flush-delivery.ts";

/** Tables of the flush, part of the schema of every object that mirrors rows. */
export const FLUSH_SCHEMA = `
CREATE TABLE flush_state (
  id INTEGER PRIMARY KEY CHECK (id = 0),
  flushed_through INTEGER NOT NULL,
  version_floor INTEGER NOT NULL,
  generation TEXT,
  failures INTEGER NOT NULL,
  retry_at INTEGER,
  blocked_reason TEXT
) STRICT;
CREATE TABLE flush_set_aside (
  ledger TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  sqlstate TEXT NOT NULL,
  PRIMARY KEY (ledger, key)
) STRICT, WITHOUT ROWID;
`;

/** A row that the ledger refused. The entry stays until the ledger has taken the row. */
export type SetAsideRow = { ledger: string; key: string; version: number; sqlstate: string };

type StateRow = {
  flushed_through: number;
  /** No version up to here is given out again, though the watermark went back. */
  version_floor: number;
  /** The database's generation that the watermark speaks of. */
  generation: string | null;
  /** Failures since the last success. */
  failures: number;
  /** No attempt before this, in ms since 1970. */
  retry_at: number | null;
  blocked_reason: BlockedReason | null;
};

const NEVER_FLUSHED: StateRow = {
  flushed_through: 0,
  version_floor: 0,
  generation: null,
  failures: 0,
  retry_at: null,
  blocked_reason: null,
};

/** What an object remembers of its flushes: one row, and what was set aside. */
export class FlushState {
  readonly #sql: SqlStorage;
  #row: StateRow | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** False for an object without tables: nobody has written to it. */
  get exists(): boolean {
    return this.#sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'flush_state'").toArray().length > 0;
  }

  get row(): StateRow {
    this.#row ??= this.exists
      ? (this.#sql.exec<StateRow>("SELECT * FROM flush_state").toArray()[0] ?? NEVER_FLUSHED)
      : null;
    return this.#row ?? NEVER_FLUSHED;
  }

  /** Looks at the stored row again, which a restore may have changed. */
  reload(): void {
    this.#row = null;
  }

  /** Moves the watermark, if it still stands at `from`, and ends a series of failures. */
  advance(from: number, through: number, generation: string | null): void {
    this.#sql.exec(
      `INSERT INTO flush_state (id, flushed_through, version_floor, generation, failures) VALUES (0, ?1, 0, ?2, 0)
       ON CONFLICT (id) DO UPDATE SET flushed_through = ?1, generation = coalesce(?2, generation),
         failures = 0, retry_at = NULL, blocked_reason = NULL
       WHERE flushed_through = ?3`,
      through,
      generation,
      from,
    );
    this.reload();
  }

  /** Everything has to be sent again, to a database of another generation. */
  startOver(generation: string): void {
    this.#sql.exec(
      `UPDATE flush_state SET version_floor = max(version_floor, flushed_through), flushed_through = 0, generation = ?,
         failures = 0, retry_at = NULL, blocked_reason = NULL`,
      generation,
    );
    this.reload();
  }

  fail(reason: BlockedReason, retryAt: number): void {
    this.#sql.exec(
      `INSERT INTO flush_state (id, flushed_through, version_floor, failures, retry_at, blocked_reason)
       VALUES (0, 0, 0, 1, ?1, ?2)
       ON CONFLICT (id) DO UPDATE SET failures = failures + 1, retry_at = ?1, blocked_reason = ?2`,
      retryAt,
      reason,
    );
    this.reload();
  }

  /** Notes what the ledger refused of a batch, and forgets what it has taken at last. */
  settle(batch: readonly FlushEntry[], refused: readonly RefusedEntry[]): void {
    const waiting = new Set(this.setAside().map(({ ledger, key }) => `${ledger} ${key}`));
    const stillRefused = new Set(refused.map(({ row }) => row));
    for (const { ledger, row } of batch) {
      const key = keyOf(ledger, row);
      if (waiting.has(`${ledger} ${key}`) && !stillRefused.has(row)) this.taken(ledger, key);
    }
    for (const { ledger, key, row, sqlstate } of refused) {
      this.#sql.exec(
        "INSERT OR REPLACE INTO flush_set_aside (ledger, key, version, sqlstate) VALUES (?, ?, ?, ?)",
        ledger,
        key,
        row.version,
        sqlstate,
      );
    }
  }

  taken(ledger: string, key: string): void {
    this.#sql.exec("DELETE FROM flush_set_aside WHERE ledger = ? AND key = ?", ledger, key);
  }

  setAside(): SetAsideRow[] {
    if (!this.exists) return [];
    return this.#sql.exec<SetAsideRow>("SELECT * FROM flush_set_aside ORDER BY version").toArray();
  }
}
