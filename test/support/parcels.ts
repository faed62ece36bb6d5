import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { FLUSH_SCHEMA, Flush, type MirroredTable } from "../../src/durable-objects/shared/flush.ts";
import type { Database } from "../../src/ledgers/database.ts";
import { type LedgerBatch, writeLedger } from "../../src/ledgers/ledger-write.ts";
import type { LedgerName } from "../../src/ledgers/rows.ts";

type ParcelRow = { id: string; version: number; summary: string | null; weight: number | null; created_at: number };

const CREATED_US = 1_790_000_000_000_001;

/** A table of a real object, mirrored into `ledger`; a weight above 2^31 is one that activity_logs refuses. */
export class Parcels implements MirroredTable {
  constructor(
    readonly sql: SqlStorage,
    readonly ledger: LedgerName,
    readonly workspaceId: string,
  ) {}

  create(): void {
    this.sql.exec(
      `CREATE TABLE ${this.ledger} (id TEXT PRIMARY KEY, version INTEGER, summary TEXT, weight REAL, created_at INTEGER)`,
    );
  }

  put(version: number, more: Partial<ParcelRow> = {}): string {
    const { id = crypto.randomUUID(), summary = null, weight = null, created_at = CREATED_US } = more;
    this.sql.exec(
      `INSERT OR REPLACE INTO ${this.ledger} VALUES (?, ?, ?, ?, ?)`,
      id,
      version,
      summary,
      weight,
      created_at,
    );
    return id;
  }

  pending(after: number, limit: number): { version: number; bytes: number }[] {
    return this.sql
      .exec<{ version: number; bytes: number }>(
        `SELECT version, 100 + coalesce(length(summary), 0) AS bytes FROM ${this.ledger} WHERE version > ? ORDER BY version LIMIT ?`,
        after,
        limit,
      )
      .toArray();
  }

  read(after: number, through: number) {
    return this.sql
      .exec<ParcelRow>(`SELECT * FROM ${this.ledger} WHERE version > ? AND version <= ?`, after, through)
      .toArray()
      .map(({ id, version, summary, weight, created_at }) => {
        const shared = { id, workspace_id: this.workspaceId, created_at, version };
        if (this.ledger === "structure_events") return { ...shared, payload: summary };
        return { ...shared, seq: version, summary, duration_ms: weight };
      });
  }

  highestVersion(): number {
    return this.sql.exec<{ last: number }>(`SELECT coalesce(max(version), 0) AS last FROM ${this.ledger}`).one().last;
  }
}

/** An object with two mirrored tables, in the middle of its turn. */
export interface Post {
  readonly storage: DurableObjectStorage;
  readonly id: string;
  readonly parcels: Parcels;
  readonly events: Parcels;
  readonly flush: Flush;
  /** Another one on the same storage, as after the object lost its memory. */
  reborn(): Flush;
  /** A parcel with the next version. */
  post(more?: Partial<ParcelRow>): string;
}

export interface PostOptions {
  readonly epoch?: number;
  readonly random?: () => number;
  readonly hasEnded?: () => boolean;
  /** Called with each batch before it is written. */
  readonly onWrite?: (batch: LedgerBatch, post: Post) => void;
}

/** Runs the test inside a real object of its own, which nobody has written to unless `born`. */
export async function inPost(
  database: Database,
  test: (post: Post) => Promise<void>,
  options: PostOptions & { born?: boolean } = {},
): Promise<void> {
  const stub = env.WORKSPACE.getByName(crypto.randomUUID());
  await runInDurableObject(stub, async (_object, { storage }) => {
    const id = crypto.randomUUID();
    const parcels = new Parcels(storage.sql, "activity_logs", id);
    const events = new Parcels(storage.sql, "structure_events", id);
    const reborn = () =>
      new Flush({
        storage,
        objectId: () => id,
        epoch: () => options.epoch ?? 0,
        tables: [parcels, events],
        write: (batch) => {
          options.onWrite?.(batch, post);
          return writeLedger(database, batch);
        },
        ...(options.hasEnded ? { hasEnded: options.hasEnded } : {}),
        ...(options.random ? { random: options.random } : {}),
      });
    const flush = reborn();
    const put = (more?: Partial<ParcelRow>) => parcels.put(flush.nextVersion(), more);
    const post: Post = { storage, id, parcels, events, flush, reborn, post: put };
    if (options.born !== false) {
      storage.sql.exec(FLUSH_SCHEMA);
      parcels.create();
      events.create();
    }
    await test(post);
  });
}
