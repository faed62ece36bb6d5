import { describe, expect, it } from "vitest";
import { eventStream, STREAM_QUEUE_BYTES_MAX } from "../../src/http/event-stream.ts";

const MEBIBYTE = 1024 * 1024;

function aStream(): { hub: WebSocket; reader: ReadableStreamDefaultReader<Uint8Array>; caller: AbortController } {
  const { 0: client, 1: hub } = new WebSocketPair();
  hub.accept();
  const caller = new AbortController();
  return { hub, reader: eventStream(client, caller.signal).getReader(), caller };
}

async function readToEnd(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<number> {
  let bytes = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return bytes;
    bytes += value.byteLength;
  }
}

function closed(socket: WebSocket): Promise<void> {
  return new Promise((resolve) => socket.addEventListener("close", () => resolve()));
}

describe("an event stream", () => {
  it("ends for a reader who does not read, after what was kept for it, and lets go of the hub", async () => {
    const { hub, reader } = aStream();
    const gone = closed(hub);
    const sent = (2 * STREAM_QUEUE_BYTES_MAX) / MEBIBYTE;
    for (let count = 0; count < sent; count += 1) hub.send("x".repeat(MEBIBYTE));
    await gone;
    const bytes = await readToEnd(reader);
    expect(bytes).toBeGreaterThanOrEqual(STREAM_QUEUE_BYTES_MAX);
    expect(bytes).toBeLessThanOrEqual(STREAM_QUEUE_BYTES_MAX + MEBIBYTE);
  });

  it("ends when the hub closes its socket, with all that came before", async () => {
    const { hub, reader } = aStream();
    hub.send("id: 1\n\n");
    hub.close(4401, "credential ended");
    expect(await readToEnd(reader)).toBe(": ping\n\n".length + "id: 1\n\n".length);
  });

  it("lets go of the hub when its caller is gone", async () => {
    const { hub, reader, caller } = aStream();
    const gone = closed(hub);
    caller.abort();
    await gone;
    expect(await readToEnd(reader)).toBe(": ping\n\n".length);
  });
});
