import type { Database } from "../../ledgers/database.ts";
import { deleteWorkspaceRows, endFlushes, PURGE_ROWS_MAX } from "../../ledgers/purge-ledger.ts";
import { log } from "../../log.ts";
import type { BlobStore } from "../../storage/blob-store.ts";
import { workspacePrefix } from "../../storage/keys.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Schema } from "../shared/schema.ts";
import type { Core } from "./core.ts";
import { PURGE_STEPS, type PurgeState, type PurgeStep } from "./purge-store.ts";

/** Others who cannot be told for so long are not waited for. */
const TELLING_MAX_MS = 24 * 60 * 60_000;
const AGAIN_MIN_MS = 1_000;
const AGAIN_MAX_MS = 5 * 60_000;

export interface PurgeParts {
  readonly schema: Schema;
  readonly core: Core;
  readonly blobs: BlobStore | null;
  readonly database: Database;
  /** Tells hub and board what they have not heard; true when they, and the objects of other workspaces, have heard all. */
  tellOthers(now: number): Promise<boolean>;
  hasToldOthers(): boolean;
  /** The hub keeps nothing of this workspace but its end. */
  forgetEvents(workspaceId: string): Promise<void>;
  apply(work: (now: number) => void): Promise<void>;
}

/**
 * Leaves nothing of a removed workspace but a tombstone. Each step can be taken again, so that a crash anywhere only
 * repeats one. Steps that wait for other clocks look at the rows; those that call somebody else back off.
 */
export class Purge implements Clock {
  readonly name = "purge";
  readonly #parts: PurgeParts;
  #running: Promise<void> | null = null;

  constructor(parts: PurgeParts) {
    this.#parts = parts;
  }

  /** Begins, unless it has begun. */
  want(workspaceId: string, now: number): void {
    const { purge } = this.#parts.core;
    if (purge.get() !== null) return;
    purge.put({ workspaceId, since: now, step: PURGE_STEPS[0], failures: 0, retryAt: 0 });
    log.info("workspace.purge_wanted", { workspace_id: workspaceId });
  }

  /** There is nothing left but the tombstone. */
  get isDone(): boolean {
    return this.#parts.core.purge.get()?.step === "done";
  }

  dueAt(now: number): number | null {
    const state = this.#parts.core.purge.get();
    if (state === null || state.step === "done") return null;
    if (state.step === "tell_others" && this.#exists() && !this.#parts.hasToldOthers())
      return state.since + TELLING_MAX_MS;
    const waits =
      (state.step === "stop_machines" && !this.#hasStopped()) || (state.step === "flush" && !this.#hasFlushed());
    return waits ? null : Math.max(state.retryAt, now);
  }

  /** Takes step after step until one has to wait. One at a time; never throws. */
  run(): Promise<void> {
    this.#running ??= this.#proceed().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #proceed(): Promise<void> {
    const { purge } = this.#parts.core;
    for (let state = purge.get(); state !== null && state.step !== "done"; state = purge.get()) {
      const now = Date.now();
      if (state.retryAt > now || !(await this.#take(state, now))) return;
    }
  }

  /** False when the step is not over. */
  async #take(state: PurgeState, now: number): Promise<boolean> {
    const { workspaceId, step } = state;
    const startedAt = Date.now();
    try {
      const isOver = await this.#steps[step](state, now);
      if (!isOver) return false;
      if (step !== "delete_storage") this.#advance(state);
    } catch (error) {
      this.#postpone(state, now, error);
      return false;
    }
    log.info("workspace.purge_step", { workspace_id: workspaceId, step, duration_ms: Date.now() - startedAt });
    return true;
  }

  readonly #steps: Record<PurgeStep, (state: PurgeState, now: number) => boolean | Promise<boolean>> = {
    stop_machines: () => this.#hasStopped(),
    tell_others: async ({ since }, now) =>
      !this.#exists() || (await this.#parts.tellOthers(now)) || now >= since + TELLING_MAX_MS,
    delete_bytes: async (state) => {
      // Nobody may add to them from here on.
      if (this.#exists()) await this.#parts.apply((now) => this.#parts.core.uploads.endAll(now));
      return this.#deleteBytes(state);
    },
    forget_events: async ({ workspaceId }) => {
      await this.#parts.forgetEvents(workspaceId);
      return true;
    },
    flush: async (_, now) => {
      if (this.#exists()) await this.#parts.core.flush.run(now);
      return this.#hasFlushed();
    },
    end_flushes: async ({ workspaceId }) => {
      if (this.#hasLedger()) await endFlushes(this.#parts.database, workspaceId);
      return true;
    },
    delete_ledger_rows: async ({ workspaceId }) => {
      if (!this.#hasLedger()) return true;
      const rows = await deleteWorkspaceRows(this.#parts.database, workspaceId);
      log.info("workspace.purge_rows_deleted", { workspace_id: workspaceId, rows });
      return rows < PURGE_ROWS_MAX;
    },
    delete_storage: async (state) => {
      // An upload whose caller was slow may have left some.
      await this.#deleteBytes(state);
      const deleted = this.#parts.schema.deleteAll();
      // In the same breath: no request may find an object that nobody ever knew.
      this.#advance(state);
      await deleted;
      return true;
    },
    done: () => false,
  };

  /** False for an object that never heard of its creation; there is nothing in it. */
  #exists(): boolean {
    return this.#parts.schema.state === "ready";
  }

  #hasStopped(): boolean {
    return !this.#exists() || this.#parts.core.machines.get().machines.length === 0;
  }

  /** What a successor has taken over cannot be flushed any more, and without a ledger there is nothing to wait for. */
  #hasFlushed(): boolean {
    if (!this.#exists() || !this.#hasLedger()) return true;
    const { flush } = this.#parts.core;
    return !flush.isDirty() || flush.blockedReason === "superseded";
  }

  /** A deployment that lost its database's address is waited for until it has it again. */
  #hasLedger(): boolean {
    const { config, flush } = this.#parts.core;
    return config.databaseUrl !== "" || (this.#exists() && flush.flushedThrough > 0);
  }

  async #deleteBytes({ workspaceId }: PurgeState): Promise<true> {
    await this.#parts.blobs?.deleteUnder(workspacePrefix(workspaceId));
    return true;
  }

  #advance(state: PurgeState): void {
    const next = PURGE_STEPS[PURGE_STEPS.indexOf(state.step) + 1] ?? "done";
    this.#parts.core.purge.put({ ...state, step: next, failures: 0, retryAt: 0 });
  }

  #postpone(state: PurgeState, now: number, error: unknown): void {
    const failures = state.failures + 1;
    const wait = Math.min(AGAIN_MIN_MS * 2 ** failures, AGAIN_MAX_MS);
    this.#parts.core.purge.put({ ...state, failures, retryAt: Math.ceil(now + wait * (0.5 + Math.random() / 2)) });
    const reason = error instanceof Error ? error.name : "unknown";
    log.warn("workspace.purge_postponed", { workspace_id: state.workspaceId, step: state.step, failures, reason });
  }
}
