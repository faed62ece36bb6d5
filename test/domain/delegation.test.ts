import { describe, expect, it } from "vitest";
import { DELEGATION_STATUSES, type Delegation, statusOf } from "../../src/domain/delegation.ts";
import { calleeRemoved, callerRemoved, cancel, retry } from "../../src/domain/delegation-control.ts";
import { judge } from "../../src/domain/delegation-judging.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import {
  answered,
  answerOf,
  beaten,
  busy,
  CALLER,
  callStarted,
  completed,
  dispatched,
  failed,
  HOUR_MS,
  inProgress,
  NOW,
  pollDelivered,
  queued,
  RETRY_ID,
  RULES,
  recorded,
  STRANGER,
  said,
  stuck,
  told,
  undelivered,
  vanished,
} from "./delegation-samples.ts";

const SOON = NOW + 1;
const SILENT = NOW + RULES.stuckThresholdMs;
const ORDER = { actor: "operator", reason: null };

const STATES: Record<string, () => Delegation> = {
  queued,
  waiting: () => told(queued(), busy).delegation,
  calling: () => told(queued(), callStarted).delegation,
  recorded,
  dispatched,
  unknown: () => told(queued(), vanished).delegation,
  in_progress: inProgress,
  stuck,
  completed,
  failed,
  expired: () => judge(dispatched(), NOW + 6 * HOUR_MS, RULES).delegation,
  cancelled: () => cancel(dispatched(), ORDER, NOW).delegation,
};

const retried = (force: boolean) => (delegation: Delegation) =>
  retry(delegation, { ...ORDER, attemptId: RETRY_ID, task: "count the sheep", force }, SOON).delegation;

const INPUTS: Record<string, (delegation: Delegation) => Delegation> = {
  "call started": (delegation) => told(delegation, callStarted, SOON).delegation,
  "poll delivered": (delegation) => told(delegation, pollDelivered, SOON).delegation,
  answered: (delegation) => told(delegation, answerOf("twelve"), SOON).delegation,
  "answered 500": (delegation) => told(delegation, answered(500, ""), SOON).delegation,
  "not delivered": (delegation) => told(delegation, undelivered, SOON).delegation,
  busy: (delegation) => told(delegation, busy, SOON).delegation,
  "call vanished": (delegation) => told(delegation, vanished, SOON).delegation,
  refused: (delegation) => told(delegation, { kind: "refused", error: "access denied" }, SOON).delegation,
  "callee beats": (delegation) => beaten(delegation, SOON),
  "caller beats": (delegation) => beaten(delegation, SOON, { by: CALLER }),
  "callee begins": (delegation) => said(delegation, { status: "in_progress" }, SOON).delegation,
  "callee completes": (delegation) => said(delegation, { text: "twelve" }, SOON).delegation,
  "callee fails": (delegation) => said(delegation, { status: "failed", error: "out of sheep" }, SOON).delegation,
  "caller completes": (delegation) => said(delegation, { by: CALLER, text: "twelve" }, SOON).delegation,
  "caller fails": (delegation) => said(delegation, { by: CALLER, status: "failed", error: "no" }, SOON).delegation,
  "stranger completes": (delegation) => said(delegation, { by: STRANGER, text: "mine" }, SOON).delegation,
  silence: (delegation) => judge(delegation, SILENT, RULES).delegation,
  deadline: (delegation) => judge(delegation, NOW + 6 * HOUR_MS, RULES).delegation,
  cancel: (delegation) => cancel(delegation, ORDER, SOON).delegation,
  retry: retried(false),
  "retry with force": retried(true),
  "caller removed": (delegation) => callerRemoved(delegation, SOON).delegation,
  "callee removed": (delegation) => calleeRemoved(delegation, SOON).delegation,
};

function outcome(state: string, input: string): string {
  const before = STATES[state]?.() ?? queued();
  try {
    const after = INPUTS[input]?.(before) ?? before;
    if (after === before) return "=";
    return statusOf(after) === statusOf(before) ? "~" : statusOf(after);
  } catch (error) {
    if (error instanceof Refusal) return "!";
    throw error;
  }
}

/**
 * What every input makes of every state. `=`: the same object; `~`: the same status, something noted; `!`: refused.
 * `waiting` stands in the queue of a busy callee; `expired` was ended by its deadline.
 */
const TABLE = `
                   | queued      | waiting     | calling     | recorded    | dispatched  | unknown     | in_progress | stuck       | completed | failed | expired | cancelled
call started       | dispatched  | =           | =           | =           | =           | =           | =           | =           | =         | =      | =       | =
poll delivered     | dispatched  | dispatched  | ~           | =           | =           | ~           | =           | =           | =         | =      | =       | =
answered           | completed   | completed   | completed   | completed   | completed   | completed   | completed   | completed   | =         | ~      | ~       | ~
answered 500       | failed      | failed      | failed      | failed      | failed      | failed      | failed      | failed      | =         | =      | =       | =
not delivered      | ~           | =           | queued      | =           | =           | =           | =           | =           | =         | =      | =       | =
busy               | ~           | =           | queued      | =           | =           | =           | =           | =           | =         | =      | =       | =
call vanished      | dispatched  | =           | ~           | =           | =           | =           | =           | =           | =         | =      | =       | =
refused            | failed      | failed      | failed      | failed      | =           | =           | =           | =           | =         | =      | =       | =
callee beats       | in_progress | in_progress | in_progress | in_progress | in_progress | in_progress | ~           | in_progress | =         | =      | =       | =
caller beats       | ~           | ~           | ~           | ~           | ~           | ~           | ~           | in_progress | =         | =      | =       | =
callee begins      | in_progress | in_progress | in_progress | in_progress | in_progress | in_progress | =           | =           | =         | =      | =       | =
callee completes   | completed   | completed   | completed   | completed   | completed   | completed   | completed   | completed   | =         | ~      | ~       | ~
callee fails       | failed      | failed      | failed      | failed      | failed      | failed      | failed      | failed      | ~         | =      | ~       | ~
caller completes   | completed   | completed   | completed   | completed   | completed   | completed   | completed   | completed   | =         | ~      | ~       | ~
caller fails       | failed      | failed      | failed      | failed      | failed      | failed      | failed      | failed      | ~         | ~      | =       | =
stranger completes | =           | =           | =           | =           | =           | =           | =           | =           | =         | =      | =       | =
silence            | =           | =           | =           | =           | =           | =           | stuck       | =           | =         | =      | =       | =
deadline           | failed      | failed      | failed      | failed      | failed      | failed      | failed      | failed      | =         | =      | =       | =
cancel             | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | !         | !      | !       | =
retry              | !           | !           | !           | !           | !           | !           | !           | !           | !         | queued | !       | !
retry with force   | !           | !           | !           | !           | !           | queued      | !           | queued      | !         | queued | queued  | queued
caller removed     | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | cancelled   | =         | =      | =       | =
callee removed     | failed      | failed      | failed      | failed      | failed      | failed      | failed      | failed      | =         | =      | =       | =
`;

const [HEADER = [], ...ROWS] = TABLE.trim()
  .split("\n")
  .map((line) => line.split("|").map((cell) => cell.trim()));

describe("a delegation under every input", () => {
  it("is in the table with every state and every input", () => {
    expect(HEADER).toEqual(["", ...Object.keys(STATES)]);
    expect(ROWS.map(([input]) => input)).toEqual(Object.keys(INPUTS));
    const reached = new Set(Object.values(STATES).map((state) => statusOf(state())));
    expect([...reached].toSorted()).toEqual([...DELEGATION_STATUSES].toSorted());
  });

  it.each(ROWS.map(([input = "", ...cells]) => [input, cells] as const))(
    "moves as the table says: %s",
    (input, cells) => {
      const outcomes = Object.keys(STATES).map((state) => outcome(state, input));
      expect(outcomes).toEqual(cells);
    },
  );

  it.each(ROWS.map(([input = ""]) => input))(
    "stays ended once it has ended, unless somebody retries it: %s",
    (input) => {
      for (const state of ["completed", "failed", "expired", "cancelled"]) {
        if (!input.startsWith("retry")) expect(outcome(state, input)).toMatch(/^[=~!]$/);
      }
    },
  );
});
