export const DEFAULT_RATE_LIMIT = 600;
export const RATE_WINDOW_MS = 60_000;

/** Where a principal stands in its window, as the X-RateLimit headers tell it. */
export interface RateState {
  readonly limit: number;
  readonly remaining: number;
  /** Seconds until the window ends. */
  readonly reset: number;
  /** This very request was one too many. */
  readonly exceeded: boolean;
}

/**
 * Counts one principal's requests in a fixed window that starts with the first of them. It lives in memory: an
 * object that was evicted counts anew, which is approximate in the principal's favour.
 */
export class RateWindow {
  readonly #limit: number;
  #taken = 0;
  #endsAt = 0;

  constructor(limit = DEFAULT_RATE_LIMIT) {
    this.#limit = limit;
  }

  take(now: number): RateState {
    if (now >= this.#endsAt || now < this.#endsAt - RATE_WINDOW_MS) {
      this.#taken = 0;
      this.#endsAt = now + RATE_WINDOW_MS;
    }
    this.#taken += 1;
    return {
      limit: this.#limit,
      remaining: Math.max(0, this.#limit - this.#taken),
      reset: Math.ceil((this.#endsAt - now) / 1000),
      exceeded: this.#taken > this.#limit,
    };
  }
}
