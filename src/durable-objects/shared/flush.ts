import { LedgerFailure } from "../../ledgers/failure.ts";
import type { LedgerAnswer, LedgerBatch } from "../../ledgers/ledger-write.ts";
import { type LedgerName, type LedgerRow, standInFor } from "../../ledgers/rows.ts";
import { log } from "../../log.ts";
import { BATCH_ROWS_MAX, cutBatch, type FlushEntry, type MirroredTable } from "./flush-batch.ts";
import { Blocked, type BlockedReason, deliver, RefusalTally, type RefusedEntry } from "./flush-delivery.ts";
import { FlushState, type SetAsideRow } from "./flush-state.ts";

export type { MirroredTable } from "./flush-batch.ts";
export type { BlockedReason } from "./flush-delivery.ts";
export { FLUSH_SCHEMA, type SetAsideRow } from "./flush-state.ts";

export interface FlushOptions {
  readonly storage: DurableObjectStorage;
  readonly objectId: () => string;
  readonly epoch: () => number;
  readonly tables: readonly MirroredTable[];
  /** Whether the ledger is to hear nothing more of this object. */
  readonly hasEnded?: () => boolean;
  /** Throws a LedgerFailure. */
  readonly write: (batch: LedgerBatch) => Promise<LedgerAnswer>;
  /** 0 <= n < 1 */
  readonly random?: () => number;
}

export interface FlushStatus {
  /** Changed rows that the ledger does not have yet; each table counts to 500 only. */
  readonly lag_versions: number;
  /** Failed attempts since the last success. */
  readonly failures: number;
  /** When the next attempt may be made, in ms since 1970; null when no attempt failed. */
  readonly retry_at: number | null;
  readonly set_aside: number;
  readonly blocked_reason: BlockedReason | null;
}

/** Versions of an epoch; 2^13 epochs fit into a safe integer. */
export const EPOCH_SPAN = 2 ** 40;

const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 5 * 60_000;
/** A flush starts with the commit; the alarm looks after it this much later, in case the object died in between. */
const NET_MS = 30_000;

/**
 * Carries an object's changed rows to the ledger. Every change takes a version from one counter; a row is pending while
 * its version is above the watermark, which moves only when Postgres has the rows.
 */
export class Flush {
  readonly #options: FlushOptions;
  readonly #state: FlushState;
  readonly #random: () => number;
  /** The highest version that was given out or stands in a table; null until the tables were looked at. */
  #changed: number | null = null;
  /** No row up to here is pending, though the watermark may stand lower: a turn was rolled back, or rows are gone. */
  #empty = 0;
  #netAt: number | null = null;
  #running: Promise<void> | null = null;

  constructor(options: FlushOptions) {
    this.#options = options;
    this.#state = new FlushState(options.storage.sql);
    this.#random = options.random ?? Math.random;
  }

  /** The version for the change that the current turn makes. */
  nextVersion(): number {
    const { flushed_through, version_floor } = this.#state.row;
    const floor = Math.max(flushed_through, version_floor, this.#options.epoch() * EPOCH_SPAN);
    this.#changed = Math.max(this.#highest(), floor) + 1;
    return this.#changed;
  }

  get flushedThrough(): number {
    return this.#state.row.flushed_through;
  }

  /** Why the last attempt failed; null when it did not. */
  get blockedReason(): BlockedReason | null {
    return this.#state.row.blocked_reason;
  }

  isDirty(): boolean {
    if (this.#options.hasEnded?.()) return false;
    return this.#highest() > Math.max(this.flushedThrough, this.#empty);
  }

  /** When the alarm should call `run`, in ms since 1970; null when there is nothing to flush. */
  dueAt(now: number): number | null {
    if (!this.isDirty()) {
      this.#netAt = null;
      return null;
    }
    this.#netAt ??= now + NET_MS;
    return this.#running ? this.#netAt : (this.#state.row.retry_at ?? this.#netAt);
  }

  /** Flushes until nothing is pending, unless a failure's back-off runs. One at a time; never throws. */
  async run(now: number): Promise<void> {
    while (this.#running) await this.#running;
    const { retry_at } = this.#state.row;
    if (!this.isDirty() || (retry_at !== null && now < retry_at)) return;
    this.#netAt = now + NET_MS;
    await this.#exclusively(() => this.#flushAll(now));
  }

  /** Tries again what the ledger refused, one row a statement. One at a time with `run`; never throws. */
  async retrySetAside(): Promise<void> {
    while (this.#running) await this.#running;
    await this.#exclusively(() => this.#takeAgain());
  }

  status(): FlushStatus {
    const { flushed_through, failures, retry_at, blocked_reason } = this.#state.row;
    const pending = this.isDirty()
      ? this.#options.tables.map((table) => table.pending(flushed_through, BATCH_ROWS_MAX).length)
      : [];
    const lag_versions = pending.reduce((sum, count) => sum + count, 0);
    return { lag_versions, failures, retry_at, set_aside: this.setAside().length, blocked_reason };
  }

  /** What the ledger refused, for operators. */
  setAside(): SetAsideRow[] {
    return this.#state.setAside();
  }

  #highest(): number {
    if (this.#changed === null) {
      if (!this.#state.exists) return 0;
      this.#changed = Math.max(...this.#options.tables.map((table) => table.highestVersion()));
    }
    return this.#changed;
  }

  async #exclusively(work: () => Promise<void>): Promise<void> {
    const done = Promise.withResolvers<void>();
    this.#running = done.promise;
    try {
      await work();
    } finally {
      this.#running = null;
      done.resolve();
    }
  }

  async #flushAll(now: number): Promise<void> {
    const startedAt = Date.now();
    const tally = new RefusalTally();
    try {
      while (await this.#flushBatch(tally));
    } catch (error) {
      this.#backOff(now + Date.now() - startedAt, error);
    }
  }

  async #takeAgain(): Promise<void> {
    try {
      for (const { ledger, key, version } of this.#state.setAside()) {
        const rows = this.#options.tables
          .filter((table) => table.ledger === ledger)
          .flatMap((table) => table.read(version - 1, version).map((row) => ({ ledger: table.ledger, row })));
        if (rows.length === 0) continue;
        const refused = await deliver(rows, async (entries) => void (await this.#send(entries)));
        if (refused.length === 0) this.#state.taken(ledger, key);
      }
    } catch (error) {
      log.warn("flush.retry_failed", { object: this.#options.objectId(), reason: blockedReason(error) });
    }
  }

  /** False when nothing is pending. */
  async #flushBatch(tally: RefusalTally): Promise<boolean> {
    this.#state.reload();
    const from = this.flushedThrough;
    const batch = cutBatch(this.#options.tables, from);
    if (batch === null) {
      this.#empty = this.#highest();
      return false;
    }
    let generation: string | null = null;
    const send = async (entries: readonly FlushEntry[]) => {
      generation = await this.#send(entries);
    };
    const refused = await deliver(batch.entries, send, (ledger, key, failure) => tally.add(ledger, key, failure));
    if (refused.length > 0) {
      const standIns = refused.map(({ ledger, row }) => ({ ledger, row: standInFor(ledger, row) }));
      await deliver(standIns, send);
    }
    this.#options.storage.transactionSync(() => this.#settle(from, batch.through, batch.entries, refused, generation));
    this.#netAt = null;
    return true;
  }

  #settle(
    from: number,
    through: number,
    entries: readonly FlushEntry[],
    refused: readonly RefusedEntry[],
    generation: string | null,
  ): void {
    const { objectId } = this.#options;
    this.#state.reload();
    const known = this.#state.row;
    if (known.flushed_through !== from) return;
    this.#state.settle(entries, refused);
    for (const { ledger, key, row, sqlstate } of refused)
      log.warn("flush.row_set_aside", { object: objectId(), ledger, key, version: row.version, sqlstate });
    if (known.failures > 0) log.info("flush.recovered", { object: objectId(), failures: known.failures });
    if (generation === null || known.generation === null || known.generation === generation) {
      this.#state.advance(from, through, generation);
    } else {
      this.#state.startOver(generation);
      this.#empty = 0;
      log.warn("flush.started_over", { object: objectId(), generation });
    }
  }

  /** The database's generation. Throws a LedgerFailure, or Blocked. */
  async #send(entries: readonly FlushEntry[]): Promise<string> {
    const rows: { [Name in LedgerName]?: LedgerRow[] } = {};
    for (const { ledger, row } of entries) {
      rows[ledger] ??= [];
      rows[ledger].push(row);
    }
    const { objectId, epoch, write } = this.#options;
    const answer = await write({ objectId: objectId(), epoch: epoch(), rows });
    if (!answer.accepted) throw new Blocked(answer.reason);
    return answer.generation;
  }

  #backOff(now: number, error: unknown): void {
    const reason = blockedReason(error);
    const sqlstate = error instanceof LedgerFailure ? error.sqlstate : null;
    try {
      const { failures, blocked_reason } = this.#state.row;
      const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** (failures + 1));
      this.#state.fail(reason, Math.ceil(now + BACKOFF_MIN_MS + this.#random() * (ceiling - BACKOFF_MIN_MS)));
      if (blocked_reason !== reason)
        log.warn("flush.blocked", { object: this.#options.objectId(), reason, sqlstate, error: nameOf(error) });
    } catch (unwritable) {
      // The object's tables are gone: it was purged while a flush was under way.
      log.warn("flush.ended", { reason, error: nameOf(unwritable) });
    }
  }
}

function blockedReason(error: unknown): BlockedReason {
  if (error instanceof Blocked) return error.reason;
  return error instanceof LedgerFailure && error.schemaBehind ? "schema_behind" : "unavailable";
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "unknown";
}
