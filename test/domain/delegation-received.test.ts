import { describe, expect, it } from "vitest";
import type { EndMessage, ReceivedMessage } from "../../src/domain/delegation-effect.ts";
import {
  abandoned,
  beatReceived,
  meantReceived,
  type Received,
  receive,
  receiveEnd,
} from "../../src/domain/delegation-received.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import { CALLER, HOUR_MS, ID, NOW, STRANGER } from "./delegation-samples.ts";

const arrival: ReceivedMessage = {
  kind: "received",
  attemptId: ID,
  callerId: CALLER,
  delegationId: ID,
  taskPreview: "count the sheep",
  createdAt: NOW - 1,
  deadline: NOW + HOUR_MS,
  dispatch: 1,
};
const cancelled: EndMessage = {
  kind: "cancel",
  attemptId: ID,
  callerId: CALLER,
  status: "cancelled",
  error: "cancelled",
};
const closed: EndMessage = { kind: "closed", attemptId: ID, callerId: CALLER, status: "completed", error: null };
const received = (): Received => receive(null, arrival, NOW).received;

describe("an attempt that arrives", () => {
  it("is put before the callee", () => {
    expect(receive(null, arrival, NOW)).toEqual({
      received: {
        attemptId: ID,
        callerId: CALLER,
        delegationId: ID,
        taskPreview: "count the sheep",
        createdAt: NOW - 1,
        updatedAt: NOW,
        deadline: NOW + HOUR_MS,
        dispatch: 1,
        lastHeartbeat: null,
        status: "dispatched",
        error: null,
        cancelRequested: false,
        withdrawn: false,
      },
      deliver: true,
    });
  });

  it("twice is put there once, and once more for a further dispatch", () => {
    const known = received();
    expect(receive(known, arrival, NOW)).toEqual({ received: known, deliver: false });
    const again = receive(known, { ...arrival, dispatch: 2 }, NOW);
    expect(again).toEqual({ received: { ...known, dispatch: 2 }, deliver: true });
    expect(receive(again.received, arrival, NOW).deliver).toBe(false);
  });

  it("with its caller needs no row", () => {
    expect(receive(null, { ...arrival, dispatch: 0 }, NOW).deliver).toBe(false);
  });

  it("after its cancellation is not delivered any more", () => {
    const early = receiveEnd(null, cancelled, NOW);
    expect(early).toMatchObject({
      withdraw: false,
      received: { attemptId: ID, callerId: CALLER, status: "cancelled" },
    });
    expect(receive(early.received, arrival, NOW)).toEqual({ received: early.received, deliver: false });
  });
});

describe("an attempt that ends", () => {
  it("by a cancellation is withdrawn, once", () => {
    const end = receiveEnd(received(), cancelled, NOW + 1);
    expect(end.withdraw).toBe(true);
    expect(end.received).toEqual({
      ...received(),
      updatedAt: NOW + 1,
      status: "cancelled",
      error: "cancelled",
      cancelRequested: true,
    });
    expect(receiveEnd(end.received, cancelled, NOW + 2)).toEqual({ received: end.received, withdraw: false });
  });

  it("by the callee's own word is only noted", () => {
    expect(receiveEnd(received(), closed, NOW)).toMatchObject({
      withdraw: false,
      received: { cancelRequested: false },
    });
  });
});

describe("an attempt whose callee has been removed", () => {
  it("has failed here, whatever its owner answers", () => {
    const given = abandoned(received(), NOW + 1);
    expect(given).toEqual({ ...received(), updatedAt: NOW + 1, status: "failed", error: "target workspace removed" });
    expect(receiveEnd(given, cancelled, NOW + 2)).toEqual({ received: given, withdraw: false });
  });
});

describe("the callee's own heartbeat", () => {
  it("is answered from what is known here", () => {
    const beat = beatReceived(received(), NOW + 1000);
    expect(beat).toEqual({
      received: { ...received(), status: "in_progress", lastHeartbeat: NOW + 1000, updatedAt: NOW + 1000 },
      answer: { cancel_requested: false, deadline_in_s: 3599 },
    });
    expect(beatReceived(beat.received, NOW + 2000).received.updatedAt).toBe(NOW + 1000);
  });

  it("learns of a cancellation, and that a closed attempt needs no stopping", () => {
    const stopped = receiveEnd(received(), cancelled, NOW).received;
    expect(beatReceived(stopped, NOW)).toEqual({
      received: stopped,
      answer: { cancel_requested: true, deadline_in_s: 0 },
    });
    const done = receiveEnd(received(), closed, NOW).received;
    expect(beatReceived(done, NOW).answer).toEqual({ cancel_requested: false, deadline_in_s: 0 });
  });
});

describe("an id that the callee names", () => {
  const other = { ...received(), callerId: STRANGER };
  const ended = { ...receiveEnd(other, closed, NOW).received, callerId: STRANGER };

  it("means the only attempt under it, or that of the caller whom it names as well", () => {
    expect(meantReceived([], null)).toBeNull();
    expect(meantReceived([ended], null)).toBe(ended);
    const open = received();
    expect(meantReceived([ended, open], CALLER)).toBe(open);
    expect(meantReceived([ended, open], STRANGER)).toBe(ended);
    expect(meantReceived([open], STRANGER)).toBeNull();
  });

  it("is never guessed from one of two having ended", () => {
    expect(() => meantReceived([ended, received()], null)).toThrow(Refusal);
  });

  it("recorded by two callers is refused with both of them", () => {
    expect(() => meantReceived([received(), other], null)).toThrow(Refusal);
    try {
      meantReceived([received(), other], null);
    } catch (error) {
      expect(error).toMatchObject({
        code: "delegation.ambiguous",
        options: { details: { candidates: [CALLER, STRANGER] } },
      });
    }
  });
});
