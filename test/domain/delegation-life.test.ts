import { describe, expect, it } from "vitest";
import { statusOf } from "../../src/domain/delegation.ts";
import { bindingOf, delegate, delegateAnswer, record } from "../../src/domain/delegation-creation.ts";
import type { Transition } from "../../src/domain/delegation-effect.ts";
import { beat } from "../../src/domain/delegation-heartbeat.ts";
import { dueAt, goDuration, judge } from "../../src/domain/delegation-judging.ts";
import { taskMessage } from "../../src/domain/delegation-message.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import {
  answerOf,
  aRequest,
  beaten,
  CALLEE,
  CALLER,
  callStarted,
  completed,
  dispatched,
  effectsOf,
  failed,
  HOUR_MS,
  ID,
  inProgress,
  MINUTE_MS,
  NOW,
  outline,
  pollDelivered,
  queued,
  RULES,
  recorded,
  STRANGER,
  said,
  stuck,
  told,
  undelivered,
} from "./delegation-samples.ts";

const DEADLINE = NOW + 6 * HOUR_MS;

describe("a whole life from queued to completed", () => {
  const first = delegate(aRequest(), NOW);
  const sent = told(first.delegation, pollDelivered, NOW + 1);
  const working = said(sent.delegation, { status: "in_progress" }, NOW + 2);
  const done = said(working.delegation, { text: "twelve" }, NOW + 3);
  const life: Transition[] = [first, sent, working, done];

  it("is told step by step", () => {
    expect(life.map(outline)).toEqual([
      ["queued", "history sent: pending", "DELEGATION_SENT", "dispatch 1"],
      ["dispatched", "history sent: dispatched", "DELEGATION_STATUS dispatched"],
      ["in_progress", "history sent: in_progress", "DELEGATION_STATUS in_progress"],
      [
        "completed",
        "history result: completed",
        "history sent: completed",
        "DELEGATION_COMPLETE",
        "inbox result",
        "callee closed",
      ],
    ]);
  });

  it("names the target in each of its events, in the order of the contract", () => {
    expect(life.flatMap((step) => effectsOf(step, "event")).map(({ event, payload }) => [event, payload])).toEqual([
      ["DELEGATION_SENT", { delegation_id: ID, target_id: CALLEE, task_preview: "count the sheep" }],
      ["DELEGATION_STATUS", { delegation_id: ID, target_id: CALLEE, status: "dispatched" }],
      ["DELEGATION_STATUS", { delegation_id: ID, target_id: CALLEE, status: "in_progress" }],
      ["DELEGATION_COMPLETE", { delegation_id: ID, target_id: CALLEE, response_preview: "twelve" }],
    ]);
  });

  it("leaves the rows of the contract in the caller's feed", () => {
    const rows = life.flatMap((step) => effectsOf(step, "history"));
    const common = { activityType: "delegation", sourceId: CALLER, targetId: CALLEE, errorDetail: null };
    expect(rows).toEqual([
      {
        kind: "history",
        attemptId: ID,
        slot: "sent",
        row: {
          ...common,
          method: "delegate",
          status: "pending",
          summary: `Delegating to ${CALLEE}`,
          requestBody: `{"task":"count the sheep","delegation_id":"${ID}"}`,
          responseBody: null,
        },
      },
      {
        kind: "history",
        attemptId: ID,
        slot: "result",
        row: {
          ...common,
          method: "delegate_result",
          status: "completed",
          summary: "Delegation completed (twelve)",
          requestBody: null,
          responseBody: `{"text":"twelve","delegation_id":"${ID}"}`,
        },
      },
    ]);
  });

  it("takes the task to the callee under the attempt's id", () => {
    const [dispatch] = effectsOf(first, "dispatch");
    expect(dispatch).toEqual({
      kind: "dispatch",
      at: NOW,
      message: {
        kind: "received",
        attemptId: ID,
        callerId: CALLER,
        delegationId: ID,
        taskPreview: "count the sheep",
        createdAt: NOW,
        deadline: DEADLINE,
        dispatch: 1,
      },
    });
    expect(JSON.parse(taskMessage(ID, "count the sheep"))).toEqual({
      jsonrpc: "2.0",
      id: ID,
      method: "message/send",
      params: {
        message: {
          role: "user",
          messageId: ID,
          parts: [{ kind: "text", text: "count the sheep" }],
          metadata: { delegation_id: ID },
        },
      },
    });
  });
});

describe("a caller that is pushed to", () => {
  const expired = () => judge(dispatched(), NOW + 6 * HOUR_MS, RULES).delegation;
  it.each([
    ["the callee's result", true, () => said(inProgress(), { text: "twelve" })],
    ["the platform's own end", true, () => judge(dispatched(), NOW + 6 * HOUR_MS, RULES)],
    ["what the callee says late", true, () => said(expired(), { text: "twelve" })],
    ["its own word on the end", false, () => said(inProgress(), { by: CALLER, text: "twelve" })],
    ["its own late word", false, () => said(expired(), { by: CALLER, text: "twelve" })],
    ["a notice", false, () => judge(inProgress(), NOW + RULES.stuckThresholdMs, RULES)],
  ])("is to be called with %s: %s", (_what, push, make) => {
    expect(effectsOf(make(), "inbox")).toMatchObject([{ push }]);
  });
});

describe("texts in previews", () => {
  const sheep = "🐑".repeat(5000);

  it("are cut by code point, never inside a character", () => {
    const { delegation, effects } = delegate(aRequest({ task: sheep }), NOW);
    expect(delegation.taskPreview).toBe("🐑".repeat(1024));
    expect(effectsOf({ effects }, "event")[0]?.payload.task_preview).toBe(`${"🐑".repeat(100)}...`);
    const done = said(inProgress(), { text: sheep });
    expect(effectsOf(done, "event")[0]?.payload.response_preview).toBe(`${"🐑".repeat(200)}...`);
    expect(effectsOf(done, "history")[0]?.row.summary).toBe(`Delegation completed (${"🐑".repeat(80)}...)`);
  });

  it("stand beside the whole text in both rows", () => {
    const done = said(inProgress(), { text: sheep });
    expect(effectsOf(done, "history")[0]?.row.responseBody).toContain(sheep);
    expect(effectsOf(done, "inbox")[0]?.row.responseBody).toContain(sheep);
    expect(JSON.stringify(done.delegation)).not.toContain(sheep);
  });

  it("do not make a different long text the same", () => {
    const done = said(inProgress(), { text: sheep });
    expect(said(done.delegation, { text: sheep }).disposition).toBe("replayed");
    expect(said(done.delegation, { text: `${sheep}!` }).disposition).toBe("contradicted");
  });
});

describe("a recorded delegation", () => {
  it("is dispatched at once; its callee learns of it without an inbox row", () => {
    const recording = record(null, aRequest(), NOW);
    expect(outline(recording)).toEqual([
      "dispatched",
      "history sent: dispatched",
      "DELEGATION_SENT",
      "callee received",
    ]);
    expect(effectsOf(recording, "callee")[0]).toMatchObject({
      calleeId: CALLEE,
      message: { attemptId: ID, dispatch: 0 },
    });
  });

  it("is one delegation however often it is recorded", () => {
    const known = completed();
    expect(record(known, aRequest({ task: "something else" }), NOW)).toEqual({ delegation: known, effects: [] });
  });

  it("is refused under an id that another callee's delegation has", () => {
    expect(() => record(recorded(), aRequest({ calleeId: STRANGER }), NOW)).toThrow(
      expect.objectContaining({ code: "delegation.id_taken", options: { details: { target_id: CALLEE } } }),
    );
  });

  it("fails once where its callee's object does not let it in, and depends on nothing else of a dispatch", () => {
    const delegation = recorded();
    for (const outcome of [pollDelivered, callStarted, undelivered]) {
      expect(told(delegation, outcome).delegation).toBe(delegation);
    }
    const refusal = { kind: "refused", error: "access denied" } as const;
    const refused = told(delegation, refusal);
    expect(refused.delegation.current).toMatchObject({ state: "failed", endedBy: "platform", error: "access denied" });
    expect(effectsOf(refused, "inbox")).toHaveLength(1);
    expect(told(refused.delegation, refusal).effects).toEqual([]);
  });

  it.each(["callerId", "delegationId", "calleeId"] as const)("with an empty %s is refused", (name) => {
    expect(() => record(null, aRequest({ [name]: "" }), NOW)).toThrow(RangeError);
    expect(() => delegate(aRequest({ [name]: "" }), NOW)).toThrow(RangeError);
  });
});

describe("an idempotency key", () => {
  const hit = (...delegations: Parameters<typeof bindingOf>[0]) => bindingOf(delegations, "key", NOW + MINUTE_MS);

  it.each([
    ["queued", queued],
    ["dispatched", dispatched],
    ["in progress", inProgress],
    ["stuck", stuck],
    ["just completed", completed],
  ])("binds while its delegation is %s", (_, state) => {
    const delegation = state();
    expect(hit(delegation)).toBe(delegation);
  });

  it("is free at once after a failure and a cancellation", () => {
    const { delegation: cancelled } = judge(dispatched(), DEADLINE, RULES);
    expect(hit(failed(), cancelled)).toBeNull();
  });

  it("is free 10 minutes after completion", () => {
    const delegation = completed();
    expect(bindingOf([delegation], "key", NOW + 10 * MINUTE_MS - 1)).toBe(delegation);
    expect(bindingOf([delegation], "key", NOW + 10 * MINUTE_MS)).toBeNull();
  });

  it("binds the newest of several, and no other key", () => {
    const newer = delegate(aRequest({ delegationId: "newer" }), NOW + 1).delegation;
    expect(hit(queued(), newer, completed())).toBe(newer);
    expect(bindingOf([newer], "other", NOW)).toBeNull();
  });

  it("that is empty binds nothing", () => {
    const keyless = delegate(aRequest({ idempotencyKey: "" }), NOW).delegation;
    expect(keyless.idempotencyKey).toBeNull();
    expect(bindingOf([keyless], "", NOW)).toBeNull();
    expect(bindingOf([keyless], null, NOW)).toBeNull();
  });

  it("answers a hit with the target that is stored", () => {
    expect(delegateAnswer(queued(), false)).toEqual({ delegation_id: ID, status: "delegated", target_id: CALLEE });
    expect(delegateAnswer(stuck(), true)).toEqual({
      delegation_id: ID,
      status: "stuck",
      target_id: CALLEE,
      idempotent_hit: true,
    });
  });
});

describe("a deadline that has passed", () => {
  it("fails the delegation by name, on both sides", () => {
    const late = judge(dispatched(), DEADLINE, RULES);
    expect(outline(late)).toEqual([
      "failed",
      "history result: failed",
      "history sent: failed",
      "DELEGATION_FAILED",
      "inbox result",
      "callee cancel",
    ]);
    expect(effectsOf(late, "event")[0]?.payload.error).toBe("deadline exceeded by sweeper");
    expect(effectsOf(late, "inbox")[0]?.row.errorDetail).toBe("deadline exceeded by sweeper");
    expect(effectsOf(late, "history")[0]?.row).toMatchObject({
      status: "failed",
      summary: "Delegation failed",
      errorDetail: "deadline exceeded by sweeper",
    });
  });

  it("is judged before the heartbeat", () => {
    const silent = beaten(dispatched(), DEADLINE - 11 * MINUTE_MS);
    expect(statusOf(judge(silent, DEADLINE, RULES).delegation)).toBe("failed");
  });

  it("does not change what has ended", () => {
    const delegation = failed("out of sheep");
    expect(judge(delegation, DEADLINE, RULES)).toEqual({ delegation, effects: [] });
  });
});

describe("silence after a heartbeat", () => {
  it("is told once per attempt: no heartbeat for 10m0s", () => {
    const silent = judge(inProgress(), NOW + 10 * MINUTE_MS, RULES);
    expect(outline(silent)).toEqual(["stuck", "history sent: stuck", "DELEGATION_STATUS stuck", "inbox stuck"]);
    expect(effectsOf(silent, "inbox")[0]?.row).toMatchObject({
      method: "delegate_notice",
      status: "error",
      summary: "Delegation stuck: no heartbeat for 10m0s",
      errorDetail: "no heartbeat for 10m0s",
    });
    expect(effectsOf(silent, "history_status")[0]?.errorDetail).toBe("no heartbeat for 10m0s");

    const awake = beaten(silent.delegation, NOW + 11 * MINUTE_MS);
    expect(statusOf(awake)).toBe("in_progress");
    expect(outline(judge(awake, NOW + 21 * MINUTE_MS, RULES))).toEqual([
      "stuck",
      "history sent: stuck",
      "DELEGATION_STATUS stuck",
    ]);
  });

  it("leaves healthy rows untouched by a sweep", () => {
    const healthy = beaten(inProgress(), NOW + 9 * MINUTE_MS);
    expect(judge(healthy, NOW + 18 * MINUTE_MS, RULES).delegation).toBe(healthy);
  });

  it("is no matter where no heartbeat ever came: that is left to the deadline", () => {
    const delegation = dispatched();
    expect(judge(delegation, DEADLINE - 1, RULES).delegation).toBe(delegation);
  });

  it("is not judged while the sweeper is off, and neither is the deadline", () => {
    const off = { ...RULES, sweeperOn: false };
    const delegation = inProgress();
    expect(judge(delegation, DEADLINE, off).delegation).toBe(delegation);
    expect(dueAt(delegation, off)).toBeNull();
  });

  it("stands through a begin and a dispatch, and falls with a heartbeat of either side", () => {
    const notBegun = judge(beaten(dispatched(), NOW, { by: CALLER }), NOW + 10 * MINUTE_MS, RULES).delegation;
    const begun = said(notBegun, { status: "in_progress" });
    expect(outline(begun)).toEqual(["stuck"]);
    expect(begun.delegation.current.state).toBe("in_progress");
    expect(outline(beat(notBegun, { by: CALLER, id: ID, progressSeq: null, details: null }, NOW))).toEqual([
      "dispatched",
      "history sent: dispatched",
      "DELEGATION_STATUS dispatched",
    ]);
  });

  it("ends in any final state", () => {
    expect(statusOf(said(stuck(), { text: "twelve" }).delegation)).toBe("completed");
    expect(statusOf(said(stuck(), { status: "failed" }).delegation)).toBe("failed");
    expect(statusOf(told(stuck(), answerOf("twelve")).delegation)).toBe("completed");
  });
});

it.each([
  [0, "0s"],
  [500, "500ms"],
  [1500, "1.5s"],
  [45_000, "45s"],
  [60_000, "1m0s"],
  [600_000, "10m0s"],
  [5_400_000, "1h30m0s"],
  [86_400_000, "24h0m0s"],
  [3_601_000, "1h0m1s"],
])("%d ms read as Go prints them: %s", (ms, text) => {
  expect(goDuration(ms)).toBe(text);
});

describe("the next time to judge", () => {
  it("is the deadline, or the end of the longest silence before it", () => {
    expect(dueAt(dispatched(), RULES)).toBe(DEADLINE);
    expect(dueAt(inProgress(), RULES)).toBe(NOW + 10 * MINUTE_MS);
    expect(dueAt(stuck(), RULES)).toBe(DEADLINE);
    expect(dueAt(beaten(dispatched(), DEADLINE - 1), RULES)).toBe(DEADLINE);
  });

  it("is never once it has ended", () => {
    expect(dueAt(completed(), RULES)).toBeNull();
  });
});

describe("a heartbeat", () => {
  const heartbeat = { by: CALLEE, id: ID, progressSeq: null, details: null };

  it("tells the callee how long somebody waits", () => {
    const { answer } = beat(dispatched(), heartbeat, NOW + 500);
    expect(answer).toEqual({ cancel_requested: false, deadline_in_s: 6 * 3600 });
    expect(beat(dispatched(), heartbeat, DEADLINE + 1).answer.deadline_in_s).toBe(0);
  });

  it("asks to stop where nobody waits any more, and only there", () => {
    const expired = judge(dispatched(), DEADLINE, RULES).delegation;
    expect(beat(expired, heartbeat, NOW).answer).toEqual({ cancel_requested: true, deadline_in_s: 0 });
    expect(beat(completed(), heartbeat, NOW)).toEqual({
      delegation: completed(),
      effects: [],
      answer: { cancel_requested: false, deadline_in_s: 0 },
    });
    const takenBack = said(inProgress(), { by: CALLER, status: "failed", error: "no longer needed" }).delegation;
    expect(beat(takenBack, heartbeat, NOW).answer.cancel_requested).toBe(true);
  });

  it("of the caller feeds the clock and proves no delivery", () => {
    const watched = beaten(queued(), NOW + 1, { by: CALLER });
    expect(watched.current).toMatchObject({ state: "queued", delivery: "none", pulse: { at: NOW + 1 } });
    const begun = said(queued(), { by: CALLER, status: "in_progress" }).delegation;
    expect(begun.current).toMatchObject({ state: "in_progress", delivery: "none" });
  });

  it("without a rising progress_seq is no progress", () => {
    const started = beaten(dispatched(), NOW, { progressSeq: 2 });
    const repeated = beaten(started, NOW + 1, { progressSeq: 2 });
    const older = beaten(repeated, NOW + 2, { progressSeq: 1 });
    const silent = beaten(older, NOW + 3);
    expect(silent.current.pulse).toEqual({ at: NOW + 3, progressSeq: 2, progressAt: NOW, details: null });
    expect(beaten(silent, NOW + 4, { progressSeq: 3 }).current.pulse).toMatchObject({
      progressSeq: 3,
      progressAt: NOW + 4,
    });
  });

  it("keeps the last details that were given", () => {
    const { delegation } = beat(dispatched(), { ...heartbeat, details: "half way" }, NOW);
    expect(beaten(delegation, NOW + 1).current.pulse?.details).toBe("half way");
  });

  it("of a stranger, or under an unknown id, learns nothing", () => {
    expect(() => beat(dispatched(), { ...heartbeat, by: STRANGER }, NOW)).toThrow(Refusal);
    expect(() => beat(dispatched(), { ...heartbeat, id: "other" }, NOW)).toThrow(new Refusal("delegation.not_found"));
  });

  it("leaves the time of the last state change alone", () => {
    expect(beaten(inProgress(), NOW + 5).updatedAt).toBe(NOW);
    expect(beaten(dispatched(), NOW + 5).updatedAt).toBe(NOW + 5);
  });
});
