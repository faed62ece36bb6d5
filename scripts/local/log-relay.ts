import type { Writable } from "node:stream";

const UNREAD_MAX_BYTES = 1024 * 1024;

/**
 * Writes lines to a stream whose reader may be slow or gone, and keeps at most a mebibyte for it: what comes on top is
 * dropped and counted. So an unread pipe costs log lines, neither memory nor the platform.
 */
export class LogRelay {
  readonly #stream: Writable;
  #dropped = 0;

  constructor(stream: Writable) {
    this.#stream = stream;
    stream.on("drain", () => this.#tellDropped());
    stream.on("error", () => {}); // the reader is gone
  }

  write(line: string): void {
    if (!this.#stream.writable) return;
    if (this.#stream.writableLength > UNREAD_MAX_BYTES) this.#dropped++;
    else this.#stream.write(`${line}\n`);
  }

  #tellDropped(): void {
    if (this.#dropped === 0) return;
    const count = this.#dropped;
    this.#dropped = 0;
    this.write(`${count} log lines were dropped because nobody read them.`);
  }
}
