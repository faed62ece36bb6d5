import { configOf } from "../config.ts";
import { directoryStub, workspaceStub } from "../durable-objects/shared/stubs.ts";
import { dropOldActivity } from "../ledgers/activity-retention.ts";
import { openDatabase } from "../ledgers/database.ts";
import { findExpiringUploads } from "../ledgers/upload-ledger.ts";
import { log } from "../log.ts";
import { SWEEP_CONCURRENCY, type SweepSummary, sweep } from "./sweep.ts";

/** Crons of wrangler.toml. */
export const SWEEP_CRON = "* * * * *";
export const DAILY_CRON = "17 3 * * *";

/** When there is nothing in flight, Postgres may sleep this long. */
export const IDLE_SWEEP_INTERVAL_MS = 6 * 60 * 60 * 1000;
/** The next one when a sweep found something to do. */
const BUSY_SWEEP_INTERVAL_MS = 5 * 60 * 1000;

/**
 * One tick of a cron. It writes no state: it finds what is due and wakes the objects, which judge by their own rows.
 * A tick `byHand` always sweeps.
 */
export async function scheduled(
  controller: Pick<ScheduledController, "cron">,
  env: Env,
  byHand = false,
): Promise<void> {
  if (controller.cron === DAILY_CRON) {
    await scrub(env);
    await retainLedger(env);
    return;
  }
  const directory = directoryStub(env);
  if (!byHand && !(await directory.isSweepDue())) return;
  const { scanned } = await sweepUploads(env);
  await directory.sweptUntil(scanned > 0 ? BUSY_SWEEP_INTERVAL_MS : IDLE_SWEEP_INTERVAL_MS);
}

/** Files whose time is over and whose workspace's alarm was lost. */
function sweepUploads(env: Env): Promise<SweepSummary> {
  const database = openDatabase(env);
  return sweep("uploads", {
    find: (limit) => findExpiringUploads(database, limit),
    wake: (id) => workspaceStub(env, id).wake(),
    now: () => Date.now(),
  });
}

/** Wakes every live workspace once a day, so that whatever alarm was lost heals. Each one fails alone. */
async function scrub(env: Env): Promise<void> {
  const startedAt = Date.now();
  const directory = directoryStub(env);
  let scanned = 0;
  let errors = 0;
  for (let cursor: number | null = 0; cursor !== null; ) {
    const { ids, next }: { ids: string[]; next: number | null } = await directory.scrubSlice(cursor);
    for (let at = 0; at < ids.length; at += SWEEP_CONCURRENCY) {
      const slice = ids.slice(at, at + SWEEP_CONCURRENCY);
      const results = await Promise.allSettled(slice.map((id) => workspaceStub(env, id).scrub()));
      errors += results.filter(({ status }) => status === "rejected").length;
    }
    scanned += ids.length;
    cursor = next;
  }
  await directory.scrub();
  log.info("sweep.scrub", { scanned, errors, duration_ms: Date.now() - startedAt });
}

/** The only write that a cron makes: one bounded deletion of old history. */
async function retainLedger(env: Env): Promise<void> {
  const { LEDGER_RETENTION_DAYS } = configOf(env);
  if (LEDGER_RETENTION_DAYS === 0) return;
  try {
    const deleted = await dropOldActivity(openDatabase(env), LEDGER_RETENTION_DAYS);
    log.info("sweep.ledger_retention", { deleted });
  } catch (error) {
    log.warn("sweep.ledger_retention_failed", { reason: error instanceof Error ? error.message : "unknown" });
  }
}
