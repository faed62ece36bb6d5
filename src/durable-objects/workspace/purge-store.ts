/** The steps of a purge in their order; `done` is the tombstone, all that is left of the object. */
export const PURGE_STEPS = [
  "stop_machines",
  "tell_others",
  "delete_bytes",
  "forget_events",
  "flush",
  "end_flushes",
  "delete_ledger_rows",
  "delete_storage",
  "done",
] as const;
export type PurgeStep = (typeof PURGE_STEPS)[number];

/** How far a purge has come: the step that is to be taken next. Times in ms since 1970. */
export interface PurgeState {
  readonly workspaceId: string;
  readonly since: number;
  readonly step: PurgeStep;
  /** Failures of this step. */
  readonly failures: number;
  readonly retryAt: number;
}

const KEY = "purge";
const LAST_FLUSH = PURGE_STEPS.indexOf("flush");

/** One key beside the tables, because it outlives them. */
export class PurgeStore {
  readonly #kv: SyncKvStorage;
  #state: PurgeState | null | undefined;

  constructor(kv: SyncKvStorage) {
    this.#kv = kv;
  }

  /** Null while nobody wants this workspace purged. */
  get(): PurgeState | null {
    if (this.#state === undefined) this.#state = this.#kv.get<PurgeState>(KEY) ?? null;
    return this.#state;
  }

  put(state: PurgeState): void {
    this.#kv.put(KEY, state);
    this.#state = state;
  }

  /** Whether the ledger hears nothing more of this workspace. */
  get endsFlushes(): boolean {
    const state = this.get();
    return state !== null && PURGE_STEPS.indexOf(state.step) > LAST_FLUSH;
  }

  /** Drops what memory holds. */
  forget(): void {
    this.#state = undefined;
  }
}
