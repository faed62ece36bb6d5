import { env } from "cloudflare:test";
import fc from "fast-check";
import { afterAll, expect, it, vi } from "vitest";
import {
  CHOICES,
  DelegationTown,
  type LedgerExpectation,
  Residents,
  type TownClock,
} from "./support/delegation-town.ts";
import { back, query } from "./support/ledger.ts";
import { RoughNetwork } from "./support/rough-network.ts";
import { until } from "./support/until.ts";

const SCHEDULES = 500;
const STEPS_MAX = 8;
const DAY_MS = 24 * 60 * 60_000;

/** What the schedules must come across, or they prove nothing. */
const HAPPENS = [
  "cancelled by platform",
  "completed by callee",
  "completed by caller",
  "failed by callee",
  "failed by platform",
  "late",
  "removed",
  "retried",
  "stuck",
];

const aSchedule = fc.array(fc.nat(CHOICES - 1), { minLength: 4, maxLength: STEPS_MAX, size: "max" });

afterAll(async () => {
  vi.useRealTimers();
  await back();
});

/** The runtime's own alarms lie in this clock's past or far future: only a schedule's steps ring them. */
function aClock(): TownClock {
  let now = Date.now() + 30 * DAY_MS;
  vi.useFakeTimers({ toFake: ["Date"], now });
  return {
    get now() {
      return now;
    },
    set(to) {
      now = to;
      vi.setSystemTime(to);
    },
  };
}

/** A failure prints seed and path; `{ seed, path }` beside `numRuns` replays it. */
it("real objects on a rough network: one end per attempt, every text told once, nothing left, and the ledger agrees", async () => {
  const clock = aClock();
  const network = new RoughNetwork();
  const residents = new Residents();
  const expected: LedgerExpectation[] = [];
  await network.during(() =>
    fc.assert(
      fc.asyncProperty(aSchedule, async (choices) => {
        expected.push(...(await DelegationTown.live(choices, residents, network, clock)));
      }),
      { numRuns: SCHEDULES },
    ),
  );
  expect(HAPPENS.filter((event) => (DelegationTown.happened.get(event) ?? 0) < 5)).toEqual([]);
  const ids = [...new Set(expected.map(({ caller_id }) => caller_id))];
  await until("the ledger equals the objects", async () => {
    const rows = await query(
      `SELECT caller_id, delegation_id, status, result_preview, error_detail, version FROM delegations
       WHERE caller_id = ANY ($1::uuid[])`,
      [ids],
    );
    if (sameRows(rows, expected.map(inLedger))) return true;
    // A removed caller whose last flush failed has nobody else to wake it under this clock.
    clock.set(clock.now + 10 * 60_000);
    await Promise.all(ids.map((id) => env.WORKSPACE.get(env.WORKSPACE.idFromName(id)).wake()));
    return false;
  });
  await until("each has begun with its being sent, and every attempt ended once", async () => {
    const rows = await query(
      `SELECT workspace_id AS caller_id, payload::jsonb->>'delegation_id' AS delegation_id, min(payload::jsonb->>'target_id') AS target_id,
              count(*) FILTER (WHERE event_type IN ('DELEGATION_COMPLETE', 'DELEGATION_FAILED'))::int AS ends,
              count(*) FILTER (WHERE payload::jsonb->>'target_id' IS NULL)::int AS untargeted,
              (array_agg(event_type ORDER BY version))[1] AS first
       FROM structure_events WHERE workspace_id = ANY ($1::uuid[]) AND event_type LIKE 'DELEGATION_%' GROUP BY 1, 2`,
      [ids],
    );
    const wanted = expected.map(({ caller_id, delegation_id, target_id, ends }) => {
      return { caller_id, delegation_id, target_id, ends, untargeted: 0, first: "DELEGATION_SENT" };
    });
    return sameRows(rows, wanted);
  });
}, 240_000);

function inLedger({ target_id: _target, ends: _ends, ...row }: LedgerExpectation): Record<string, unknown> {
  return row;
}

function sameRows(rows: readonly Record<string, unknown>[], wanted: readonly Record<string, unknown>[]): boolean {
  return JSON.stringify(rows.map(asText).sort()) === JSON.stringify(wanted.map(asText).sort());
}

function asText(row: Record<string, unknown>): string {
  const members = Object.entries(row).map(([name, value]) => [name, name === "version" ? Number(value) : value]);
  return JSON.stringify(members.sort());
}
