/** How long the body of an upload may bring no byte before it counts as cut off. */
export const UPLOAD_IDLE_MS = 30_000;
/** What is read of a body that nobody wants any more, and for how long: every upload that is only a little too large. */
export const DRAIN_BYTES_MAX = 64 * 1024 * 1024;
const DRAIN_MS_MAX = 10_000;
/** Who sends nothing for so long is no longer writing. */
const DRAIN_IDLE_MS = 1_000;

type BodyReader = Pick<ReadableStreamDefaultReader<Uint8Array>, "cancel">;

/**
 * Gives a body up when nothing comes of it for `idleMs`, or up to twice as long. One timer looks after many reads: one
 * for each would cost more than the read.
 */
export class IdleGuard {
  readonly #reader: BodyReader;
  readonly #idleMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isReading = false;
  #hasRead = false;
  #isLate = false;

  constructor(reader: BodyReader, idleMs: number) {
    this.#reader = reader;
    this.#idleMs = idleMs;
  }

  /** One read; throws when it came too late. */
  async read<T>(read: () => Promise<T>): Promise<T> {
    this.#timer ??= this.#watch();
    this.#isReading = true;
    const result = await read();
    this.#isReading = false;
    this.#hasRead = true;
    if (this.#isLate) throw new Error("no byte came in time");
    return result;
  }

  /** Ends the watch. */
  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #watch(): ReturnType<typeof setTimeout> {
    this.#hasRead = false;
    return setTimeout(() => {
      // Whoever does not read now, waits for the other side of the body.
      if (this.#hasRead || !this.#isReading) {
        this.#timer = this.#watch();
        return;
      }
      this.#isLate = true;
      // Nothing else ends a pending read.
      void this.#reader.cancel().catch(() => {});
    }, this.#idleMs);
  }
}

/**
 * Reads, within bounds, what a client still sends of a body that nobody wants. Many clients write all of theirs before
 * they look at the answer, and a connection that is closed under them hides it. Never throws.
 */
export async function drain(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const late = setTimeout(() => void reader.cancel().catch(() => {}), DRAIN_MS_MAX);
  const guard = new IdleGuard(reader, DRAIN_IDLE_MS);
  try {
    for (let size = 0; size <= DRAIN_BYTES_MAX; ) {
      const { done, value } = await guard.read(() => reader.read());
      if (done) return;
      size += value.byteLength;
    }
    await reader.cancel();
  } catch {
    // The client has gone, sends no more, or the body was read before.
  } finally {
    guard.end();
    clearTimeout(late);
  }
}
