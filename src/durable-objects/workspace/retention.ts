import { log } from "../../log.ts";
import type { BlobStore } from "../../storage/blob-store.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** A pruned row stays a valid cursor this long. */
const STUB_MS = 90 * DAY_MS;
/** An ended delegation can be listed, retried and answered late this long. */
const DELEGATION_MS = 30 * DAY_MS;
const SLICE_ROWS = 500;

/** What the inbox forgets: mail that was read, after days; mail that was not, after weeks; never what is not in the ledger. */
export class Retention implements Clock {
  readonly name = "retention";
  readonly #core: Core;
  readonly #blobs: BlobStore | null;

  constructor(core: Core, blobs: BlobStore | null) {
    this.#core = core;
    this.#blobs = blobs;
  }

  dueAt(): number | null {
    const { inbox, events, delegations, received, config } = this.#core;
    const feedMs = config.ACTIVITY_RETENTION_DAYS * DAY_MS;
    const due = [
      ...[inbox.oldest(), events.oldest()].map((at) => at && at / 1000 + feedMs),
      ...[delegations.oldestEnded(), received.oldest()].map((at) => at && at + DELEGATION_MS),
    ].filter((at) => at !== null);
    return due.length === 0 ? null : Math.max(Math.min(...due), this.#notBefore);
  }

  /** Rows that may not go yet are looked at again later. */
  #notBefore = 0;

  async run(now: number): Promise<void> {
    const { inbox, events, profile, flush, config, delegations, received } = this.#core;
    const { readSeq, ackedSeq, lostSeq, hubThrough, workspaceId } = profile.get();
    const {
      pruned,
      lostSeq: lost,
      bodyKeys,
    } = inbox.prune(
      {
        before: (now - config.ACTIVITY_RETENTION_DAYS * DAY_MS) * 1000,
        unreadBefore: (now - config.ACTIVITY_UNREAD_RETENTION_DAYS * DAY_MS) * 1000,
        readThrough: Math.max(readSeq, ackedSeq),
        flushedThrough: flush.flushedThrough,
        spared: delegations.openRows(),
      },
      now,
      SLICE_ROWS,
    );
    if (lost > lostSeq) profile.set({ lostSeq: lost });
    profile.commit();
    inbox.dropStubs(now - STUB_MS, SLICE_ROWS);
    const before = now - DELEGATION_MS;
    const gone = [delegations.prune(before, flush.flushedThrough, SLICE_ROWS), received.prune(before, SLICE_ROWS)];
    events.prune(Math.min(flush.flushedThrough, hubThrough), SLICE_ROWS);
    this.#notBefore =
      Math.max(pruned, ...gone) === SLICE_ROWS ? 0 : now + config.ACTIVITY_CLEANUP_INTERVAL_HOURS * HOUR_MS;
    if (pruned > 0) log.info("inbox.pruned", { workspace_id: workspaceId, rows: pruned, unread: lost > lostSeq });
    if (this.#blobs && bodyKeys.length > 0) await this.#blobs.delete(bodyKeys);
  }
}
