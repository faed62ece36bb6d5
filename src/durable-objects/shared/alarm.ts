import { log } from "../../log.ts";
import { within } from "../../time-limit.ts";

/** One thing that time brings about in an object. Both functions judge by the object's own rows. */
export interface Clock {
  readonly name: string;
  /** When this has something to do, in ms since 1970, or null. */
  dueAt(now: number): number | null;
  /** Does what is due, a bounded slice of it. */
  run(now: number): void | Promise<void>;
}

/** Nothing that an alarm runs may keep the next one waiting longer. */
const CLOCK_TIMEOUT_MS = 10_000;
/** A clock that failed, or that is still due after its slice, runs again after this long. */
const AGAIN_MS = 1_000;

/** The only place that sets an object's alarm: it always stands at the nearest due time of all clocks. */
export class AlarmScheduler {
  readonly #storage: DurableObjectStorage;
  readonly #clocks: readonly Clock[];
  #setFor: number | null;

  constructor(storage: DurableObjectStorage, clocks: readonly Clock[], current: number | null) {
    this.#storage = storage;
    this.#clocks = clocks;
    this.#setFor = current;
  }

  /** Called at the end of every turn: re-arms where the alarm is missing or late; costs nothing where it is not. */
  arm(now: number): void {
    const due = this.#nearest(now);
    if (due === null || (this.#setFor !== null && this.#setFor <= due)) return;
    this.#setFor = Math.max(due, now);
    void this.#storage.setAlarm(this.#setFor);
  }

  /** Runs what is due. Each clock fails alone, nothing is thrown, and the alarm is set again last. */
  async run(now: number): Promise<void> {
    this.#setFor = null;
    const failed = new Set<string>();
    for (const clock of this.#clocks) {
      try {
        const due = clock.dueAt(now);
        if (due !== null && due <= now) await within(Promise.resolve(clock.run(now)), CLOCK_TIMEOUT_MS);
      } catch (error) {
        failed.add(clock.name);
        log.error("alarm.clock_failed", { clock: clock.name, reason: error instanceof Error ? error.name : "unknown" });
      }
    }
    const due = this.#nearest(now);
    if (due === null) return;
    this.#setFor = due <= now ? now + AGAIN_MS : failed.size > 0 ? Math.min(due, now + AGAIN_MS * 30) : due;
    await this.#storage.setAlarm(this.#setFor);
  }

  #nearest(now: number): number | null {
    let nearest: number | null = null;
    for (const clock of this.#clocks) {
      const due = clock.dueAt(now);
      if (due !== null && (nearest === null || due < nearest)) nearest = due;
    }
    return nearest;
  }
}
