import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { judgePush, type Observation } from "../../src/domain/a2a-outcome.ts";
import {
  dispatch,
  drainOrder,
  dropStale,
  enqueue,
  expire,
  findRepeat,
  isOpen,
  MAX_QUEUE_ATTEMPTS,
  nextToDrain,
  QUEUE_STATUSES,
  type QueueItem,
  queueItemJson,
  settle,
  withdraw,
} from "../../src/domain/queue-item.ts";

const NOW = 1_777_593_600_000_000;
const MINUTE_US = 60_000_000;
const CALLER = "22222222-2222-4222-8222-222222222222";
const target = { name: "Ada", method: "message/send", container: "none", nativeSession: false } as const;

const outcomeOf = (observed: Observation) => judgePush(observed, target);
const answered = (status: number, body = "{}") => outcomeOf({ kind: "answered", status, body, cloudflareMade: false });
const BUSY = answered(503);
const UNKNOWN = outcomeOf({ kind: "fetch_threw", reason: "Network lost" });

function anItem(fields: Partial<QueueItem> = {}): QueueItem {
  const request = { seq: 1, callerId: CALLER, method: "message/send", messageId: "m", expiresInSeconds: null };
  return { ...enqueue(request, NOW), ...fields };
}

describe("a queued request", () => {
  it("starts without an attempt and expires only when asked to", () => {
    expect(anItem()).toMatchObject({ status: "queued", priority: 50, attempts: 0, enqueuedAt: NOW, expiresAt: null });
    const request = { seq: 1, callerId: null, method: "m", messageId: null, expiresInSeconds: 1.5 };
    expect(enqueue(request, NOW).expiresAt).toBe(NOW + 1_500_000);
  });

  it("is sent, answered and completed", () => {
    const sent = dispatch(anItem(), NOW + 1);
    expect(sent).toMatchObject({ status: "dispatched", attempts: 1, dispatchedAt: NOW + 1 });
    expect(settle(sent, answered(200, '{"result":1}'), NOW + 2)).toEqual({
      ...sent,
      status: "completed",
      responseBody: '{"result":1}',
      completedAt: NOW + 2,
    });
  });

  it("fails with the agent's answer when that is an error", () => {
    expect(settle(dispatch(anItem(), NOW), answered(500, '{"error":"no"}'), NOW)).toMatchObject({
      status: "failed",
      lastError: "no",
      responseBody: '{"error":"no"}',
    });
  });

  it("fails when the answer to it could not be read", () => {
    const cut = outcomeOf({ kind: "answer_cut", status: 200 });
    expect(settle(dispatch(anItem(), NOW), cut, NOW)).toMatchObject({ status: "failed", responseBody: null });
  });

  it("goes back to its old place in the same row while the agent is busy, five times", () => {
    let item = anItem();
    for (let attempt = 1; attempt < MAX_QUEUE_ATTEMPTS; attempt += 1) {
      item = settle(dispatch(item, NOW + attempt), BUSY, NOW + attempt);
      expect(item).toMatchObject({ seq: 1, status: "queued", attempts: attempt, enqueuedAt: NOW, completedAt: null });
    }
    item = settle(dispatch(item, NOW + 9), BUSY, NOW + 9);
    expect(item).toMatchObject({ status: "failed", attempts: 5, lastError: "agent busy (HTTP 503)" });
  });

  it("is never repeated once its delivery is unknown", () => {
    const item = settle(dispatch(anItem(), NOW), UNKNOWN, NOW + 1);
    expect(item).toMatchObject({
      status: "failed",
      attempts: 1,
      lastError: "delivery unknown, not repeated: Network lost",
      completedAt: NOW + 1,
    });
    expect(dispatch(item, NOW + 2)).toBe(item);
  });

  it("is dropped when it expires before it was sent, and not when it was", () => {
    const brief = anItem({ expiresAt: NOW + 1 });
    expect(expire(brief, NOW)).toBe(brief);
    expect(expire(brief, NOW + 1)).toMatchObject({ status: "dropped", completedAt: NOW + 1 });
    const sent = dispatch(brief, NOW);
    expect(expire(sent, NOW + 1)).toBe(sent);
    const lasting = anItem();
    expect(expire(lasting, NOW * 2)).toBe(lasting);
  });

  it("is dropped by an operator when it is older than asked", () => {
    const item = anItem();
    expect(dropStale(item, 60, NOW + 60 * MINUTE_US)).toBe(item);
    expect(dropStale(item, 60, NOW + 60 * MINUTE_US + 1)).toMatchObject({ status: "dropped" });
    const sent = dispatch(item, NOW);
    expect(dropStale(sent, 0, NOW + 1)).toBe(sent);
  });

  it("is taken back by its sender as long as it was not sent", () => {
    const item = anItem();
    expect(withdraw(item, NOW + 1)).toMatchObject({ status: "dropped", lastError: "withdrawn by its sender" });
    const sent = dispatch(item, NOW);
    expect(withdraw(sent, NOW + 1)).toBe(sent);
  });
});

it("a final status is final, whatever happens next", () => {
  const aStep = fc.constantFrom<(item: QueueItem) => QueueItem>(
    (item) => dispatch(item, NOW),
    (item) => settle(item, BUSY, NOW),
    (item) => settle(item, UNKNOWN, NOW),
    (item) => settle(item, answered(200), NOW),
    (item) => expire(item, NOW * 2),
    (item) => dropStale(item, 0, NOW * 2),
    (item) => withdraw(item, NOW * 2),
  );
  fc.assert(
    fc.property(fc.constantFrom(...QUEUE_STATUSES), fc.array(aStep), (status, steps) => {
      let item = anItem({ status, expiresAt: NOW + 1 });
      for (const step of steps) {
        const next = step(item);
        if (!isOpen(item)) expect(next).toBe(item);
        expect(next.attempts).toBeLessThanOrEqual(MAX_QUEUE_ATTEMPTS);
        item = next;
      }
    }),
  );
});

describe("a repeated request", () => {
  const open = [anItem({ seq: 1, status: "completed" }), anItem({ seq: 2, status: "dispatched" })];

  it("gets the queue id of the open one", () => {
    expect(findRepeat(open, { callerId: CALLER, messageId: "m" })?.seq).toBe(2);
  });

  it.each([
    ["an other message", CALLER, "other"],
    ["an other caller", null, "m"],
    ["no message id", CALLER, null],
  ])("is none with %s", (_, callerId, messageId) => {
    expect(findRepeat([...open, anItem({ messageId: null })], { callerId, messageId })).toBeNull();
  });

  it("is none when the first is decided", () => {
    expect(findRepeat(open.slice(0, 1), { callerId: CALLER, messageId: "m" })).toBeNull();
  });
});

describe("an agent with a hand free", () => {
  it("gets the highest priority first, then the oldest", () => {
    const items = [
      anItem({ seq: 4, enqueuedAt: NOW + 1 }),
      anItem({ seq: 3 }),
      anItem({ seq: 2 }),
      anItem({ seq: 5, priority: 100, enqueuedAt: NOW + 9 }),
    ];
    expect(items.toSorted(drainOrder).map(({ seq }) => seq)).toEqual([5, 2, 3, 4]);
    expect(nextToDrain(items, NOW)?.seq).toBe(5);
  });

  it("gets nothing that is under way, decided or expired", () => {
    const items = [anItem({ status: "dispatched" }), anItem({ status: "failed" }), anItem({ expiresAt: NOW })];
    expect(nextToDrain(items, NOW)).toBeNull();
  });
});

describe("an item on the wire", () => {
  it("leaves out what is not known yet", () => {
    expect(JSON.parse(queueItemJson(anItem(), "q", "w"))).toEqual({
      queue_id: "q",
      workspace_id: "w",
      status: "queued",
      priority: 50,
      attempts: 0,
      enqueued_at: "2026-05-01 00:00:00+00",
    });
  });

  it("shows the answer as it was", () => {
    const item = settle(
      dispatch(anItem({ lastError: "busy", expiresAt: NOW }), NOW + 1),
      answered(404, '{"n":12345678901234567890}'),
      NOW + 2,
    );
    const json = queueItemJson(item, "q", "w");
    expect(json).toContain('"response_body":{"n":12345678901234567890}');
    expect(JSON.parse(json)).toMatchObject({
      last_error: "agent answered HTTP 404",
      dispatched_at: "2026-05-01 00:00:00.000001+00",
      completed_at: "2026-05-01 00:00:00.000002+00",
      expires_at: "2026-05-01 00:00:00+00",
    });
  });
});
