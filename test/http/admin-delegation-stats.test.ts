import { env } from "cloudflare:workers";
import { expect, it, onTestFinished, vi } from "vitest";
import { aDatabase, query } from "../support/ledger.ts";
import { anAgent, call } from "../support/platform.ts";

// A ledger of this file's own, set before anything has read its configuration.
const url = await aDatabase();
env.DATABASE_URL = url;

const NOTHING = { p50: null, p95: null, p99: null };
const ZEROS = { queued: 0, dispatched: 0, in_progress: 0, completed: 0, failed: 0, stuck: 0, cancelled: 0 };

async function metrics(): Promise<string[]> {
  const { status, text } = await call("/metrics");
  expect(status).toBe(200);
  return text.split("\n");
}

it("an empty ledger counts seven zeros, and then the whole table, flat; percentiles stand apart", async () => {
  const empty = await call("/admin/delegations/stats");
  expect(empty.body).toEqual({ ...ZEROS, percentiles: { age_seconds: NOTHING, duration_seconds: NOTHING } });
  expect(Object.keys(empty.body).slice(0, 6)).toEqual([
    "queued",
    "dispatched",
    "in_progress",
    "completed",
    "failed",
    "stuck",
  ]);
  const silent = await metrics();
  expect(silent).toContain('molecule_delegations{status="stuck"} 0');
  expect(silent).toContain('molecule_delegation_duration_seconds{quantile="0.5"} NaN');
  expect(silent).toContain('molecule_delegation_transitions_total{event="DELEGATION_SENT"} 0');

  await query(
    `INSERT INTO delegations (caller_id, delegation_id, status, retry_count, created_at, ended_at, version)
     SELECT gen_random_uuid(), n::text, status, 1, now() - interval '1 minute',
       CASE WHEN status = 'completed' THEN now() - interval '30 seconds' END, 1
     FROM unnest(ARRAY['queued', 'stuck', 'completed', 'completed', 'cancelled']) WITH ORDINALITY AS one (status, n)`,
    [],
    url,
  );
  await query(
    `INSERT INTO structure_events (id, event_type, created_at, version)
     VALUES (gen_random_uuid(), 'DELEGATION_SENT', now(), 1), (gen_random_uuid(), 'DELEGATION_COMPLETE', now(), 2)`,
    [],
    url,
  );
  const { body } = await call("/admin/delegations/stats");
  expect(body).toMatchObject({ ...ZEROS, queued: 1, stuck: 1, completed: 2, cancelled: 1 });
  expect(body.percentiles.duration_seconds).toEqual({ p50: 30, p95: 30, p99: 30 });
  expect(body.percentiles.age_seconds.p99).toBeGreaterThanOrEqual(60);

  // Sweep errors are the directory's to tell, and there is one only where there is a workspace.
  await anAgent();
  // One look at the dependencies serves some seconds.
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10_000 });
  onTestFinished(() => void vi.useRealTimers());
  const lines = await metrics();
  for (const line of [
    'molecule_delegations{status="completed"} 2',
    'molecule_delegation_transitions_total{event="DELEGATION_SENT"} 1',
    'molecule_delegation_transitions_total{event="DELEGATION_COMPLETE"} 1',
    "molecule_delegation_retries_total 5",
    'molecule_delegation_duration_seconds{quantile="0.99"} 30',
    'molecule_sweep_errors_total{sweep="delegations"} 0',
  ]) {
    expect(lines).toContain(line);
  }
});
