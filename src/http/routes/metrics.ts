import { Hono } from "hono";
import { openDatabase } from "../../ledgers/database.ts";
import { uploadStats } from "../../ledgers/upload-ledger.ts";
import { settled } from "../ask.ts";
import { type AppEnv, directoryOf } from "../context.ts";

type Sample = readonly [labels: string, value: number];

/** Prometheus text from the ledger and durable gauges, never from an isolate's memory; 503 without the ledger. */
export const metricsRoutes = new Hono<AppEnv>().get("/metrics", async (c) => {
  const [stats, gauges] = await Promise.all([uploadStats(openDatabase(c.env)), settled(directoryOf(c).gauges())]);
  const { counters } = gauges;
  const failingFor = gauges.unflushedSince === null ? 0 : Math.max(0, (Date.now() - gauges.unflushedSince) / 1000);
  const text = [
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
  return new Response(text, { headers: { "Content-Type": "text/plain; version=0.0.4; charset=utf-8" } });
});

function counter(name: string, help: string, samples: readonly Sample[]): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} counter\n${samples.map(([labels, value]) => `${name}${labels} ${value}\n`).join("")}`;
}

function gauge(name: string, help: string, value: number): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${name} ${value}\n`;
}
