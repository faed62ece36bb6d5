import type { LedgerName, LedgerRow } from "../../ledgers/rows.ts";
import type { MirroredTable } from "./flush.ts";

/**
 * SQL expression of a row's size: its texts, and what the rest comes to. `octet_length` reads the length from the
 * row's header, where `length` would read all of a text to count its characters.
 */
export function sizeOf(...texts: string[]): string {
  return `(${[`200`, ...texts.map((column) => `coalesce(octet_length(${column}), 0)`)].join(" + ")})`;
}

/**
 * A table whose rows the ledger mirrors: `seq INTEGER PRIMARY KEY`, `version INTEGER`, and a partial index on
 * `version WHERE version <> seq`, so that fresh rows are found by key and changed ones by the index.
 */
export function mirroredTable<Row extends Record<string, SqlStorageValue>>(
  sql: SqlStorage,
  options: {
    ledger: LedgerName;
    table: string;
    /** SQL expression of a row's size in bytes; see `sizeOf`. */
    size: string;
    /** Limits what is mirrored, e.g. away with rows that only stand for a pruned one. */
    toLedger: (row: Row & { seq: number; version: number }) => LedgerRow;
  },
): MirroredTable {
  const { ledger, table, size, toLedger } = options;
  const fresh = `seq > ?1 AND version = seq`;
  const changed = `version <> seq AND version > ?1`;
  return {
    ledger,
    pending: (after, limit) =>
      sql
        .exec<{ version: number; bytes: number }>(
          `SELECT version, ${size} AS bytes FROM ${table} WHERE ${fresh}
           UNION ALL SELECT version, ${size} AS bytes FROM ${table} WHERE ${changed} ORDER BY version LIMIT ?2`,
          after,
          limit,
        )
        .toArray(),
    read: (after, through) =>
      sql
        .exec<Row & { seq: number; version: number }>(
          `SELECT * FROM ${table} WHERE ${fresh} AND seq <= ?2
           UNION ALL SELECT * FROM ${table} WHERE ${changed} AND version <= ?2 ORDER BY version`,
          after,
          through,
        )
        .toArray()
        .map(toLedger),
    highestVersion: () => {
      const row = sql
        .exec<{ fresh: number | null; changed: number | null }>(
          `SELECT (SELECT max(seq) FROM ${table}) AS fresh, (SELECT max(version) FROM ${table} WHERE version <> seq) AS changed`,
        )
        .one();
      return Math.max(row.fresh ?? 0, row.changed ?? 0);
    },
  };
}
