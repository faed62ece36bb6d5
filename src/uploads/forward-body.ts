import { Refusal } from "../domain/refusal.ts";
import { drain, IdleGuard, UPLOAD_IDLE_MS } from "./body-reader.ts";

/**
 * The body of an upload on its way to an agent. It passes through a stream of ours, so that it can be counted, and so
 * that what the agent did not take can still be read from the client.
 */
export class ForwardedBody {
  /** What the agent is sent; null when the request has no body. */
  readonly stream: ReadableStream<Uint8Array> | null = null;
  readonly #fault = new AbortController();
  readonly #passed: Promise<void> = Promise.resolve();
  #writer: WritableStreamDefaultWriter<Uint8Array> | null = null;
  #refusal: Refusal | null = null;

  /** Throws `upload.request_too_large` when the request says so itself. */
  constructor({ headers, body }: Request, bytesMax: number) {
    const length = headers.get("Content-Length") ?? "";
    const declared = /^\d+$/.test(length) ? Number(length) : null;
    if (declared !== null && declared > bytesMax) throw tooLarge(declared, bytesMax);
    if (body === null) return;
    const { readable, writable } = declared === null ? new IdentityTransformStream() : new FixedLengthStream(declared);
    this.stream = readable;
    this.#writer = writable.getWriter();
    // What became of it is told by `write`, `close` and `refusal`.
    this.#writer.closed.catch(() => {});
    this.#passed = this.#pass(body.getReader(), this.#writer, bytesMax);
  }

  /** Aborts when the body was cut off or is too large: merely ended, it would look whole to the agent. */
  get fault(): AbortSignal {
    return this.#fault.signal;
  }

  /** Sends no more and waits until the client has said what it had to say. Answers why the body itself was at fault. */
  async giveUp(): Promise<Refusal | null> {
    await this.#writer?.abort().catch(() => {});
    await this.#passed;
    return this.#refusal;
  }

  async #pass(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    writer: WritableStreamDefaultWriter<Uint8Array>,
    bytesMax: number,
  ): Promise<void> {
    const guard = new IdleGuard(reader, UPLOAD_IDLE_MS);
    try {
      for (let size = 0; ; ) {
        const { done, value } = await guard.read(() => reader.read());
        if (done) return await writer.close().catch(() => {});
        size += value.byteLength;
        if (size > bytesMax) throw tooLarge(size, bytesMax);
        const isTaken = await writer.write(value).then(
          () => true,
          () => false,
        );
        if (!isTaken) return await drain(reader);
      }
    } catch (error) {
      this.#refusal = error instanceof Refusal ? error : new Refusal("upload.unreadable");
      this.#fault.abort();
    } finally {
      guard.end();
      reader.releaseLock();
    }
  }
}

function tooLarge(size: number, max: number): Refusal {
  return new Refusal("upload.request_too_large", { details: { size, max } });
}
