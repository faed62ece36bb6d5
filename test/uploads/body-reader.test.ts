import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { drain, IdleGuard } from "../../src/uploads/body-reader.ts";

const silent = () => new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) }).getReader();

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});

afterEach(() => {
  vi.useRealTimers();
});

describe("a body that nobody wants", () => {
  it("is waited for no longer than a second without a byte", async () => {
    const drained = drain(silent());
    await vi.advanceTimersByTimeAsync(1_000);
    await drained;
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is waited for no longer than ten seconds while bytes trickle", async () => {
    let taken = 0;
    const trickle = new ReadableStream<Uint8Array>({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 900));
        taken += 1;
        controller.enqueue(new Uint8Array(1));
      },
    });
    const drained = drain(trickle.getReader());
    await vi.advanceTimersByTimeAsync(10_000);
    await drained;
    expect(taken).toBe(11);
  });
});

describe("a read of a body", () => {
  it("throws when no byte came in time, though the stream then says that it is over", async () => {
    const reader = silent();
    const guard = new IdleGuard(reader, 500);
    const failed = expect(guard.read(() => reader.read())).rejects.toThrow("no byte came in time");
    await vi.advanceTimersByTimeAsync(500);
    await failed;
    guard.end();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("is not too late while bytes come, nor while nobody reads", async () => {
    const guard = new IdleGuard(silent(), 500);
    expect(await guard.read(async () => "first")).toBe("first");
    await vi.advanceTimersByTimeAsync(5_000);
    expect(await guard.read(async () => "second")).toBe("second");
    expect(vi.getTimerCount()).toBe(1);
    guard.end();
    expect(vi.getTimerCount()).toBe(0);
  });
});
