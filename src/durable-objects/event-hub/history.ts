import { type HubEvent, type NumberedEvent, storablePayload } from "../../domain/hub-event.ts";
import { type EventFilter, hears } from "../../domain/hub-listener.ts";

/** What is kept for those who come back. */
export const HISTORY_EVENTS_MAX = 5_000;
export const HISTORY_BYTES_MAX = 64 * 1024 * 1024;
/** More than this is not worth replaying: whoever missed so much reads the state anew. */
export const REPLAY_CHARS_MAX = 4 * 1024 * 1024;
/** Rows that one publication drops beyond what it added. */
const PRUNE_SLACK_ROWS = 50;

interface EventRow extends Record<string, SqlStorageValue> {
  number: number;
  ordinal: number;
  bytes_through: number;
  workspace_id: string;
  path: string;
  event: string;
  payload: string;
  timestamp: string;
}

type Tail = Pick<EventRow, "number" | "ordinal" | "bytes_through">;

/** The last events under the hub's own numbers, and how far each workspace has told. */
export class History {
  readonly #sql: SqlStorage;
  #tail: Tail | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The number of the newest event; 0 when there never was one. */
  head(): number {
    return this.#last().number;
  }

  /**
   * Takes what a workspace tells; call in one turn. What it has told before is left out, what it tells only once
   * (no version) is passed on and not kept.
   */
  take(workspaceId: string, path: readonly string[], events: readonly HubEvent[], now: number): NumberedEvent[] {
    const through = this.#toldThrough(workspaceId);
    const fresh = events.filter(({ version }) => version === null || version > through);
    const highest = Math.max(through, ...fresh.map(({ version }) => version ?? through));
    if (highest > through) {
      this.#sql.exec("INSERT OR REPLACE INTO hub_senders (workspace_id, through) VALUES (?, ?)", workspaceId, highest);
    }
    const pathText = JSON.stringify(path);
    const told = fresh.map(({ version, ...event }): NumberedEvent => {
      const numbered = { ...event, payload: storablePayload(event.payload), workspaceId };
      return { ...numbered, id: version === null ? this.head() : this.#keep(numbered, pathText, now) };
    });
    if (highest > through) this.#prune(told.length + PRUNE_SLACK_ROWS);
    return told;
  }

  /** What a listener missed; null when not all of it is here any more, or it is too much. */
  after(number: number, filter: EventFilter): NumberedEvent[] | null {
    const head = this.head();
    if (number === head) return [];
    const [oldest] = this.#sql.exec<{ number: number }>("SELECT number FROM hub_events ORDER BY number LIMIT 1");
    if (!oldest || number < oldest.number || number > head) return null;
    const missed: NumberedEvent[] = [];
    let size = 0;
    for (const row of this.#sql.exec<EventRow>("SELECT * FROM hub_events WHERE number > ? ORDER BY number", number)) {
      if (!hears(filter, row.workspace_id, JSON.parse(row.path) as string[])) continue;
      size += row.payload.length;
      if (size > REPLAY_CHARS_MAX) return null;
      missed.push({
        id: row.number,
        workspaceId: row.workspace_id,
        event: row.event,
        payload: row.payload,
        timestamp: row.timestamp,
      });
    }
    return missed;
  }

  /** Nothing of a purged workspace is told again but its removal; the newest event stays, because numbers follow it. */
  forgetWorkspace(workspaceId: string): void {
    this.#sql.exec(
      "DELETE FROM hub_events WHERE workspace_id = ? AND event <> 'WORKSPACE_REMOVED' AND number < ?",
      workspaceId,
      this.head(),
    );
    this.#sql.exec("DELETE FROM hub_senders WHERE workspace_id = ?", workspaceId);
  }

  /** False when the ticket has been spent before. */
  spend({ nonce, expiresAt }: { nonce: string; expiresAt: number }, now: number): boolean {
    this.#sql.exec("DELETE FROM hub_spent_tickets WHERE expires_at < ?", now);
    const inserted = this.#sql.exec(
      "INSERT OR IGNORE INTO hub_spent_tickets (nonce, expires_at) VALUES (?, ?) RETURNING nonce",
      nonce,
      expiresAt,
    );
    return inserted.toArray().length === 1;
  }

  /** Forgets what memory holds of the table, after a turn that was rolled back. */
  forget(): void {
    this.#tail = null;
  }

  #toldThrough(workspaceId: string): number {
    const [row] = this.#sql.exec<{ through: number }>(
      "SELECT through FROM hub_senders WHERE workspace_id = ?",
      workspaceId,
    );
    return row?.through ?? 0;
  }

  /**
   * Numbers follow the clock (in µs) and always rise: neither a hub that began anew nor one that was restored to an
   * earlier point gives a number twice.
   */
  #keep(event: Omit<NumberedEvent, "id">, path: string, now: number): number {
    const last = this.#last();
    const bytes = Buffer.byteLength(event.payload) + path.length;
    const tail = {
      number: Math.max(last.number + 1, now * 1000),
      ordinal: last.ordinal + 1,
      bytes_through: last.bytes_through + bytes,
    };
    this.#sql.exec(
      `INSERT INTO hub_events (number, ordinal, bytes_through, workspace_id, path, event, payload, timestamp)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
      tail.number,
      tail.ordinal,
      tail.bytes_through,
      event.workspaceId,
      path,
      event.event,
      event.payload,
      event.timestamp,
    );
    this.#tail = tail;
    return tail.number;
  }

  #prune(rows: number): void {
    const { ordinal, bytes_through: bytesThrough } = this.#last();
    const tooMany = (row: Tail) =>
      row.ordinal <= ordinal - HISTORY_EVENTS_MAX || row.bytes_through <= bytesThrough - HISTORY_BYTES_MAX;
    let through = 0;
    const oldest = "SELECT number, ordinal, bytes_through FROM hub_events ORDER BY number LIMIT ?";
    for (const row of this.#sql.exec<Tail & Record<string, SqlStorageValue>>(oldest, rows)) {
      if (!tooMany(row)) break;
      through = row.number;
    }
    if (through > 0) this.#sql.exec("DELETE FROM hub_events WHERE number <= ?", through);
  }

  #last(): Tail {
    this.#tail ??= this.#sql
      .exec<Tail & Record<string, SqlStorageValue>>(
        "SELECT number, ordinal, bytes_through FROM hub_events ORDER BY number DESC LIMIT 1",
      )
      .toArray()[0] ?? { number: 0, ordinal: 0, bytes_through: 0 };
    return this.#tail;
  }
}
