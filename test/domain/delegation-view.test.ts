import { describe, expect, it } from "vitest";
import { DELEGATION_STATUSES, type Delegation } from "../../src/domain/delegation.ts";
import { cancel, retry } from "../../src/domain/delegation-control.ts";
import { judge } from "../../src/domain/delegation-judging.ts";
import { receive, receiveEnd } from "../../src/domain/delegation-received.ts";
import {
  adminEntry,
  DELEGATION_FILTERS,
  delegationRow,
  newestStateFirst,
  readFilter,
  readLimit,
  receivedEntry,
  sentEntry,
  statusCounts,
  statusesOf,
} from "../../src/domain/delegation-view.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import {
  beaten,
  CALLEE,
  CALLER,
  completed,
  dispatched,
  failed,
  HOUR_MS,
  ID,
  NOW,
  queued,
  RETRY_ID,
  RULES,
  said,
  stuck,
  told,
  vanished,
} from "./delegation-samples.ts";

const cancelled = () => cancel(dispatched(), { actor: "admin", reason: null }, NOW).delegation;
const asJson = (value: object) => JSON.parse(JSON.stringify(value));

const LISTED = {
  id: ID,
  type: "delegation",
  delegation_id: ID,
  source_id: CALLER,
  target_id: CALLEE,
  direction: "sent",
  summary: "count the sheep",
  created_at: "2026-05-01T00:00:00Z",
  updated_at: "2026-05-01T00:00:00Z",
  deadline: "2026-05-01T06:00:00Z",
  _ledger: true,
  retry_count: 0,
};

describe("a delegation in its caller's list", () => {
  it("shows the state, and nothing that is not known", () => {
    expect(asJson(sentEntry(dispatched()))).toEqual({ ...LISTED, status: "dispatched" });
  });

  it("shows the result's preview", () => {
    const entry = asJson(sentEntry(completed("é".repeat(400))));
    expect(entry).toEqual({
      ...LISTED,
      status: "completed",
      response_preview: `${"é".repeat(300)}...`,
      last_heartbeat: "2026-05-01T00:00:00Z",
    });
  });

  it.each<[string, Delegation, string, string]>([
    ["failed", failed(), "failed", "out of sheep"],
    ["stuck", stuck(), "stuck", "no heartbeat for 10m0s"],
    ["cancelled", cancelled(), "failed", "cancelled"],
  ])("that is %s shows the reason under both keys", (_, delegation, status, error) => {
    expect(sentEntry(delegation)).toMatchObject({ status, error, error_detail: error });
  });

  it("shows a heartbeat without progress as such", () => {
    const slow = beaten(beaten(dispatched(), NOW, { progressSeq: 1 }), NOW + 1000, { progressSeq: 1 });
    expect(sentEntry(slow)).toMatchObject({
      last_heartbeat: "2026-05-01T00:00:01Z",
      last_progress: "2026-05-01T00:00:00Z",
      progress_seq: 1,
    });
  });

  it("shows a late text as late, and an unknown delivery as unconfirmed", () => {
    const unknown = told(queued(), vanished).delegation;
    expect(sentEntry(unknown)).toMatchObject({ status: "dispatched", delivery_confirmed: false });
    const late = said(judge(unknown, NOW + 6 * HOUR_MS, RULES).delegation, { text: "twelve" }).delegation;
    expect(sentEntry(late)).toMatchObject({ status: "failed", response_preview: "twelve", late: true });
  });

  it("is one row, also after a retry", () => {
    const order = { actor: "admin", reason: null, attemptId: RETRY_ID, task: "t", force: false };
    expect(sentEntry(retry(failed(), order, NOW).delegation)).toMatchObject({ delegation_id: ID, retry_count: 1 });
  });

  it("stands before those whose state is older, then before those that are older", () => {
    const entries = [
      { name: "a", updatedAt: 1, createdAt: 1 },
      { name: "b", updatedAt: 2, createdAt: 0 },
      { name: "c", updatedAt: 2, createdAt: 1 },
    ];
    expect(entries.toSorted(newestStateFirst).map(({ name }) => name)).toEqual(["c", "b", "a"]);
  });
});

describe("a delegation in its callee's list", () => {
  const received = receive(
    null,
    {
      kind: "received",
      attemptId: RETRY_ID,
      callerId: CALLER,
      delegationId: ID,
      taskPreview: "count the sheep",
      createdAt: NOW,
      deadline: NOW + HOUR_MS,
      dispatch: 1,
    },
    NOW,
  ).received;

  it("is marked as received, under the id that the callee was given", () => {
    const { retry_count, ...listed } = LISTED;
    expect(asJson(receivedEntry(received, CALLEE))).toEqual({
      ...listed,
      id: RETRY_ID,
      delegation_id: RETRY_ID,
      direction: "received",
      deadline: "2026-05-01T01:00:00Z",
      status: "dispatched",
    });
  });

  it("shows a cancellation as clients understand it", () => {
    const message = {
      kind: "cancel",
      attemptId: RETRY_ID,
      callerId: CALLER,
      status: "cancelled",
      error: "cancelled",
    } as const;
    const stopped = receiveEnd(received, message, NOW).received;
    expect(receivedEntry(stopped, CALLEE)).toMatchObject({
      status: "failed",
      error: "cancelled",
      cancel_requested: true,
    });
  });
});

describe("a delegation in the ledger", () => {
  it("has the columns of the contract", () => {
    expect(delegationRow(completed())).toEqual({
      callerId: CALLER,
      delegationId: ID,
      calleeId: CALLEE,
      taskPreview: "count the sheep",
      status: "completed",
      lastHeartbeat: NOW,
      deadline: NOW + 6 * HOUR_MS,
      resultPreview: "twelve",
      errorDetail: null,
      retryCount: 0,
      createdAt: NOW,
      updatedAt: NOW,
      endedAt: NOW,
      idempotencyKey: "key",
      deliveryConfirmed: null,
    });
  });

  it("is shown to operators without what is not known", () => {
    expect(asJson(adminEntry(delegationRow(queued())))).toEqual({
      delegation_id: ID,
      caller_id: CALLER,
      callee_id: CALLEE,
      task_preview: "count the sheep",
      status: "queued",
      deadline: "2026-05-01T06:00:00Z",
      retry_count: 0,
      created_at: "2026-05-01T00:00:00Z",
      updated_at: "2026-05-01T00:00:00Z",
    });
  });

  it("is shown to operators with all that is known", () => {
    expect(adminEntry(delegationRow(said(failed(), { status: "failed", text: "eleven" }).delegation))).toMatchObject({
      status: "failed",
      last_heartbeat: "2026-05-01T00:00:00Z",
      result_preview: "eleven",
      error_detail: "out of sheep",
    });
    expect(adminEntry(delegationRow(cancelled()))).toMatchObject({
      status: "cancelled",
      error_detail: "cancelled by admin",
    });
    expect(adminEntry(delegationRow(told(queued(), vanished).delegation))).toMatchObject({ delivery_confirmed: false });
  });
});

describe("an operator's filter", () => {
  it("is in_flight when absent, and shows what is neither ended nor stuck", () => {
    expect(readFilter(null)).toBe("in_flight");
    expect(statusesOf("in_flight")).toEqual(["queued", "dispatched", "in_progress"]);
  });

  it.each(["stuck", "failed", "completed", "cancelled"] as const)("%s shows exactly those", (filter) => {
    expect(statusesOf(readFilter(filter))).toEqual([filter]);
  });

  it.each(["", "bogus", "queued", "FAILED"])("%j is refused with the words that are allowed", (status) => {
    expect(() => readFilter(status)).toThrow("unknown status filter");
    try {
      readFilter(status);
    } catch (error) {
      expect((error as Refusal).options.details).toEqual({ allowed: DELEGATION_FILTERS, requested_status: status });
    }
    expect(DELEGATION_FILTERS.slice(0, 4)).toEqual(["in_flight", "stuck", "failed", "completed"]);
  });
});

describe("an operator's limit", () => {
  it.each([
    [null, 100],
    ["", 100],
    ["1", 1],
    ["+5", 5],
    ["007", 7],
    ["1000", 1000],
  ])("%j is %d", (limit, number) => {
    expect(readLimit(limit)).toBe(number);
  });

  it.each(["0", "-1", "1001", "abc", "1.5", " 1", "1e2"])("%j is refused as it was sent", (requested) => {
    const refusal = new Refusal("delegation.invalid_limit", { details: { requested } });
    expect(() => readLimit(requested)).toThrow("limit must be 1..1000");
    try {
      readLimit(requested);
    } catch (error) {
      expect((error as Refusal).options).toEqual(refusal.options);
    }
  });
});

it("operators' counts have every key, also for an empty table", () => {
  expect(statusCounts(new Map())).toEqual({
    queued: 0,
    dispatched: 0,
    in_progress: 0,
    completed: 0,
    failed: 0,
    stuck: 0,
    cancelled: 0,
  });
  expect(statusCounts(new Map([["stuck", 2]])).stuck).toBe(2);
  expect(Object.keys(statusCounts(new Map()))).toEqual([...DELEGATION_STATUSES]);
});
