import { log } from "../log.ts";

/** Most workspaces that one sweep wakes; the rest are found by the next one. */
export const SWEEP_LIMIT = 500;
/** Objects woken at a time. */
export const SWEEP_CONCURRENCY = 6;

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
    for (let at = 0; at < ids.length; at += SWEEP_CONCURRENCY) {
      const results = await Promise.allSettled(ids.slice(at, at + SWEEP_CONCURRENCY).map((id) => deps.wake(id)));
      errors += results.filter(({ status }) => status === "rejected").length;
    }
  } catch {
    // The ledger is away; alarms and contacts do the same work meanwhile.
    errors += 1;
  }
  const woken = Math.max(0, scanned - errors);
  const summary = { scanned, woken, errors, duration_ms: deps.now() - startedAt };
  log.info(`sweep.${name}`, { ...summary });
  return summary;
}
