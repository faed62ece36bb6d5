import { LedgerFailure } from "../../ledgers/failure.ts";
import { keyOf } from "../../ledgers/rows.ts";
import type { FlushEntry } from "./flush-batch.ts";

export interface RefusedEntry extends FlushEntry {
  readonly key: string;
  readonly sqlstate: string;
}

/** Why nothing is flushed at the moment, in words that an operator can act on. */
export type BlockedReason =
  | "unavailable"
  /** This Worker is newer than the database: run the migrations. */
  | "schema_behind"
  /** Rows are refused one after the other for the same cause, so the database's schema is at fault. */
  | "schema_refuses"
  /** A rebuilt object of a higher epoch has taken over. */
  | "superseded"
  /** The database belongs to another deployment. */
  | "foreign_deployment";

/** Ends a flush without anything being set aside. */
export class Blocked extends Error {
  override readonly name = "Blocked";

  constructor(readonly reason: BlockedReason) {
    super(`ledger flush is blocked: ${reason}`);
  }
}

/** So many different rows with one SQLSTATE and one column mean the schema, not the rows. */
export const SAME_REFUSALS_MAX = 8;

/** Counts different rows by the cause of their refusal, over one run. */
export class RefusalTally {
  readonly #keys = new Map<string, Set<string>>();

  /** Throws Blocked when the cause has refused too many rows. */
  add(ledger: string, key: string, failure: LedgerFailure): void {
    const cause = `${ledger} ${failure.sqlstate} ${failure.subject}`;
    const keys = this.#keys.get(cause) ?? new Set();
    this.#keys.set(cause, keys.add(key));
    if (keys.size >= SAME_REFUSALS_MAX) throw new Blocked("schema_refuses");
  }
}

/**
 * Sends the entries, and finds by halving the ones that the ledger refuses; all others are written then.
 * `onRefused` may throw to give up.
 */
export async function deliver(
  entries: readonly FlushEntry[],
  send: (entries: readonly FlushEntry[]) => Promise<void>,
  onRefused: (ledger: string, key: string, failure: LedgerFailure) => void = () => {},
): Promise<RefusedEntry[]> {
  try {
    await send(entries);
    return [];
  } catch (error) {
    if (!(error instanceof LedgerFailure) || error.kind !== "refused") throw error;
    if (entries.length > 1) {
      const middle = entries.length >> 1;
      const first = await deliver(entries.slice(0, middle), send, onRefused);
      return [...first, ...(await deliver(entries.slice(middle), send, onRefused))];
    }
    return entries.map((entry) => {
      const key = keyOf(entry.ledger, entry.row);
      onRefused(entry.ledger, key, error);
      return { ...entry, key, sqlstate: String(error.sqlstate) };
    });
  }
}
