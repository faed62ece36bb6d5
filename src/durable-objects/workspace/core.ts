import type { Config } from "../../config.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { RowDomain } from "../../domain/row-id.ts";
import { RowIds } from "../../domain/row-id.ts";
import type { UploadLifetimes } from "../../domain/upload.ts";
import { type Database, openDatabase } from "../../ledgers/database.ts";
import { writeLedger } from "../../ledgers/ledger-write.ts";
import { Flush } from "../shared/flush.ts";
import { AuditStore } from "./audit-store.ts";
import { CallStore } from "./call-store.ts";
import { DelegationStore } from "./delegation-store.ts";
import { EventStore } from "./event-store.ts";
import { InboxStore } from "./inbox-store.ts";
import { MachineStore } from "./machine-store.ts";
import { ProfileStore } from "./profile-store.ts";
import { PurgeStore } from "./purge-store.ts";
import { QueueStore } from "./queue-store.ts";
import { ReceivedStore } from "./received-store.ts";
import { TokenStore } from "./token-store.ts";
import { UploadStore } from "./upload-store.ts";

/** How full an object may be and still take reports and notes of its own agent. */
const OWN_SHARE_MAX = 0.9;
const HOUR_MS = 60 * 60 * 1000;

/** The stores of one workspace and the counter they share; what the modules beside it work on. */
export class Core {
  readonly config: Config;
  readonly sql: SqlStorage;
  readonly profile: ProfileStore;
  readonly inbox: InboxStore;
  readonly tokens: TokenStore;
  readonly uploads: UploadStore;
  readonly events: EventStore;
  readonly calls: CallStore;
  readonly queue: QueueStore;
  readonly delegations: DelegationStore;
  readonly received: ReceivedStore;
  readonly audit: AuditStore;
  readonly machines: MachineStore;
  readonly purge: PurgeStore;
  readonly flush: Flush;
  readonly database: Database;
  readonly #ids = new Map<RowDomain, RowIds>();

  constructor(storage: DurableObjectStorage, env: Env, config: Config) {
    const { sql } = storage;
    this.config = config;
    this.sql = sql;
    const nextVersion = () => this.flush.nextVersion();
    const workspaceId = () => this.profile.get().workspaceId;
    this.profile = new ProfileStore(sql);
    this.inbox = new InboxStore(sql, nextVersion, () => this.ids("activity"), workspaceId);
    this.tokens = new TokenStore(sql, nextVersion, () => this.ids("token"));
    this.events = new EventStore(sql, nextVersion, () => this.ids("event"));
    this.calls = new CallStore(sql, nextVersion);
    this.queue = new QueueStore(sql, nextVersion, () => this.ids("queue"), workspaceId);
    this.delegations = new DelegationStore(sql, nextVersion);
    this.received = new ReceivedStore(sql);
    this.machines = new MachineStore(sql);
    this.purge = new PurgeStore(storage.kv);
    this.audit = new AuditStore(sql, nextVersion, () => this.ids("audit"), workspaceId);
    this.uploads = new UploadStore(sql, nextVersion, () => this.ids("file"), workspaceId, lifetimesOf(config));
    this.database = openDatabase(env);
    this.flush = new Flush({
      storage,
      objectId: workspaceId,
      epoch: () => this.profile.get().epoch,
      tables: [
        this.inbox.mirror(),
        this.tokens.mirror(workspaceId),
        this.events.mirror(workspaceId),
        this.uploads.mirror(),
        this.queue.mirror(),
        this.calls.numbers(),
        this.delegations.mirror(config.delegations.ledgerWrite),
        this.audit.mirror(),
      ],
      hasEnded: () => this.purge.endsFlushes,
      write: (batch) => writeLedger(this.database, batch),
    });
  }

  /** Ids of one kind of row; the key's check is computed once. */
  ids(domain: RowDomain): RowIds {
    let ids = this.#ids.get(domain);
    if (!ids) {
      ids = new RowIds(this.config.cursorKey, this.profile.get().workspaceId, domain);
      this.#ids.set(domain, ids);
    }
    return ids;
  }

  /** Refuses mail for an agent that has too much of it unread, or whose object is full. */
  requireRoom(): void {
    const { readSeq, ackedSeq } = this.profile.get();
    const unread = this.inbox.unread(Math.max(readSeq, ackedSeq));
    if (unread < this.config.INBOX_UNREAD_ROWS && this.sql.databaseSize < this.config.INBOX_BYTES) return;
    throw new Refusal("inbox.full", { retryAfter: 60 });
  }

  /** Refuses an agent's own words before they take the room that is left for its mail. */
  requireOwnRoom(): void {
    if (this.sql.databaseSize < this.config.INBOX_BYTES * OWN_SHARE_MAX) return;
    throw new Refusal("inbox.full", { retryAfter: 60 });
  }

  /** Drops what memory holds of rows, after a turn that was rolled back. */
  forget(): void {
    this.profile.forget();
    this.inbox.forget();
    this.tokens.forget();
    this.uploads.reconsider();
    this.delegations.forget();
    this.machines.forget();
    this.purge.forget();
    this.received.forget();
  }
}

function lifetimesOf(config: Config): UploadLifetimes {
  return {
    unackedMs: config.UPLOAD_TTL_HOURS * HOUR_MS,
    afterFetchMs: HOUR_MS,
    bytesGraceMs: HOUR_MS / 4,
    retentionMs: config.UPLOAD_RETENTION_HOURS * HOUR_MS,
  };
}
