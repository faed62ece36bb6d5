/** How long the body of an upload may bring no byte before it counts as cut off. */
export const UPLOAD_IDLE_MS = 30_000;
/** What is read of a body that nobody wants any more, and for how long: every upload that is only a little too large. */
export const DRAIN_BYTES_MAX = 64 * 1024 * 1024;
const DRAIN_MS_MAX = 10_000;
/** Who sends nothing for so long is no longer writing. */
const DRAIN_IDLE_MS = 1_000;

/** One read of a body. When nothing comes for `idleMs`, the body is given up and the read throws. */
export async function readWithin<T>(reader: BodyReader, idleMs: number, read: () => Promise<T>): Promise<T> {
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    // Nothing else ends a pending read.
    void reader.cancel().catch(() => {});
  }, idleMs);
  try {
    const result = await read();
    if (isLate) throw new Error("no byte came in time");
    return result;
  } finally {
    clearTimeout(timer);
  }
}

type BodyReader = Pick<ReadableStreamDefaultReader<Uint8Array>, "cancel">;

/**
 * Reads, within bounds, what a client still sends of a body that nobody wants. Many clients write all of theirs before
 * they look at the answer, and a connection that is closed under them hides it. Never throws.
 */
export async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const late = setTimeout(() => void reader.cancel().catch(() => {}), DRAIN_MS_MAX);
  try {
    for (let size = 0; size <= DRAIN_BYTES_MAX; ) {
      const { done, value } = await readWithin(reader, DRAIN_IDLE_MS, () => reader.read());
      if (done) return;
      size += value.byteLength;
    }
    await reader.cancel();
  } catch {
    // The client has gone, sends no more, or the body was read before.
  } finally {
    clearTimeout(late);
  }
}
