/** For so long whoever the control plane has vouched for is not asked about again. */
export const MEMBER_MS = 30_000;
/** For so long whoever it did not know is not. */
export const STRANGER_MS = 5_000;
export const SEEN_MAX = 10_000;
/** Longer than a look may take: a request that was cut off looks no more and cannot say so. */
const LOOK_LOST_MS = 4_000;
const WAIT_STEP_MS = 50;

/** What the control plane says of a cookie; `unknown` where it says nothing. */
export type Verdict =
  | { readonly kind: "member"; readonly userId: string }
  | { readonly kind: "stranger" }
  | { readonly kind: "unknown" };

interface Look {
  readonly begunAt: number;
  verdict: Verdict | null;
}

/**
 * What an isolate remembers of cookies, by a digest. One request looks for all who ask meanwhile, and they share what
 * came of it, a failure too, or they would fail one after the other. They never share a promise: one request's I/O
 * cannot be awaited by another.
 */
export class SessionLooks {
  /** The one seen first in front. */
  readonly #seen = new Map<string, { readonly verdict: Verdict; readonly at: number }>();
  readonly #looks = new Map<string, Look>();

  /** What `look` says, now or a moment ago. */
  async at(key: string, look: () => Promise<Verdict>): Promise<Verdict> {
    for (;;) {
      const seen = this.#fresh(key);
      if (seen) return seen;
      const running = this.#looks.get(key);
      if (!running || Date.now() - running.begunAt >= LOOK_LOST_MS) return this.#look(key, look);
      await scheduler.wait(WAIT_STEP_MS);
      if (running.verdict) return running.verdict;
    }
  }

  /** Whether this was a member's cookie when it was last looked at. */
  wasMember(key: string): boolean {
    return this.#seen.get(key)?.verdict.kind === "member";
  }

  forget(key: string): void {
    this.#seen.delete(key);
    // A look that is under way may have been taken before.
    this.#looks.delete(key);
  }

  async #look(key: string, look: () => Promise<Verdict>): Promise<Verdict> {
    const running: Look = { begunAt: Date.now(), verdict: null };
    put(this.#looks, key, running);
    try {
      const verdict = await look();
      running.verdict = verdict;
      if (verdict.kind !== "unknown" && this.#looks.get(key) === running) {
        put(this.#seen, key, { verdict, at: Date.now() });
      }
      return verdict;
    } finally {
      if (this.#looks.get(key) === running) this.#looks.delete(key);
    }
  }

  #fresh(key: string): Verdict | null {
    const seen = this.#seen.get(key);
    if (!seen) return null;
    return Date.now() - seen.at < (seen.verdict.kind === "member" ? MEMBER_MS : STRANGER_MS) ? seen.verdict : null;
  }
}

/** Puts it last; beyond the limit the first one goes. */
function put<T>(map: Map<string, T>, key: string, value: T): void {
  map.delete(key);
  if (map.size >= SEEN_MAX) map.delete(map.keys().next().value ?? "");
  map.set(key, value);
}
