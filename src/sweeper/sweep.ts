import { log } from "../log.ts";
import { within } from "../time-limit.ts";

/** Most rows that one sweep looks at; the rest are found by the next one. */
export const SWEEP_LIMIT = 500;
/** Objects woken at a time. */
export const SWEEP_CONCURRENCY = 6;
/** How long one object may hold up its batch. */
export const WAKE_TIMEOUT_MS = 10_000;

/** What a sweep needs: it finds ids, the object of each one decides. */
export interface SweepDeps {
  /** Workspaces with something due, at most `limit`, by an index of the ledger. */
  find(limit: number): Promise<readonly string[]>;
  wake(workspaceId: string): Promise<void>;
  now(): number;
}

export interface SweepSummary {
  readonly scanned: number;
  readonly woken: number;
  readonly errors: number;
  readonly duration_ms: number;
}

/** Wakes what is due, each row failing alone, and says in one line how it went. Never throws. */
export async function sweep(name: string, deps: SweepDeps): Promise<SweepSummary> {
  const startedAt = deps.now();
  let scanned = 0;
  let errors = 0;
  try {
    const ids = await deps.find(SWEEP_LIMIT);
    scanned = ids.length;
    errors = await eachAlone(ids, (id) => deps.wake(id));
  } catch {
    // The ledger is away; alarms and contacts do the same work meanwhile.
    errors += 1;
  }
  const woken = Math.max(0, scanned - errors);
  const summary = { scanned, woken, errors, duration_ms: deps.now() - startedAt };
  log.info(`sweep.${name}`, { ...summary });
  return summary;
}

/** Does the work for each item, a few at a time, and counts those that failed or took too long. */
export async function eachAlone<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<unknown>,
  timeoutMs = WAKE_TIMEOUT_MS,
): Promise<number> {
  let failed = 0;
  for (let at = 0; at < items.length; at += SWEEP_CONCURRENCY) {
    const slice = items.slice(at, at + SWEEP_CONCURRENCY);
    const results = await Promise.allSettled(slice.map((item) => within(work(item), timeoutMs)));
    failed += results.filter(({ status }) => status === "rejected").length;
  }
  return failed;
}
