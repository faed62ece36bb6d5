import { describe, expect, it } from "vitest";
import { judgePush, type PushOutcome } from "../../src/domain/a2a-outcome.ts";
import type { Delegation } from "../../src/domain/delegation.ts";
import {
  ATTEMPTS_MAX,
  calleeRemoved,
  callerRemoved,
  cancel,
  retry,
  withdrawn,
} from "../../src/domain/delegation-control.ts";
import { delegate } from "../../src/domain/delegation-creation.ts";
import { isDispatchDue, pushAnswerText, settleDispatch } from "../../src/domain/delegation-dispatch.ts";
import { judge } from "../../src/domain/delegation-judging.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import {
  answered,
  answerOf,
  aRequest,
  beaten,
  busy,
  CALLER,
  callEnded,
  callStarted,
  completed,
  dispatched,
  effectsOf,
  failed,
  HOUR_MS,
  ID,
  inProgress,
  NOW,
  outline,
  pollDelivered,
  queued,
  RETRY_ID,
  RULES,
  recorded,
  said,
  stuck,
  told,
  undelivered,
  vanished,
} from "./delegation-samples.ts";

const drained = (outcome: PushOutcome, waitsAgain = false) => ({ kind: "drained", outcome, waitsAgain }) as const;
const pushed = (status: number, body: string) =>
  judgePush(
    { kind: "answered", status, body, cloudflareMade: false },
    { name: "Ada", method: "message/send", container: "none", nativeSession: false },
  );
const waiting = () => told(queued(), busy).delegation;

describe("a push call", () => {
  it("that is answered completes the delegation with the answer's text", () => {
    const called = told(queued(), callStarted);
    expect(outline(called)).toEqual(["dispatched", "history sent: dispatched", "DELEGATION_STATUS dispatched"]);
    const done = told(called.delegation, answerOf("twelve"));
    expect(done.delegation.current).toMatchObject({
      state: "completed",
      endedBy: "callee",
      delivery: "confirmed",
      text: { preview: "twelve" },
    });
  });

  it("that is answered with an error fails it with the reason, and keeps the words", () => {
    const done = told(queued(), answered(500, '{"error":"out of sheep","code":7}'));
    expect(done.delegation.current).toMatchObject({
      state: "failed",
      error: "out of sheep",
      text: { preview: '{"error":"out of sheep","code":7}' },
    });
  });

  const taskIn = (state: string) => JSON.stringify({ result: { kind: "task", id: "t", status: { state } } });

  it.each<[number, string]>([
    [202, ""],
    [202, '{"queued":true,"queue_id":"q"}'],
    [200, '{"status":"queued","delivery_mode":"poll"}'],
    [200, '{"queued":true,"queue_id":"q"}'],
    ...["submitted", "working", "input-required", "auth-required"].map((state): [number, string] => [
      200,
      taskIn(state),
    ]),
  ])("that is answered %i %s has delivered the task and completes nothing", (status, body) => {
    const sent = told(told(queued(), callStarted).delegation, answered(status, body));
    expect(sent.delegation.current).toMatchObject({ state: "dispatched", delivery: "confirmed" });
    expect(effectsOf(sent, "inbox")).toEqual([]);
    expect(told(waiting(), drained(pushed(status, body))).delegation.current).toMatchObject({
      state: "dispatched",
      delivery: "confirmed",
    });
    expect(said(sent.delegation, { text: "twelve" }).disposition).toBe("closed");
    const ended = cancel(sent.delegation, { actor: CALLER, reason: null }, NOW).delegation;
    expect(told(ended, answered(status, body)).delegation).toBe(ended);
  });

  it.each([
    [200, taskIn("completed")],
    [200, '{"result":{"status":"queued"}}'],
    [200, '{"status":"ok"}'],
    [200, '{"jsonrpc":"2.0","error":{"code":-32603}}'],
    [200, '["queued"]'],
    [200, ""],
    [204, ""],
  ])("that is answered %i %s completes the delegation", (status, body) => {
    expect(told(queued(), answered(status, body)).delegation.current.state).toBe("completed");
  });

  it.each(["failed", "canceled", "rejected"])("that is answered with a %s task fails, with its words", (state) => {
    const message = { parts: [{ kind: "text", text: "no sheep" }] };
    const worded = JSON.stringify({ result: { kind: "task", status: { state, message } } });
    expect(told(queued(), answered(200, worded)).delegation.current).toMatchObject({
      state: "failed",
      endedBy: "callee",
      error: "no sheep",
      text: { preview: "no sheep" },
    });
    expect(told(queued(), answered(200, taskIn(state))).delegation.current).toMatchObject({
      state: "failed",
      error: `agent answered with a task that is ${state}`,
      text: { preview: taskIn(state) },
    });
  });

  it.each([
    [200, taskIn("working"), "dispatched"],
    [200, taskIn("rejected"), "failed"],
    [502, '{"error":"no sheep"}', "failed"],
    [200, "plain words", "completed"],
  ])("answered %i %s counts the same when it is told as it was recorded: %s", (status, body, state) => {
    const { outcome } = answered(status, body) as { outcome: PushOutcome };
    const recordedOnly = { ...outcome, reply: { ...outcome.reply, body: null } } as PushOutcome;
    const settled = told(queued(), { kind: "call_ended", outcome: recordedOnly }).delegation.current;
    expect(settled).toMatchObject({ state, delivery: "confirmed" });
    expect(settled).toEqual(told(queued(), answered(status, body)).delegation.current);
  });

  it.each([
    [301, "<html>moved</html>"],
    [302, ""],
    [304, ""],
    [502, "<html>Bad Gateway</html>"],
    [504, "upstream timed out"],
  ])("that is answered %i %s in the callee's place fails the delegation without a text", (status, body) => {
    expect(told(queued(), answered(status, body)).delegation.current).toMatchObject({
      state: "failed",
      endedBy: "platform",
      delivery: "confirmed",
      error: `agent answered HTTP ${status}`,
    });
  });

  it("that is answered with a redirect in the callee's words fails the delegation and keeps them", () => {
    expect(told(queued(), answered(307, '{"moved":"away"}')).delegation.current).toMatchObject({
      state: "failed",
      text: { preview: '{"moved":"away"}' },
    });
  });

  it.each([
    [pushed(200, '{"result":{"parts":[{"kind":"text","text":"twelve"}]}}'), "twelve"],
    [pushed(200, '{"error":{"code":-1}}'), '{"error":{"code":-1}}'],
    [pushed(200, "plain words"), "plain words"],
    [{ ...pushed(200, "plain words"), reply: { ...pushed(200, "").reply, body: null } } as PushOutcome, "plain words"],
    [pushed(200, '{"result":{"parts":[{"kind":"text","text":"a\\u0000b"}]}}'), "a\ufffdb"],
    [pushed(204, ""), null],
    [pushed(503, ""), null],
  ])("whose outcome is %j has the text %j", (outcome, text) => {
    expect(pushAnswerText(outcome)).toBe(text);
  });

  it("that was surely not delivered is made once more 8 seconds later, then the delegation fails", () => {
    const first = told(told(queued(), callStarted).delegation, undelivered, NOW + 1);
    expect(outline(first)).toEqual(["queued", "history sent: queued", "DELEGATION_STATUS queued", "dispatch 2"]);
    expect(effectsOf(first, "dispatch")[0]?.at).toBe(NOW + 8001);
    const second = told(first.delegation, undelivered, NOW + 9000);
    expect(second.delegation.current).toMatchObject({
      state: "failed",
      endedBy: "platform",
      error: "connection refused",
      delivery: "none",
    });
  });

  it("told of twice uses up the one retry only once", () => {
    const again = told(queued(), undelivered).delegation;
    const report = { attemptId: ID, dispatch: 1, outcome: undelivered };
    expect(settleDispatch(again, report, NOW).delegation).toBe(again);
    expect(settleDispatch(again, { ...report, outcome: callStarted }, NOW).delegation).toBe(again);
  });

  it("whose outcome is unknown is never repeated, and waits for the deadline or a late answer", () => {
    const unknown = told(told(queued(), callStarted).delegation, vanished).delegation;
    expect(unknown.current).toMatchObject({ state: "dispatched", delivery: "unknown" });
    for (const outcome of [undelivered, busy, callStarted, vanished, { kind: "refused", error: "no" } as const]) {
      expect(told(unknown, outcome).delegation).toBe(unknown);
    }
    expect(told(unknown, pollDelivered).delegation.current.delivery).toBe("confirmed");
    expect(told(unknown, answerOf("twelve")).delegation.current).toMatchObject({ state: "completed" });
    const expired = judge(unknown, NOW + 6 * HOUR_MS, RULES).delegation;
    expect(told(expired, answerOf("twelve")).delegation.current).toMatchObject({
      state: "failed",
      late: { preview: "twelve" },
    });
  });

  it("whose answer could not be read has failed, and is not repeated", () => {
    const { delegation } = told(queued(), callEnded({ kind: "too_large", status: 200 }));
    expect(delegation.current).toMatchObject({
      state: "failed",
      endedBy: "platform",
      error: "answer larger than 10 MiB (HTTP 200)",
      delivery: "confirmed",
    });
  });

  it("that fails without a word after the end leaves room for the callee's late words", () => {
    const ended = cancel(dispatched(), { actor: CALLER, reason: null }, NOW).delegation;
    expect(told(ended, answered(502, "")).delegation).toBe(ended);
    expect(said(ended, { text: "twelve" }).disposition).toBe("late");
  });

  it("without a reason still says something", () => {
    const outcome = { ...pushed(503, ""), reason: null, delivered: "yes" as const };
    expect(told(queued(), { kind: "call_ended", outcome }).delegation.current).toMatchObject({ error: "no answer" });
  });

  it("answered under an attempt that a retry has replaced is kept there", () => {
    const again = retry(failed(), { actor: "o", reason: null, attemptId: RETRY_ID, task: "t", force: false }, NOW);
    const kept = settleDispatch(
      again.delegation,
      { attemptId: ID, dispatch: 1, outcome: answered(500, "twelve") },
      NOW,
    );
    expect(outline(kept)).toEqual(["queued", "history late: late", "delegation.old_answer"]);
  });
});

describe("a poll target", () => {
  it("has the task delivered, not completed", () => {
    const delivered = told(queued(), pollDelivered);
    expect(delivered.delegation.current).toMatchObject({ state: "dispatched", delivery: "confirmed" });
    expect(told(delivered.delegation, pollDelivered).delegation).toBe(delivered.delegation);
  });
});

describe("a target that refuses", () => {
  it("fails the delegation with the text of the hierarchy rule", () => {
    const error = "access denied: workspaces cannot communicate per hierarchy rules";
    const refused = told(queued(), { kind: "refused", error });
    expect(effectsOf(refused, "event")[0]?.payload.error).toBe(error);
    expect(effectsOf(refused, "inbox")[0]?.row.errorDetail).toBe(error);
  });
});

describe("a busy target", () => {
  it("keeps the delegation queued, in the words of the contract", () => {
    const queuedThere = told(told(queued(), callStarted).delegation, busy);
    expect(outline(queuedThere)).toEqual([
      "queued",
      "history result: queued",
      "history sent: queued",
      "DELEGATION_STATUS queued",
    ]);
    expect(effectsOf(queuedThere, "history")[0]?.row).toMatchObject({
      summary: "Delegation queued — target at capacity",
      responseBody: `{"delegation_id":"${ID}","queued":true}`,
    });
    expect(told(queuedThere.delegation, busy).delegation).toBe(queuedThere.delegation);
  });

  it("is dispatched to by its own queue only", () => {
    expect(isDispatchDue(waiting(), ID, 1, NOW + HOUR_MS)).toBe(false);
    const delegation = waiting();
    expect(told(delegation, undelivered).delegation).toBe(delegation);
    expect(told(delegation, callStarted).delegation).toBe(delegation);
  });

  it("that is busy again keeps it queued", () => {
    const delegation = waiting();
    expect(told(delegation, drained(pushed(503, ""), true)).delegation).toBe(delegation);
  });

  it("that answers when drained completes it everywhere it is looked for", () => {
    const done = told(waiting(), drained(pushed(200, "twelve")));
    expect(outline(done)).toEqual([
      "completed",
      "history result: completed",
      "history sent: completed",
      "DELEGATION_COMPLETE",
      "inbox result",
      "callee closed",
    ]);
    expect(effectsOf(done, "event")[0]?.payload).toMatchObject({ response_preview: "twelve", via: "queue_drain" });
  });

  it("that was drained too often fails it", () => {
    expect(told(waiting(), drained(pushed(503, ""))).delegation.current).toMatchObject({
      state: "failed",
      error: "agent busy (HTTP 503)",
    });
  });

  it("that vanishes when drained leaves the delivery unknown", () => {
    const { kind, ...outcome } = vanished as Extract<typeof vanished, { kind: "call_ended" }>;
    expect(outline(told(waiting(), { kind: "drained", waitsAgain: false, ...outcome }))).toEqual([
      "dispatched",
      "history sent: dispatched",
      "DELEGATION_STATUS dispatched",
    ]);
    expect(kind).toBe("call_ended");
  });

  it("whose queue dropped the request fails it with that reason", () => {
    const error = "dropped as stale by an operator";
    expect(told(waiting(), { kind: "refused", error }).delegation.current).toMatchObject({ state: "failed", error });
  });

  it("shows a stuck notice on until a heartbeat", () => {
    const watched = judge(beaten(queued(), NOW, { by: CALLER }), NOW + RULES.stuckThresholdMs, RULES).delegation;
    const still = told(watched, busy);
    expect(outline(still)).toEqual([
      "stuck",
      "history result: queued",
      "history sent: stuck",
      "DELEGATION_STATUS stuck",
    ]);
  });
});

describe("a wanted dispatch", () => {
  it("is made at its time, for its own attempt and number, and not before", () => {
    const again = told(queued(), undelivered).delegation;
    expect(isDispatchDue(queued(), ID, 1, NOW)).toBe(true);
    expect(isDispatchDue(again, ID, 2, NOW + 7999)).toBe(false);
    expect(isDispatchDue(again, ID, 2, NOW + 8000)).toBe(true);
    expect(isDispatchDue(again, ID, 1, NOW + 8000)).toBe(false);
    expect(isDispatchDue(again, RETRY_ID, 2, NOW + 8000)).toBe(false);
  });

  it("is dropped once the callee works or the attempt has ended", () => {
    const again = told(queued(), undelivered).delegation;
    expect(isDispatchDue(beaten(again, NOW), ID, 2, NOW + 8000)).toBe(false);
    expect(isDispatchDue(callerRemoved(again, NOW).delegation, ID, 2, NOW + 8000)).toBe(false);
  });
});

describe("a cancellation", () => {
  const order = { actor: CALLER, reason: null };

  it("ends what is open at once, tells the callee and leaves an audit row", () => {
    const cancelled = cancel(dispatched(), { actor: "admin", reason: "wrong sheep" }, NOW + 1);
    expect(outline(cancelled)).toEqual([
      "cancelled",
      "history result: failed",
      "history sent: failed",
      "DELEGATION_FAILED",
      "inbox result",
      "callee cancel",
      "delegation.cancel",
    ]);
    expect(cancelled.delegation.current).toMatchObject({ error: "cancelled by admin: wrong sheep" });
    expect(effectsOf(cancelled, "event")[0]?.payload.error).toBe("cancelled");
    expect(effectsOf(cancelled, "callee")[0]?.message).toMatchObject({ attemptId: ID, status: "cancelled" });
    expect(effectsOf(cancelled, "audit")[0]).toMatchObject({ actor: "admin", reason: "wrong sheep" });
  });

  it("says whether the callee may have the task already", () => {
    expect(cancel(queued(), order, NOW).cancelRequested).toBe(false);
    expect(cancel(waiting(), order, NOW).cancelRequested).toBe(false);
    expect(cancel(dispatched(), order, NOW).cancelRequested).toBe(true);
  });

  it("said twice is one, with the same answer", () => {
    const { delegation } = cancel(dispatched(), order, NOW);
    expect(delegation.current).toMatchObject({ error: `cancelled by ${CALLER}` });
    expect(cancel(delegation, order, NOW)).toEqual({ delegation, effects: [], cancelRequested: true });
  });

  it.each([completed, failed])("of what has ended is refused with its status", (state) => {
    const delegation = state();
    const { state: status } = delegation.current;
    expect(() => cancel(delegation, order, NOW)).toThrow(`delegation is already ${status}`);
  });
});

describe("a task that was taken back unread", () => {
  const cancelled = cancel(dispatched(), { actor: "admin", reason: null }, NOW).delegation;

  it("is known as such, once, and a repeated cancel answers the same", () => {
    const known = withdrawn(cancelled, ID);
    expect(known).toMatchObject({ delegation: { current: { state: "cancelled", withdrawn: true } }, effects: [] });
    expect(withdrawn(known.delegation, ID).delegation).toBe(known.delegation);
    expect(cancel(known.delegation, { actor: "admin", reason: null }, NOW).cancelRequested).toBe(true);
  });

  it("is known to be when its call was surely not sent, and only then", () => {
    const called = cancel(told(queued(), callStarted).delegation, { actor: "admin", reason: null }, NOW).delegation;
    expect(told(called, undelivered).delegation.current).toMatchObject({ state: "cancelled", withdrawn: true });
    for (const outcome of [busy, vanished, callStarted, pollDelivered]) {
      expect(told(called, outcome).delegation).toBe(called);
    }
  });

  it.each([
    ["of another attempt", cancelled, RETRY_ID],
    ["of one that is open", dispatched(), ID],
    ["of one that its callee has ended", failed(), ID],
    ["that the caller brought itself", cancel(recorded(), { actor: "admin", reason: null }, NOW).delegation, ID],
  ])("is no news where it is the task %s", (_, delegation, attemptId) => {
    expect(withdrawn(delegation, attemptId).delegation).toBe(delegation);
  });
});

describe("a removal", () => {
  it("of the caller cancels what it sent, with a reason and a row", () => {
    const removed = callerRemoved(inProgress(), NOW);
    expect(removed.delegation.current).toMatchObject({ state: "cancelled", error: "caller workspace removed" });
    expect(effectsOf(removed, "inbox")).toHaveLength(1);
  });

  it("of the callee fails what it had open, with a reason and a row", () => {
    const removed = calleeRemoved(inProgress(), NOW);
    expect(removed.delegation.current).toMatchObject({ state: "failed", error: "target workspace removed" });
    expect(effectsOf(removed, "inbox")[0]?.row.errorDetail).toBe("target workspace removed");
  });
});

describe("a retry", () => {
  const order = {
    actor: "admin",
    reason: "again",
    attemptId: RETRY_ID,
    task: "count the sheep",
    keyHolder: null,
    force: false,
  };
  const codeOf = (work: () => unknown) => {
    try {
      work();
    } catch (error) {
      if (error instanceof Refusal) return error.code;
    }
    return null;
  };
  const expired = (delegation: Delegation) => judge(delegation, NOW + 6 * HOUR_MS, RULES).delegation;

  it("is a new attempt under a fresh id, with a row, an event, a dispatch and an audit row of its own", () => {
    const again = retry(failed(), order, NOW + HOUR_MS);
    expect(outline(again)).toEqual([
      "queued",
      "history sent: pending",
      "DELEGATION_SENT",
      "dispatch 1",
      "delegation.retry",
    ]);
    expect(effectsOf(again, "dispatch")[0]?.message).toMatchObject({ attemptId: RETRY_ID, delegationId: ID });
    expect(again.delegation).toMatchObject({
      delegationId: ID,
      createdAt: NOW,
      updatedAt: NOW + HOUR_MS,
      past: [{ attemptId: ID, state: "failed", error: "out of sheep" }],
      current: { attemptId: RETRY_ID, deadline: NOW + 7 * HOUR_MS },
    });
  });

  it("of a completed one or one in flight is refused, force or not", () => {
    for (const force of [false, true]) {
      expect(codeOf(() => retry(completed(), { ...order, force }, NOW))).toBe("delegation.ended");
      expect(codeOf(() => retry(inProgress(), { ...order, force }, NOW))).toBe("delegation.in_flight");
    }
  });

  it.each([
    ["a vanished call", told(queued(), vanished).delegation],
    ["an expired vanished call", expired(told(queued(), vanished).delegation)],
    ["an expired call of which nothing was heard", expired(told(queued(), callStarted).delegation)],
    ["a stuck attempt", stuck()],
    ["an expired task that its callee may have read", expired(dispatched())],
    ["an expired task in work", expired(inProgress())],
    [
      "a cancelled task that its callee may still do",
      cancel(inProgress(), { actor: "o", reason: null }, NOW).delegation,
    ],
    ["a call whose answer could not be read", told(queued(), callEnded({ kind: "too_large", status: 200 })).delegation],
  ])("of %s takes force", (_, delegation) => {
    expect(codeOf(() => retry(delegation, order, NOW))).toBe("delegation.outcome_unknown");
    expect(retry(delegation, { ...order, force: true }, NOW).delegation.current.attemptId).toBe(RETRY_ID);
  });

  it("by force ends the attempt that was open first", () => {
    const again = retry(stuck(), { ...order, force: true }, NOW);
    expect(outline(again)).toEqual([
      "queued",
      "history result: failed",
      "history sent: failed",
      "DELEGATION_FAILED",
      "inbox result",
      "callee cancel",
      "history sent: pending",
      "DELEGATION_SENT",
      "dispatch 1",
      "delegation.retry",
    ]);
    expect(again.delegation.past).toMatchObject([{ state: "cancelled", error: "replaced by a retry" }]);
  });

  it.each([
    ["is cancelled before it is sent", cancel(queued(), { actor: "o", reason: null }, NOW).delegation],
    ["is taken back from the queue of a busy callee", cancel(waiting(), { actor: "o", reason: null }, NOW).delegation],
    ["expires in that queue", expired(waiting())],
    ["was taken back unread", withdrawn(expired(dispatched()), ID).delegation],
    ["failed in the callee's own words", failed()],
  ])("needs no force where the task %s", (_, delegation) => {
    expect(retry(delegation, order, NOW).delegation.current.state).toBe("queued");
  });

  it("takes force where another delegation holds its key, and names that one", () => {
    const keyHolder = delegate(aRequest({ delegationId: "newer" }), NOW).delegation;
    const refused = expect(() => retry(failed(), { ...order, keyHolder }, NOW));
    refused.toThrow(
      expect.objectContaining({ code: "delegation.key_bound", options: { details: { holder: "newer" } } }),
    );
    expect(retry(failed(), { ...order, keyHolder, force: true }, NOW).delegation.current.attemptId).toBe(RETRY_ID);
    expect(retry(failed(), { ...order, keyHolder: failed() }, NOW).delegation.current.attemptId).toBe(RETRY_ID);
  });

  it("is refused once there have been 50 attempts, force or not", () => {
    let delegation = failed();
    for (let attempts = 1; attempts < ATTEMPTS_MAX; attempts += 1) {
      const again = retry(delegation, { ...order, attemptId: `attempt ${attempts}` }, NOW).delegation;
      delegation = said(again, { status: "failed", error: "out of sheep" }).delegation;
    }
    expect(delegation.past).toHaveLength(ATTEMPTS_MAX - 1);
    for (const force of [false, true]) {
      expect(codeOf(() => retry(delegation, { ...order, force }, NOW))).toBe("delegation.too_many_attempts");
    }
  });

  it("needs no force once the callee has answered late", () => {
    const answeredLate = said(expired(told(queued(), vanished).delegation), { text: "twelve" }).delegation;
    expect(retry(answeredLate, order, NOW).delegation.current.state).toBe("queued");
  });
});
