import { describe, expect, it } from "vitest";
import {
  readCancel,
  readDelegate,
  readHeartbeat,
  readRecord,
  readUpdate,
} from "../../src/domain/delegation-request.ts";
import { DELEGATION_VARIABLES, readDelegationSettings } from "../../src/domain/delegation-settings.ts";
import { REFUSALS, Refusal } from "../../src/domain/refusal.ts";
import { CALLEE, CALLER, ID } from "./delegation-samples.ts";

/** Status and text of the refusal, or null. */
function refusalOf(work: () => unknown): [number, string] | null {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal) return [REFUSALS[error.code].status, error.message];
    throw error;
  }
  return null;
}

const task = "count the sheep";
const INVALID_REQUEST = [400, "invalid delegation request"] as const;
const INVALID_TARGET = [400, "target_id must be a valid UUID"] as const;
const INVALID_BODY = [400, "invalid request body"] as const;
const TOO_LONG = [400, "ids must be at most 128 characters"] as const;

describe("the body of cancel", () => {
  it("may give a reason, which is cut between characters", () => {
    expect(readCancel({ reason: "enough" })).toEqual({ reason: "enough" });
    expect(readCancel({ reason: "🦊".repeat(2_000) }).reason).toBe("🦊".repeat(1_000));
    for (const none of [undefined, null, {}, { reason: "" }, { reason: null }]) {
      expect(readCancel(none)).toEqual({ reason: null });
    }
    expect(refusalOf(() => readCancel({ reason: 7 }))).toEqual(INVALID_BODY);
  });
});

describe("the body of delegate", () => {
  it("needs a target and a task", () => {
    expect(readDelegate({ target_id: CALLEE, task }, CALLER)).toEqual({
      targetId: CALLEE,
      task,
      idempotencyKey: null,
      deadlineMs: null,
      warning: null,
    });
  });

  it("may name a key and a deadline; names match without regard to case, unknown ones are ignored", () => {
    const body = { Target_ID: CALLEE, TASK: task, idempotency_key: "k", deadline_s: 1.5, other: 1 };
    expect(readDelegate(body, CALLER)).toMatchObject({ targetId: CALLEE, idempotencyKey: "k", deadlineMs: 1500 });
    expect(readDelegate({ target_id: CALLEE, task, idempotency_key: "" }, CALLER).idempotencyKey).toBeNull();
  });

  it.each([0, -1, 2_592_001, "60", {}])("with the deadline %j gets the default and a warning", (deadline_s) => {
    const { deadlineMs, warning } = readDelegate({ target_id: CALLEE, task, deadline_s }, CALLER);
    expect(deadlineMs).toBeNull();
    expect(warning).toContain("deadline_s must be a number from 1 to 2592000");
  });

  it.each<[unknown, readonly [number, string]]>([
    [null, INVALID_REQUEST],
    ["words", INVALID_REQUEST],
    [[], INVALID_REQUEST],
    [{ target_id: CALLEE }, INVALID_REQUEST],
    [{ target_id: CALLEE, task: "" }, INVALID_REQUEST],
    [{ target_id: "", task }, INVALID_REQUEST],
    [{ target_id: 1, task }, INVALID_REQUEST],
    [{ target_id: CALLEE, task, idempotency_key: 1 }, INVALID_REQUEST],
    [{ target_id: "not-a-uuid", task }, INVALID_TARGET],
    [{ target_id: CALLEE.replace("2", "A"), task }, INVALID_TARGET],
    [{ target_id: `urn:uuid:${CALLEE}`, task }, INVALID_TARGET],
    [{ target_id: CALLER, task }, [400, "self-delegation not permitted"]],
    [{ target_id: CALLEE, task, idempotency_key: "k".repeat(129) }, TOO_LONG],
  ])("as %j is refused with %j", (body, refusal) => {
    expect(refusalOf(() => readDelegate(body, CALLER))).toEqual(refusal);
  });
});

describe("the body of record", () => {
  it("takes any id, and the caller itself for a target", () => {
    const body = { target_id: CALLER, task, delegation_id: "my own id", deadline_s: 60 };
    expect(readRecord(body)).toEqual({
      targetId: CALLER,
      task,
      delegationId: "my own id",
      deadlineMs: 60_000,
      warning: null,
    });
  });

  it.each<[unknown, readonly [number, string]]>([
    [{}, INVALID_BODY],
    [{ target_id: CALLEE, task, delegation_id: "" }, INVALID_BODY],
    [{ target_id: "", task, delegation_id: ID }, INVALID_BODY],
    [{ target_id: CALLEE, task: "", delegation_id: ID }, INVALID_BODY],
    [{ target_id: "x", task, delegation_id: ID }, INVALID_TARGET],
    [{ target_id: CALLEE, task, delegation_id: "i".repeat(129) }, TOO_LONG],
  ])("as %j is refused with %j: empty ids refused", (body, refusal) => {
    expect(refusalOf(() => readRecord(body))).toEqual(refusal);
  });
});

describe("the body of update", () => {
  it("says how it ended", () => {
    expect(readUpdate({ status: "completed", response_preview: "twelve" })).toEqual({
      status: "completed",
      error: null,
      text: "twelve",
    });
    expect(readUpdate({ status: "failed", error: "no", response_preview: "" })).toEqual({
      status: "failed",
      error: "no",
      text: null,
    });
  });

  it.each(["queued", "in_progress", "cancelled", "COMPLETED"])("with the status %s is refused", (status) => {
    expect(refusalOf(() => readUpdate({ status }))).toEqual([400, "status must be 'completed' or 'failed'"]);
  });

  it.each([null, {}, { status: "" }, { status: 1 }, { status: "failed", error: 1 }])("as %j is refused", (body) => {
    expect(refusalOf(() => readUpdate(body))).toEqual(INVALID_BODY);
  });
});

describe("the body of a heartbeat", () => {
  it.each<[unknown, object]>([
    [undefined, { progressSeq: null, details: null }],
    [{}, { progressSeq: null, details: null }],
    [
      { progress_seq: 3, details: "half way" },
      { progressSeq: 3, details: "half way" },
    ],
    [{ details: { done: 1 } }, { progressSeq: null, details: '{"done":1}' }],
  ])("%j is read as %j", (body, heartbeat) => {
    expect(readHeartbeat(body)).toEqual(heartbeat);
  });

  it("keeps long details short", () => {
    expect(readHeartbeat({ details: "🐑".repeat(5000) }).details).toBe("🐑".repeat(4096));
  });

  it.each([[], "x", { progress_seq: -1 }, { progress_seq: 1.5 }, { progress_seq: "1" }])("%j is refused", (body) => {
    expect(refusalOf(() => readHeartbeat(body))).toEqual(INVALID_BODY);
  });
});

describe("the variables", () => {
  it("have defaults, unset or empty, without a warning", () => {
    const settings = {
      ledgerWrite: true,
      resultInboxPush: true,
      sweeperOn: true,
      sweeperIntervalMs: 300_000,
      stuckThresholdMs: 600_000,
      deadlineMs: 21_600_000,
      warnings: [],
    };
    expect(readDelegationSettings({})).toEqual(settings);
    expect(readDelegationSettings(Object.fromEntries(DELEGATION_VARIABLES.map((name) => [name, ""])))).toEqual(
      settings,
    );
  });

  it.each([
    ["DELEGATION_LEDGER_WRITE", "ledgerWrite"],
    ["DELEGATION_RESULT_INBOX_PUSH", "resultInboxPush"],
    ["DELEGATION_SWEEPER", "sweeperOn"],
  ] as const)("turn %s off by exactly 0", (name, key) => {
    expect(readDelegationSettings({ [name]: "0" })[key]).toBe(false);
    expect(readDelegationSettings({ [name]: "1" })).toMatchObject({ [key]: true, warnings: [] });
    for (const loose of ["true", "yes", "off", "false", " 0", "00"]) {
      expect(readDelegationSettings({ [name]: loose })).toMatchObject({
        [key]: true,
        warnings: [`${name} must be 0 or 1; it is on`],
      });
    }
  });

  it("say what is lost by turning something off", () => {
    expect(readDelegationSettings({ DELEGATION_LEDGER_WRITE: "0", DELEGATION_SWEEPER: "0" }).warnings).toEqual([
      "DELEGATION_LEDGER_WRITE is 0: no sweep finds a delegation; alarms and the daily scrub are the only nets",
      "DELEGATION_SWEEPER is 0: no deadline ends a delegation and none gets stuck",
    ]);
  });

  it("set the times in seconds", () => {
    const variables = {
      DELEGATION_SWEEPER_INTERVAL_S: "60",
      DELEGATION_STUCK_THRESHOLD_S: "45",
      DELEGATION_DEADLINE_S: " 2592000 ",
    };
    expect(readDelegationSettings(variables)).toMatchObject({
      sweeperIntervalMs: 60_000,
      stuckThresholdMs: 45_000,
      deadlineMs: 2_592_000_000,
      warnings: [],
    });
  });

  it.each(["0", "-5", "1.5", "soon", "2592001"])("fall back to the default from %j with a warning", (value) => {
    expect(readDelegationSettings({ DELEGATION_DEADLINE_S: value })).toMatchObject({
      deadlineMs: 21_600_000,
      warnings: ["DELEGATION_DEADLINE_S must be a whole number from 1 to 2592000; 21600 is used"],
    });
  });
});
