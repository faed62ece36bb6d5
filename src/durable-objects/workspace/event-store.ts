import type { RowIds } from "../../domain/row-id.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable, sizeOf } from "../shared/mirrored.ts";

interface EventRow extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  event_type: string;
  payload: string;
  created_at: number;
}

/** What is read of events at once; one always fits. */
const BATCH_CHARS_MAX = 1024 * 1024;

/** A recorded event on its way to ledger and hub. `createdAt` in µs. */
export interface RecordedEvent {
  readonly version: number;
  readonly event: string;
  readonly payload: string;
  readonly createdAt: number;
}

/** Events that history keeps. They live here until ledger and hub both have them. */
export class EventStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;
  readonly #ids: () => RowIds;

  constructor(sql: SqlStorage, nextVersion: () => number, ids: () => RowIds) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
    this.#ids = ids;
  }

  /** Records an event; `payload` is the JSON text of an object. */
  record(event: string, payload: string, nowUs: number): void {
    const seq = this.#nextVersion();
    this.#sql.exec(
      "INSERT INTO events (seq, version, event_type, payload, created_at) VALUES (?, ?, ?, ?, ?)",
      seq,
      seq,
      event,
      payload,
      nowUs,
    );
  }

  /** Events after a version, oldest first; `through` is how far they are complete. */
  after(version: number, limit: number): { recorded: RecordedEvent[]; through: number } {
    const recorded: RecordedEvent[] = [];
    let size = 0;
    for (const row of this.#sql.exec<EventRow>(
      "SELECT * FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
      version,
      limit,
    )) {
      recorded.push({ version: row.version, event: row.event_type, payload: row.payload, createdAt: row.created_at });
      size += row.payload.length;
      if (recorded.length === limit || size > BATCH_CHARS_MAX) return { recorded, through: row.version };
    }
    return { recorded, through: Number.POSITIVE_INFINITY };
  }

  /** When the oldest event was recorded, in µs; null when there is none. */
  oldest(): number | null {
    const [row] = this.#sql.exec<{ at: number }>("SELECT created_at AS at FROM events ORDER BY seq LIMIT 1").toArray();
    return row?.at ?? null;
  }

  /** Drops what everybody has, up to `limit` rows. */
  prune(through: number, limit: number): number {
    return this.#sql.exec(
      "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE seq <= ? ORDER BY seq LIMIT ?)",
      through,
      limit,
    ).rowsWritten;
  }

  mirror(workspaceId: () => string): MirroredTable {
    return mirroredTable<EventRow>(this.#sql, {
      ledger: "structure_events",
      table: "events",
      size: sizeOf("payload", "event_type"),
      toLedger: (row) => ({
        id: this.#ids().idOf(row.seq),
        workspace_id: workspaceId(),
        event_type: row.event_type,
        payload: row.payload,
        created_at: row.created_at,
        version: row.version,
      }),
    });
  }
}
