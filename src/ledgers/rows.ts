import { getTableConfig, type PgColumn } from "drizzle-orm/pg-core";
import { LEDGERS } from "./schema.ts";

export type LedgerName = keyof typeof LEDGERS;

/**
 * A row as an object hands it over, keyed by column name: times are integer microseconds since the epoch, bodies are
 * text, a column left out is NULL. `version` is the object's number of the row's last change.
 */
export type LedgerRows = { [Name in LedgerName]: (typeof LEDGERS)[Name]["$inferInsert"] };
export type LedgerRow = LedgerRows[LedgerName];

/** Below every version of an object, so that a row that stands for another never replaces one. */
const STAND_IN_VERSION = 0;

const columns = Object.fromEntries(
  Object.entries(LEDGERS).map(([name, table]) => [name, getTableConfig(table).columns]),
) as Record<LedgerName, PgColumn[]>;

export function columnsOf(ledger: LedgerName): readonly PgColumn[] {
  return columns[ledger];
}

/** The value of the row's primary key. */
export function keyOf(ledger: LedgerName, row: LedgerRow): string {
  const values: Record<string, unknown> = row;
  return columnsOf(ledger)
    .filter((column) => column.primary)
    .map((column) => String(values[column.name]))
    .join();
}

/** What is left of a row that Postgres refuses: ids, order and required times, no text of anybody. */
export function standInFor(ledger: LedgerName, row: LedgerRow): LedgerRow {
  const kept = columnsOf(ledger).filter((column) => column.notNull || column.getSQLType() === "uuid");
  const values: Record<string, unknown> = row;
  const standIn = Object.fromEntries(kept.map((column) => [column.name, values[column.name]]));
  return { ...standIn, version: STAND_IN_VERSION } as LedgerRow;
}
