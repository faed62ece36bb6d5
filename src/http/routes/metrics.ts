import { Hono } from "hono";
import { Refusal } from "../../domain/refusal.ts";
import type { Gauges } from "../../durable-objects/directory/directory.ts";
import { openDatabase } from "../../ledgers/database.ts";
import { type UploadStats, uploadStats } from "../../ledgers/upload-ledger.ts";
import { log } from "../../log.ts";
import { settled } from "../ask.ts";
import { type AppContext, type AppEnv, directoryOf } from "../context.ts";
import { bounded, LOOK_TIMEOUT_MS, sharedLooks } from "../shared-look.ts";

type Sample = readonly [labels: string, value: number];

/** Prometheus text from the ledger and durable gauges, never from an isolate's memory; 503 without the ledger. */
export const metricsRoutes = new Hono<AppEnv>().get("/metrics", async (c) => {
  const text = await metrics(c.var.config).at(() => lookAround(c));
  if (text === null) throw new Refusal("platform_unavailable", { retryAfter: 5 });
  return new Response(text, { headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" } });
});

const metrics = sharedLooks<string | null>();

/** Null when something that is asked does not answer. */
async function lookAround(c: AppContext): Promise<string | null> {
  try {
    const database = openDatabase(c.env, LOOK_TIMEOUT_MS);
    const [stats, gauges] = await bounded(Promise.all([uploadStats(database), settled(directoryOf(c).gauges())]));
    return textOf(stats, gauges);
  } catch (error) {
    log.warn("metrics.not_read", { reason: error instanceof Error ? error.name : "unknown" });
    return null;
  }
}

function textOf(stats: UploadStats, gauges: Gauges): string {
  const { counters } = gauges;
  const failingFor = gauges.unflushedSince === null ? 0 : Math.max(0, (Date.now() - gauges.unflushedSince) / 1000);
  return [
    counter("molecule_pending_uploads_staged_total", "Files staged for polling agents.", [["", stats.staged]]),
    counter("molecule_pending_uploads_fetched_total", "Files fetched by their agents.", [["", stats.fetched]]),
    counter("molecule_pending_uploads_acked_total", "Files acknowledged by their agents.", [["", stats.acked]]),
    counter("molecule_pending_uploads_error_total", "Uploads that storage failed.", [["", counters.upload_error ?? 0]]),
    counter("molecule_pending_uploads_swept_total", "Files whose bytes were deleted, by outcome.", [
      ['{outcome="acked"}', stats.sweptAcked],
      ['{outcome="expired"}', stats.sweptExpired],
      ['{outcome="error"}', counters.upload_sweep_error ?? 0],
    ]),
    gauge("molecule_workspaces", "Live workspaces.", gauges.workspaces),
    gauge("molecule_ledger_set_aside_entries", "Rows and effects set aside for an operator.", gauges.setAside),
    gauge("molecule_ledger_flush_lag_seconds", "Seconds for which some object could not flush.", failingFor),
    gauge(
      "molecule_ledger_directory_lag_rows",
      "Rows of the directory that the ledger does not have.",
      gauges.flushLag,
    ),
  ].join("");
}

function counter(name: string, help: string, samples: readonly Sample[]): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} counter\n${samples.map(([labels, value]) => `${name}${labels} ${value}\n`).join("")}`;
}

function gauge(name: string, help: string, value: number): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`;
}
