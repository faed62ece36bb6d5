import { Hono } from "hono";
import { statusCounts } from "../../domain/delegation-view.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { Gauges } from "../../durable-objects/directory/directory.ts";
import { openDatabase } from "../../ledgers/database.ts";
import {
  type DelegationStats,
  delegationStats,
  delegationTransitions,
  type Percentiles,
} from "../../ledgers/delegation-ledger.ts";
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
    const [stats, delegations, transitions, gauges] = await bounded(
      Promise.all([
        uploadStats(database),
        delegationStats(database),
        delegationTransitions(database),
        settled(directoryOf(c).gauges()),
      ]),
    );
    return textOf(stats, delegations, transitions, gauges);
  } catch (error) {
    log.warn("metrics.not_read", { reason: error instanceof Error ? error.name : "unknown" });
    return null;
  }
}

function textOf(
  stats: UploadStats,
  delegations: DelegationStats,
  transitions: Record<string, number>,
  gauges: Gauges,
): string {
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
    counter(
      "molecule_delegation_transitions_total",
      "Changes of delegations, by the event that told of them.",
      labelled("event", transitions),
    ),
    counter("molecule_delegation_retries_total", "Attempts after the first.", [["", delegations.retries]]),
    metric(
      "gauge",
      "molecule_delegations",
      "Delegations by status.",
      labelled("status", statusCounts(delegations.counts)),
    ),
    summary("molecule_delegation_age_seconds", "How long open delegations have been open.", delegations.age),
    summary(
      "molecule_delegation_duration_seconds",
      "How long delegations took that ended within a day.",
      delegations.duration,
    ),
    counter(
      "molecule_sweep_errors_total",
      "Objects and ledgers that did not answer a sweep.",
      labelled("sweep", gauges.sweepErrors),
    ),
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
  return metric("counter", name, help, samples);
}

function gauge(name: string, help: string, value: number): string {
  return metric("gauge", name, help, [["", value]]);
}

/** Quantiles without a sum, because they are of a window; NaN where nothing was observed. */
function summary(name: string, help: string, { p50, p95, p99 }: Percentiles): string {
  const quantiles = { "0.5": p50 ?? Number.NaN, "0.95": p95 ?? Number.NaN, "0.99": p99 ?? Number.NaN };
  return metric("summary", name, help, labelled("quantile", quantiles));
}

function labelled(label: string, values: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(values).map(([value, number]) => [`{${label}="${value}"}`, number]);
}

function metric(type: "counter" | "gauge" | "summary", name: string, help: string, samples: readonly Sample[]): string {
  const lines = samples.map(([labels, value]) => `${name}${labels} ${value}\n`);
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
}
