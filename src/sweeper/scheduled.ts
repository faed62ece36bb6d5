import { directoryStub, workspaceStub } from "../durable-objects/shared/stubs.ts";
import { log } from "../log.ts";

/** Crons of wrangler.toml; nothing here writes state, each object judges by its own rows. */
export const SWEEP_CRON = "* * * * *";
export const SCRUB_CRON = "17 3 * * *";

const CONCURRENCY = 6;

/** One tick of a cron. */
export async function scheduled(controller: Pick<ScheduledController, "cron">, env: Env): Promise<void> {
  if (controller.cron === SCRUB_CRON) await scrub(env);
}

/** Wakes every live workspace once a day, so that a lost alarm heals. Each one fails alone. */
export async function scrub(env: Env): Promise<{ scanned: number; errors: number }> {
  const startedAt = Date.now();
  const directory = directoryStub(env);
  let scanned = 0;
  let errors = 0;
  for (let cursor: number | null = 0; cursor !== null; ) {
    const { ids, next } = await directory.scrubSlice(cursor);
    for (let at = 0; at < ids.length; at += CONCURRENCY) {
      const results = await Promise.allSettled(
        ids.slice(at, at + CONCURRENCY).map((id) => workspaceStub(env, id).wake()),
      );
      errors += results.filter(({ status }) => status === "rejected").length;
    }
    scanned += ids.length;
    cursor = next;
  }
  log.info("sweep.scrub", { scanned, errors, duration_ms: Date.now() - startedAt });
  return { scanned, errors };
}
