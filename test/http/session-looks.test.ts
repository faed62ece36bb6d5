import { describe, expect, it, onTestFinished, vi } from "vitest";
import { SEEN_MAX, SessionLooks, type Verdict } from "../../src/http/session-looks.ts";

const ADA: Verdict = { kind: "member", userId: "user_ada" };
const STRANGER: Verdict = { kind: "stranger" };
const UNKNOWN: Verdict = { kind: "unknown" };

/** A look that says what it is told, when it is told. */
function aLook() {
  const { promise, resolve } = Promise.withResolvers<Verdict>();
  const state = { taken: 0 };
  const look = () => {
    state.taken += 1;
    return promise;
  };
  return { look, say: resolve, state };
}

describe("what an isolate remembers of cookies", () => {
  it("is 10,000 of them at most, and the one seen first goes", async () => {
    const looks = new SessionLooks();
    await looks.at("first", async () => ADA);
    await looks.at("second", async () => ADA);
    for (let index = 2; index < SEEN_MAX; index++) await looks.at(`${index}`, async () => STRANGER);
    expect(looks.wasMember("first")).toBe(true);
    await looks.at("one more", async () => ADA);
    expect(["first", "second", "one more"].map((key) => looks.wasMember(key))).toEqual([false, true, true]);
  });

  it("is nothing of a look that failed, or that was under way when the cookie changed", async () => {
    const looks = new SessionLooks();
    expect(await looks.at("k", async () => UNKNOWN)).toEqual(UNKNOWN);
    await expect(looks.at("k", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    const { look, say } = aLook();
    const before = looks.at("k", look);
    looks.forget("k");
    say(ADA);
    expect(await before).toEqual(ADA);
    expect(await looks.at("k", async () => STRANGER)).toEqual(STRANGER);
  });
});

describe("a look", () => {
  it("is taken once for all who ask meanwhile, and its failure is theirs too", async () => {
    const looks = new SessionLooks();
    for (const verdict of [UNKNOWN, ADA]) {
      const { look, say, state } = aLook();
      const all = Promise.all([looks.at("k", look), looks.at("k", look), looks.at("k", look)]);
      say(verdict);
      expect(await all).toEqual([verdict, verdict, verdict]);
      expect(state.taken).toBe(1);
    }
  });

  it("whose request was cut off is taken again by one of those who wait for it", async () => {
    const looks = new SessionLooks();
    const { look: lost, state } = aLook();
    void looks.at("k", lost);
    const { look, say } = aLook();
    const waiting = looks.at("k", look);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 4_000 });
    onTestFinished(() => void vi.useRealTimers());
    say(ADA);
    expect(await waiting).toEqual(ADA);
    expect(state.taken).toBe(1);
  });
});
