import type { LedgerName, LedgerRow } from "../../ledgers/rows.ts";

/** A table whose changed rows the ledger mirrors. Versions are unique within it. */
export interface MirroredTable {
  readonly ledger: LedgerName;
  /** Ascending versions above `after`, with the rows' sizes, found without reading a body. */
  pending(after: number, limit: number): { version: number; bytes: number }[];
  /** The rows with `after` < version <= `through`. */
  read(after: number, through: number): LedgerRow[];
  /** 0 for an empty table. */
  highestVersion(): number;
}

export interface FlushEntry {
  readonly ledger: LedgerName;
  readonly row: LedgerRow;
}

export interface FlushBatch {
  /** The highest version in it; every pending row up to here is in it. */
  readonly through: number;
  readonly entries: readonly FlushEntry[];
}

export const BATCH_ROWS_MAX = 500;
export const BATCH_BYTES_MAX = 4 * 1024 * 1024;

/** The oldest changes above `after` of all tables, merged by version; null when there are none. */
export function cutBatch(tables: readonly MirroredTable[], after: number): FlushBatch | null {
  const pending = tables
    .flatMap((table) => table.pending(after, BATCH_ROWS_MAX).map((item) => ({ ...item, table })))
    .sort((one, other) => one.version - other.version);
  const touched = new Set<MirroredTable>();
  let through = after;
  let rows = 0;
  let bytes = 0;
  for (const item of pending) {
    const isFull = rows >= BATCH_ROWS_MAX || (rows > 0 && bytes + item.bytes > BATCH_BYTES_MAX);
    // Rows of several tables may share a version: the watermark must not pass between them.
    if (isFull && item.version > through) break;
    through = item.version;
    rows++;
    bytes += item.bytes;
    touched.add(item.table);
  }
  if (rows === 0) return null;
  const entries = [...touched].flatMap((table) =>
    table.read(after, through).map((row) => ({ ledger: table.ledger, row })),
  );
  return { through, entries };
}
