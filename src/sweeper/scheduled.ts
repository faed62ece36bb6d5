import { configOf } from "../config.ts";
import type { BegunSweep, SweepEnd, SweepName } from "../durable-objects/directory/sweep-plan.ts";
import type { Purging } from "../durable-objects/directory/tree.ts";
import { directoryStub, workspaceStub } from "../durable-objects/shared/stubs.ts";
import { dropOldActivity } from "../ledgers/activity-retention.ts";
import { openDatabase } from "../ledgers/database.ts";
import { findDueDelegations, type SweepCursor } from "../ledgers/delegation-ledger.ts";
import { findExpiringUploads } from "../ledgers/upload-ledger.ts";
import { log } from "../log.ts";
import { blobStoreOf } from "../storage/blob-store.ts";
import { deleteLeftovers } from "../storage/template-version.ts";
import { sweepDelegations } from "./delegation-sweep.ts";
import { eachAlone, sweep } from "./sweep.ts";

/** Crons of wrangler.toml. */
export const SWEEP_CRON = "* * * * *";
export const DAILY_CRON = "17 3 * * *";

/** How often a purge that is not done is looked after. */
const PURGE_LOOK_AGAIN_MS = 60 * 1000;
const FROM_THE_OLDEST: SweepCursor = { deadline: null, heartbeat: null };

/**
 * One tick of a cron. It writes no state: it finds what is due and wakes the objects, which judge by their own rows.
 * Only what no object owns it deletes itself, daily and bounded: old history, and what broken-off creations have left.
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
    await dropTemplateLeftovers(env);
    return;
  }
  const directory = directoryStub(env);
  const begun = await directory.beginSweeps({ againInMs: intervals(env), all: byHand });
  const ended = await Promise.allSettled(
    begun.map(async (sweep) => {
      if (sweep.name === "machines") return sweepMachines(env, sweep.ids);
      if (sweep.name === "purges") return sweepPurges(env, sweep.purges);
      return directory.endSweep(await runSweep(env, sweep));
    }),
  );
  const unplanned = ended.filter(({ status }) => status === "rejected").length;
  if (unplanned > 0) log.warn("sweep.not_planned", { sweeps: unplanned });
}

/** The sweeps that this deployment makes. Without their ledger, or switched off, delegations cost no statement. */
function intervals(env: Env): Partial<Record<SweepName, number>> {
  const { delegations, UPLOAD_SWEEP_INTERVAL_S } = configOf(env);
  const { sweeperOn, ledgerWrite, sweeperIntervalMs } = delegations;
  const uploads = UPLOAD_SWEEP_INTERVAL_S * 1000;
  return sweeperOn && ledgerWrite ? { uploads, delegations: sweeperIntervalMs } : { uploads };
}

function runSweep(env: Env, { name, cursor }: BegunSweep): Promise<SweepEnd> {
  switch (name) {
    case "uploads":
      return sweepUploads(env);
    case "delegations":
      return sweepOpenDelegations(env, cursor);
  }
}

/** Files whose time is over and whose workspace's alarm was lost. */
async function sweepUploads(env: Env): Promise<SweepEnd> {
  const database = openDatabase(env);
  const { scanned, errors } = await sweep("uploads", {
    find: (limit) => findExpiringUploads(database, limit),
    wake: (id) => workspaceStub(env, id).wake(),
    now: () => Date.now(),
  });
  return { name: "uploads", idle: scanned + errors === 0, cursor: null, errors };
}

/** Delegations past their deadline, or silent for too long, of which no alarm took care. */
async function sweepOpenDelegations(env: Env, cursor: string | null): Promise<SweepEnd> {
  const database = openDatabase(env);
  const { stuckThresholdMs } = configOf(env).delegations;
  const from = cursor === null ? FROM_THE_OLDEST : (JSON.parse(cursor) as SweepCursor);
  const { summary, anyOpen, next } = await sweepDelegations(from, {
    find: (after, limit) => findDueDelegations(database, { stuckThresholdMs, after, limit }),
    judge: (callerId, ids) => workspaceStub(env, callerId).sweepDelegations(ids),
    now: () => Date.now(),
  });
  return { name: "delegations", idle: !anyOpen, cursor: JSON.stringify(next), errors: summary.errors };
}

/** Machines that are to start or stop, and provisionings that may take too long. */
async function sweepMachines(env: Env, ids: readonly string[]): Promise<void> {
  const directory = directoryStub(env);
  await sweep("machines", {
    find: async () => ids,
    wake: async (id) => directory.lookedAfter({ id, due: await workspaceStub(env, id).lookAfterMachines() }),
    now: () => Date.now(),
  });
}

/** Purges that are not done: each object is told once more, also one that lost what it knew. */
async function sweepPurges(env: Env, purges: readonly Purging[]): Promise<void> {
  const directory = directoryStub(env);
  const byId = new Map(purges.map((purging) => [purging.workspaceId, purging]));
  await sweep("purges", {
    find: async () => [...byId.keys()],
    wake: async (id) => {
      const purging = byId.get(id);
      if (!purging) return;
      const { done } = await workspaceStub(env, id).purged(purging);
      await directory.lookedAfter({ id, due: done ? null : Date.now() + PURGE_LOOK_AGAIN_MS, purge: true });
    },
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
    errors += await eachAlone(ids, (id) => workspaceStub(env, id).scrub());
    scanned += ids.length;
    cursor = next;
  }
  await directory.scrub();
  log.info("sweep.scrub", { scanned, errors, duration_ms: Date.now() - startedAt });
}

/** Files of templates whose creation broke off, which nobody has ever seen; a bounded number of them. */
async function dropTemplateLeftovers(env: Env): Promise<void> {
  const blobs = blobStoreOf(env);
  if (blobs === null) return;
  try {
    log.info("sweep.template_leftovers", { deleted: await deleteLeftovers(blobs, Date.now()) });
  } catch (error) {
    log.warn("sweep.template_leftovers_failed", { reason: error instanceof Error ? error.message : "unknown" });
  }
}

/** One bounded deletion of old history. */
async function retainLedger(env: Env): Promise<void> {
  const { LEDGER_RETENTION_DAYS } = configOf(env);
  if (LEDGER_RETENTION_DAYS === 0) return;
  const startedAt = Date.now();
  const summary = await dropOldActivity(openDatabase(env), LEDGER_RETENTION_DAYS).then(
    (deleted) => ({ deleted, errors: 0 }),
    (error: unknown) => ({ deleted: 0, errors: 1, reason: error instanceof Error ? error.message : "unknown" }),
  );
  log.info("sweep.ledger_retention", { ...summary, duration_ms: Date.now() - startedAt });
}
