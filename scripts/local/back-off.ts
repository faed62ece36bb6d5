import { setTimeout as sleep } from "node:timers/promises";

const FIRST_MS = 1_000;
const LONGEST_MS = 30_000;
const QUIET_MS = 2 * LONGEST_MS;

/** How long to wait before each further attempt: 1 s, doubling to 30 s, and from the start again after a quiet minute. */
export class BackOff {
  #delayMs = 0;
  #askedAt = Number.NEGATIVE_INFINITY;

  nextMs(now: number): number {
    const isQuiet = now - this.#askedAt > this.#delayMs + QUIET_MS;
    this.#delayMs = isQuiet ? FIRST_MS : Math.min(this.#delayMs * 2, LONGEST_MS);
    this.#askedAt = now;
    return this.#delayMs;
  }
}

/** Waits; false when the signal ended the waiting. */
export function pause(ms: number, signal: AbortSignal): Promise<boolean> {
  return sleep(ms, true, { signal }).catch(() => false);
}
