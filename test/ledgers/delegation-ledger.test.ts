import { beforeAll, describe, expect, it } from "vitest";
import { DELEGATION_STATUSES, type DelegationStatus } from "../../src/domain/delegation.ts";
import {
  callersOf,
  type DelegationSearch,
  DUE_DELEGATIONS,
  delegationStats,
  delegationTransitions,
  findDueDelegations,
  listDelegations,
  type SweepCursor,
  TEXT_SEARCH_ROWS_MAX,
} from "../../src/ledgers/delegation-ledger.ts";
import { writeLedger } from "../../src/ledgers/ledger-write.ts";
import { keyOf, type LedgerRows, standInFor } from "../../src/ledgers/rows.ts";
import { aDatabase, aLane, away, laneDatabase, query, statements } from "../support/ledger.ts";

const NOON_US = Date.UTC(2026, 10, 20, 12) * 1000;
const MINUTE_US = 60_000_000;
const HOUR_US = 60 * MINUTE_US;
const STUCK_THRESHOLD_MS = 10 * 60_000;
const FROM_THE_OLDEST = { deadline: null, heartbeat: null };
const EVERYTHING: DelegationSearch = {
  statuses: DELEGATION_STATUSES,
  callerId: null,
  calleeId: null,
  text: null,
  after: null,
  limit: 100,
};

type Row = LedgerRows["delegations"];

function aRow(more: Partial<Row> = {}): Row {
  return {
    caller_id: crypto.randomUUID(),
    delegation_id: crypto.randomUUID(),
    callee_id: crypto.randomUUID(),
    task_preview: "count the sheep",
    status: "dispatched",
    deadline: NOON_US + 6 * HOUR_US,
    retry_count: 0,
    created_at: NOON_US,
    updated_at: NOON_US,
    version: 1,
    ...more,
  };
}

function put(url: string, ...rows: Row[]) {
  const batch = { objectId: crypto.randomUUID(), epoch: 0, rows: { delegations: rows } };
  return writeLedger(laneDatabase(aLane(), { url }), batch);
}

/** `now` of the server, so that what is due does not depend on this machine's clock. */
async function serverNowUs(url: string): Promise<number> {
  const [row] = await query("SELECT (extract(epoch FROM now()) * 1000000)::bigint AS us", [], url);
  return Number(row?.us);
}

describe("a delegation in the ledger", () => {
  let url = "";
  beforeAll(async () => {
    url = await aDatabase();
  });

  const stored = async ({ caller_id, delegation_id }: Row) => {
    const [row] = await query(
      "SELECT status, result_preview, version::int FROM delegations WHERE caller_id = $1 AND delegation_id = $2",
      [caller_id, delegation_id],
      url,
    );
    return row;
  };

  it("is replaced by a higher version; a lower or a repeated one changes nothing", async () => {
    const row = aRow({ version: 5, status: "completed", result_preview: "seven" });
    await put(url, row);
    for (const version of [4, 5]) await put(url, { ...row, version, status: "failed", result_preview: null });
    expect(await stored(row)).toEqual({ status: "completed", result_preview: "seven", version: 5 });
    await put(url, { ...row, version: 6, result_preview: "eight" });
    expect(await stored(row)).toEqual({ status: "completed", result_preview: "eight", version: 6 });
  });

  it("is known by its caller and its id: two callers may use one id", async () => {
    const one = aRow({ delegation_id: "nightly", status: "failed" });
    const other = aRow({ delegation_id: "nightly", status: "completed" });
    await put(url, one, other);
    expect(await stored(one)).toMatchObject({ status: "failed" });
    expect(await stored(other)).toMatchObject({ status: "completed" });
    const database = laneDatabase(aLane(), { url });
    expect(await callersOf(database, "nightly")).toEqual([one.caller_id, other.caller_id].sort());
    expect(await callersOf(database, "nobody's")).toEqual([]);
    expect(keyOf("delegations", one)).toBe(`${one.caller_id},nightly`);
  });

  it("that Postgres refused stands there with its ids, is listed nowhere and counted at no status", async () => {
    const row = aRow({ version: 3, task_preview: "private words" });
    const standIn = standInFor("delegations", row);
    const { caller_id, delegation_id, callee_id, created_at } = row;
    expect(standIn).toEqual({ caller_id, delegation_id, callee_id, created_at, version: 0 });
    const own = await aDatabase();
    await put(own, standIn as Row);
    const database = laneDatabase(aLane(), { url: own });
    expect(await listDelegations(database, EVERYTHING)).toEqual([]);
    expect((await delegationStats(database)).counts).toEqual(new Map());
  });

  it("keeps every value as it was", async () => {
    const row = aRow({
      status: "failed",
      last_heartbeat: NOON_US + 1,
      ended_at: NOON_US + MINUTE_US,
      error_detail: "名前 🐎 'quoted'",
      result_preview: "so far",
      idempotency_key: "key",
      delivery_confirmed: false,
      retry_count: 2,
    });
    await put(url, row);
    const database = laneDatabase(aLane(), { url });
    const [found] = await listDelegations(database, { ...EVERYTHING, callerId: row.caller_id });
    expect(found).toEqual({
      row: {
        callerId: row.caller_id,
        delegationId: row.delegation_id,
        calleeId: row.callee_id,
        taskPreview: "count the sheep",
        status: "failed",
        lastHeartbeat: NOON_US / 1000,
        deadline: (NOON_US + 6 * HOUR_US) / 1000,
        resultPreview: "so far",
        errorDetail: "名前 🐎 'quoted'",
        retryCount: 2,
        createdAt: NOON_US / 1000,
        updatedAt: NOON_US / 1000,
        endedAt: (NOON_US + MINUTE_US) / 1000,
        idempotencyKey: "key",
        deliveryConfirmed: false,
      },
      cursor: { callerId: row.caller_id, delegationId: row.delegation_id, createdAt: NOON_US },
    });
  });

  it("is shown even where most of it is missing", async () => {
    const callerId = crypto.randomUUID();
    await put(url, { caller_id: callerId, delegation_id: "bare", status: "queued", created_at: NOON_US, version: 1 });
    const [found] = await listDelegations(laneDatabase(aLane(), { url }), { ...EVERYTHING, callerId });
    expect(found?.row).toMatchObject({ calleeId: "", taskPreview: "", retryCount: 0, deadline: NOON_US / 1000 });
  });
});

describe("the list of delegations", () => {
  let url = "";
  const callee = crypto.randomUUID();
  const oldest = aRow({ callee_id: callee, created_at: NOON_US - HOUR_US, result_preview: "Ein Schäfchen" });
  const twins = [
    aRow({ created_at: NOON_US + 7, error_detail: "50% of_all" }),
    aRow({ created_at: NOON_US + 7, status: "completed" }),
  ];
  const newest = aRow({ created_at: NOON_US + HOUR_US, task_preview: "SHEAR them" });

  beforeAll(async () => {
    url = await aDatabase();
    await put(url, ...twins, newest, oldest);
  });

  const ids = async (search: Partial<DelegationSearch>) => {
    const found = await listDelegations(laneDatabase(aLane(), { url }), { ...EVERYTHING, ...search });
    return found.map(({ row }) => row.delegationId);
  };

  it("is the newest first, by status, caller and callee", async () => {
    const all = await ids({});
    expect([all[0], all[3]]).toEqual([newest.delegation_id, oldest.delegation_id]);
    expect(await ids({ statuses: ["completed"] })).toEqual([twins[1]?.delegation_id]);
    expect(await ids({ callerId: newest.caller_id })).toEqual([newest.delegation_id]);
    expect(await ids({ calleeId: callee })).toEqual([oldest.delegation_id]);
    expect(await ids({ calleeId: callee, callerId: newest.caller_id })).toEqual([]);
  });

  it("looks for a text in the task, the result, the error and the id, without regard to case or wildcards", async () => {
    expect(await ids({ text: "shear" })).toEqual([newest.delegation_id]);
    expect(await ids({ text: "eIN Schäf" })).toEqual([oldest.delegation_id]);
    expect(await ids({ text: "50% OF_ALL" })).toEqual([twins[0]?.delegation_id]);
    expect(await ids({ text: newest.delegation_id.toUpperCase() })).toEqual([newest.delegation_id]);
    expect(await ids({ text: "%" })).toEqual([twins[0]?.delegation_id]);
    expect(await ids({ text: "'; DROP TABLE delegations; --" })).toEqual([]);
    expect(TEXT_SEARCH_ROWS_MAX).toBe(10_000);
  });

  it("goes on behind any row, also among rows of one microsecond, and shows each row once", async () => {
    const seen: string[] = [];
    for (let after: DelegationSearch["after"] = null, page = 0; page < 5; page++) {
      const database = laneDatabase(aLane(), { url });
      const [found] = await listDelegations(database, { ...EVERYTHING, after, limit: 1 });
      if (!found) break;
      seen.push(found.row.delegationId);
      after = found.cursor;
    }
    expect(seen).toEqual(await ids({}));
    expect(new Set(seen).size).toBe(4);
  });

  it("is one statement, and unavailable while Postgres is away", async () => {
    const lane = aLane();
    await listDelegations(laneDatabase(lane, { url }), { ...EVERYTHING, text: "sheep" });
    expect(await statements(lane)).toBe(1);
    await away(lane);
    await expect(listDelegations(laneDatabase(lane, { url }), EVERYTHING)).rejects.toMatchObject({
      kind: "unavailable",
    });
  });
});

describe("the counts of delegations", () => {
  it("are empty in an empty ledger, and then those of the whole table", async () => {
    const url = await aDatabase();
    const none = { p50: null, p95: null, p99: null };
    const database = laneDatabase(aLane(), { url });
    expect(await delegationStats(database)).toEqual({ counts: new Map(), retries: 0, age: none, duration: none });
    const nowUs = await serverNowUs(url);
    const ended = (seconds: number): Partial<Row> => ({
      status: "completed",
      created_at: nowUs - HOUR_US,
      ended_at: nowUs - HOUR_US + seconds * 1_000_000,
    });
    await put(
      url,
      aRow({ created_at: nowUs - HOUR_US, status: "stuck", retry_count: 2 }),
      aRow({ created_at: nowUs - HOUR_US, retry_count: 1 }),
      aRow(ended(10)),
      aRow(ended(20)),
      aRow(ended(30)),
      aRow({ status: "failed", created_at: nowUs - 80 * HOUR_US, ended_at: nowUs - 70 * HOUR_US }),
    );
    const stats = await delegationStats(database);
    expect(Object.fromEntries(stats.counts)).toEqual({ stuck: 1, dispatched: 1, completed: 3, failed: 1 });
    expect(stats.retries).toBe(3);
    expect(stats.duration).toEqual({ p50: 20, p95: 29, p99: 29.8 });
    expect(stats.age.p50).toBeGreaterThanOrEqual(3600);
    expect(stats.age.p50).toBeLessThan(3700);
  });

  it("of their transitions are those of the recorded events", async () => {
    const url = await aDatabase();
    const database = laneDatabase(aLane(), { url });
    const none = { DELEGATION_SENT: 0, DELEGATION_STATUS: 0, DELEGATION_COMPLETE: 0, DELEGATION_FAILED: 0 };
    expect(await delegationTransitions(database)).toEqual(none);
    for (const event of ["DELEGATION_SENT", "DELEGATION_SENT", "DELEGATION_FAILED", "WORKSPACE_OFFLINE"]) {
      await query(
        "INSERT INTO structure_events (id, event_type, created_at, version) VALUES ($1, $2, now(), 1)",
        [crypto.randomUUID(), event],
        url,
      );
    }
    expect(await delegationTransitions(database)).toEqual({ ...none, DELEGATION_SENT: 2, DELEGATION_FAILED: 1 });
  });
});

describe("what is due", () => {
  const open: DelegationStatus[] = ["queued", "dispatched", "in_progress", "stuck"];
  const find = (url: string, more: Partial<Parameters<typeof findDueDelegations>[1]> = {}) =>
    findDueDelegations(laneDatabase(aLane(), { url }), {
      stuckThresholdMs: STUCK_THRESHOLD_MS,
      after: FROM_THE_OLDEST,
      limit: 500,
      ...more,
    });
  const idsOf = (rows: readonly { delegation_id: string }[]) => rows.map(({ delegation_id }) => delegation_id).sort();
  const found = async (url: string) => (await find(url)).due.map(({ delegationId }) => delegationId).sort();

  it("is nothing in an empty ledger, nor where all has ended; what is open without being due is said to be there", async () => {
    const url = await aDatabase();
    expect(await find(url)).toEqual({ due: [], anyOpen: false, next: FROM_THE_OLDEST });
    await put(url, aRow({ status: "completed", deadline: 0 }), aRow({ status: "cancelled", deadline: 0 }));
    expect(await find(url)).toMatchObject({ due: [], anyOpen: false });
    await put(url, aRow({ deadline: (await serverNowUs(url)) + HOUR_US }));
    expect(await find(url)).toMatchObject({ due: [], anyOpen: true });
  });

  it("is what is past its deadline in any open state, and what has been silent for too long in flight", async () => {
    const url = await aDatabase();
    const nowUs = await serverNowUs(url);
    const alive = { deadline: nowUs + HOUR_US };
    const overdue = open.map((status) => aRow({ status, deadline: nowUs - 1 }));
    const silent = open.slice(0, 3).map((status) => aRow({ ...alive, status, last_heartbeat: nowUs - 11 * MINUTE_US }));
    await put(
      url,
      ...overdue,
      ...silent,
      aRow({ ...alive, status: "stuck", last_heartbeat: nowUs - 11 * MINUTE_US }),
      aRow({ ...alive, status: "in_progress", last_heartbeat: nowUs - 9 * MINUTE_US }),
      aRow({ ...alive, status: "in_progress", last_heartbeat: null }),
      aRow({ status: "failed", deadline: nowUs - 1, last_heartbeat: nowUs - HOUR_US }),
    );
    expect(await found(url)).toEqual(idsOf([...overdue, ...silent]));
  });

  it("is found once where both clocks ran out, by its deadline", async () => {
    const url = await aDatabase();
    const nowUs = await serverNowUs(url);
    const row = aRow({ status: "in_progress", deadline: nowUs - 1, last_heartbeat: nowUs - HOUR_US });
    await put(url, row);
    const { caller_id: callerId, delegation_id: delegationId } = row;
    expect((await find(url)).due).toEqual([{ callerId, delegationId }]);
  });

  it("comes in bounded batches, and what nobody ever settles does not hide the rest", async () => {
    const url = await aDatabase();
    const nowUs = await serverNowUs(url);
    const overdue = [5, 4, 3].map((age) => aRow({ deadline: nowUs - age * MINUTE_US }));
    const silent = [50, 40, 30].map((age) =>
      aRow({ deadline: nowUs + HOUR_US, last_heartbeat: nowUs - age * MINUTE_US }),
    );
    await put(url, ...overdue, ...silent);
    const first = await find(url, { limit: 4 });
    expect(first.due.map(({ delegationId }) => delegationId)).toEqual(
      [...overdue.slice(0, 2), ...silent.slice(0, 2)].map(({ delegation_id }) => delegation_id),
    );
    const second = await find(url, { limit: 4, after: first.next });
    expect(second.due.map(({ delegationId }) => delegationId)).toEqual([
      overdue[2]?.delegation_id,
      silent[2]?.delegation_id,
    ]);
    expect(second.next).toEqual(FROM_THE_OLDEST);
  });

  it("of one instant is found batch by batch, each once", async () => {
    const url = await aDatabase();
    const nowUs = await serverNowUs(url);
    const overdue = Array.from({ length: 5 }, () => aRow({ deadline: nowUs - MINUTE_US }));
    const silent = Array.from({ length: 5 }, () =>
      aRow({ deadline: nowUs + HOUR_US, last_heartbeat: nowUs - HOUR_US }),
    );
    await put(url, ...overdue, ...silent);
    const seen: string[] = [];
    let after: SweepCursor = FROM_THE_OLDEST;
    for (let batch = 0; batch < 3; batch += 1) {
      const { due, next } = await find(url, { limit: 4, after });
      seen.push(...due.map(({ delegationId }) => delegationId));
      after = next;
    }
    expect(seen.toSorted()).toEqual(idsOf([...overdue, ...silent]));
    expect(after).toEqual(FROM_THE_OLDEST);
    const old = { deadline: new Date().toISOString(), heartbeat: null };
    expect((await find(url, { after: old })).due).toHaveLength(10);
  });
});

describe("a ledger of 100,000 delegations of which 10 are due", () => {
  let url = "";
  beforeAll(async () => {
    url = await aDatabase();
    await query(
      `INSERT INTO delegations (caller_id, delegation_id, callee_id, task_preview, status, last_heartbeat, deadline, created_at, ended_at, version)
       SELECT gen_random_uuid(), 'd' || n, gen_random_uuid(), repeat('words ', 20),
         CASE WHEN n <= 200 THEN 'in_progress' ELSE (ARRAY['completed', 'failed', 'cancelled'])[1 + n % 3] END,
         CASE WHEN n BETWEEN 6 AND 10 THEN now() - interval '1 hour' WHEN n <= 200 THEN now() END,
         CASE WHEN n <= 5 THEN now() - interval '1 minute' ELSE now() + interval '6 hours' END,
         now() - n * interval '1 second', CASE WHEN n > 200 THEN now() END, n
       FROM generate_series(1, 100000) AS n`,
      [],
      url,
    );
    await query("ANALYZE delegations", [], url);
  });

  const planOf = async (statement: string, parameters: readonly unknown[]) =>
    (await query(`EXPLAIN ${statement}`, parameters, url)).map((row) => String(row["QUERY PLAN"])).join("\n");

  it("is swept through the partial indexes, with no sequential scan", async () => {
    const database = laneDatabase(aLane(), { url });
    const { due } = await findDueDelegations(database, {
      stuckThresholdMs: STUCK_THRESHOLD_MS,
      after: FROM_THE_OLDEST,
      limit: 500,
    });
    expect(due.map(({ delegationId }) => delegationId).sort()).toEqual(
      Array.from({ length: 10 }, (_, n) => `d${n + 1}`).sort(),
    );
    const plan = await planOf(DUE_DELEGATIONS, [250, null, STUCK_THRESHOLD_MS, null]);
    expect(plan).not.toContain("Seq Scan");
    expect(plan).toContain("delegations_deadline");
    expect(plan).toContain("delegations_heartbeat");
  });

  it("is listed and looked up through indexes", async () => {
    const columns = "SELECT * FROM delegations";
    const order = "ORDER BY created_at DESC, caller_id DESC, delegation_id DESC LIMIT 100";
    const inFlight = await planOf(`${columns} WHERE status IN ($1, $2, $3) ${order}`, [
      "queued",
      "dispatched",
      "in_progress",
    ]);
    const failed = await planOf(
      `${columns} WHERE status IN ($1) AND (created_at, caller_id, delegation_id) < (now() - interval '1 hour', $2::uuid, $3) ${order}`,
      ["failed", crypto.randomUUID(), "d"],
    );
    expect(failed).toContain("delegations_status");
    const byId = await planOf(`${columns} WHERE delegation_id = $1`, ["d5"]);
    const byCaller = await planOf(`${columns} WHERE caller_id = $1 ${order}`, [crypto.randomUUID()]);
    for (const plan of [inFlight, failed, byId, byCaller]) expect(plan).not.toContain("Seq Scan");
  });
});
