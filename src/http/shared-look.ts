/** How old what is shown may be. */
export const LOOK_FRESH_MS = 3_000;
/** Longer than this, and what is looked at counts as away. */
export const LOOK_TIMEOUT_MS = 3_000;
/** A request that was cut off looks no more and cannot say so. */
const LOOK_LOST_MS = LOOK_TIMEOUT_MS + 1_000;
const WAIT_STEP_MS = 50;

/**
 * A look at something dear that one request of an isolate takes for all who ask within a few seconds. Requests share
 * what was seen, never the promise: one request's I/O cannot be awaited by another.
 */
export class SharedLook<T> {
  #seen: { readonly value: T; readonly at: number } | null = null;
  #begunAt = Number.NEGATIVE_INFINITY;

  /** What `look` saw, now or a moment ago. While another request looks, it is what was seen before. */
  async at(look: () => Promise<T>): Promise<T> {
    for (;;) {
      const seen = this.#seen;
      if (seen && Date.now() - seen.at < LOOK_FRESH_MS) return seen.value;
      if (Date.now() - this.#begunAt >= LOOK_LOST_MS) return this.#look(look);
      if (seen) return seen.value;
      await scheduler.wait(WAIT_STEP_MS);
    }
  }

  async #look(look: () => Promise<T>): Promise<T> {
    this.#begunAt = Date.now();
    try {
      const value = await look();
      this.#seen = { value, at: Date.now() };
      return value;
    } finally {
      this.#begunAt = Number.NEGATIVE_INFINITY;
    }
  }
}

/** One shared look for each configuration, which is one for each isolate. */
export function sharedLooks<T>(): (config: object) => SharedLook<T> {
  const looks = new WeakMap<object, SharedLook<T>>();
  return (config) => {
    const known = looks.get(config) ?? new SharedLook<T>();
    looks.set(config, known);
    return known;
  };
}

/** The work's result, or an error when it takes longer than a look may. */
export function bounded<T>(work: Promise<T>): Promise<T> {
  const late = scheduler.wait(LOOK_TIMEOUT_MS).then(() => Promise.reject(new Error("looked for too long")));
  return Promise.race([work, late]);
}
