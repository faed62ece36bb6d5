import { describe, expect, it, onTestFinished, vi } from "vitest";
import { DRAIN_BYTES_MAX } from "../../src/uploads/body-reader.ts";
import { aDeployment } from "../support/client-deployment.ts";
import { anAgent, answerOf, send } from "../support/platform.ts";
import { until } from "../support/until.ts";

const CHUNK_BYTES = 1024 * 1024;

/** A body of `chunks` MiB that counts what was taken of it. */
function countedBody(chunks: number) {
  const taken = { chunks: 0 };
  const chunk = new Uint8Array(CHUNK_BYTES);
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (taken.chunks === chunks) return controller.close();
        taken.chunks += 1;
        controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
  return { body, taken };
}

const FORM = { "Content-Type": "multipart/form-data; boundary=b" };

describe("the body of a refused request", () => {
  it("is read to its end where nothing of it was wanted, so that whoever writes first sees the answer", async () => {
    const { id } = await anAgent();
    const { body, taken } = countedBody(24);
    const answer = await answerOf(
      await send(`/workspaces/${id}/chat/uploads`, { method: "POST", body, token: "nonsense", headers: FORM }),
    );
    expect(answer).toMatchObject({ status: 401, body: { error: "invalid workspace auth token" } });
    expect(taken.chunks).toBe(24);
  });

  it("is read to its end where it was refused in its middle", async () => {
    const { id } = await anAgent();
    const upload = countedBody(52);
    const tooLarge = await send(`/workspaces/${id}/chat/uploads`, { method: "POST", body: upload.body, headers: FORM });
    expect([tooLarge.status, upload.taken.chunks]).toEqual([413, 52]);
    const message = countedBody(3);
    const tooLong = await send(`/workspaces/${id}/a2a`, { method: "POST", body: message.body });
    expect([tooLong.status, message.taken.chunks]).toEqual([413, 3]);
  });

  it("is read no further than its limit when it has no end", async () => {
    const { body, taken } = countedBody(Number.POSITIVE_INFINITY);
    const answer = await send("/nowhere", { method: "POST", body });
    expect(answer.status).toBe(404);
    expect(taken.chunks).toBeLessThanOrEqual(DRAIN_BYTES_MAX / CHUNK_BYTES + 2);
  });

  it("holds the answer back for a second at most when its sender writes no more", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    onTestFinished(() => void vi.useRealTimers());
    const body = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) });
    const answer = aDeployment().send("/nowhere", { method: "POST", body });
    await until("the body is awaited", async () => vi.getTimerCount() === 2);
    vi.advanceTimersByTime(1_000);
    expect((await answer).status).toBe(404);
  });

  it("is no obstacle to the answer when its sender has gone", async () => {
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.error(new Error("gone"));
      },
    });
    expect((await send("/nowhere", { method: "POST", body })).status).toBe(404);
  });
});
