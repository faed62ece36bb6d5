import type { Flush } from "./flush.ts";

/** Flushes of one object begin at least this far apart: a burst goes out in few statements instead of hundreds. */
const PACE_MS = 100;

/** Starts a flush right after a commit, or as soon as the last one is long enough ago; commits in between ride along. */
export class FlushPace {
  readonly #flush: Flush;
  #startedAt = 0;
  #waiting = false;

  constructor(flush: Flush) {
    this.#flush = flush;
  }

  /** Resolves when a flush has been tried, at once when one is about to be. Never throws. */
  async run(): Promise<void> {
    if (this.#waiting) return;
    // A clock that was moved back must not make anybody wait longer.
    const wait = Math.min(this.#startedAt + PACE_MS - Date.now(), PACE_MS);
    if (wait > 0) {
      this.#waiting = true;
      await scheduler.wait(wait);
      this.#waiting = false;
    }
    this.#startedAt = Date.now();
    await this.#flush.run(this.#startedAt);
  }
}
