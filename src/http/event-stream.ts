/** What may wait for a slow reader; beyond it the stream ends, and its reader resumes with Last-Event-ID. */
export const STREAM_QUEUE_BYTES_MAX = 8 * 1024 * 1024;

/** Server-sent events from a socket whose messages are blocks of such a stream already. */
export function eventStream(socket: WebSocket, signal: AbortSignal): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let ended = false;
  const end = (controller: ReadableStreamDefaultController<Uint8Array>) => {
    if (ended) return;
    ended = true;
    controller.close();
    socket.close(1000, "done");
  };
  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        controller.enqueue(encoder.encode(": ping\n\n"));
        socket.addEventListener("message", ({ data }) => {
          if (ended) return;
          controller.enqueue(encoder.encode(String(data)));
          if ((controller.desiredSize ?? 0) <= 0) end(controller);
        });
        for (const type of ["close", "error"] as const) socket.addEventListener(type, () => end(controller));
        signal.addEventListener("abort", () => end(controller));
        socket.accept();
      },
      cancel() {
        ended = true;
        socket.close(1000, "reader gone");
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: STREAM_QUEUE_BYTES_MAX }),
  );
}
