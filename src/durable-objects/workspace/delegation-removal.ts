import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import type { Delegations } from "./delegations.ts";
import type { Receptions } from "./receptions.ts";

/** Of what a removed workspace sent and received, how many of each one turn ends. */
export const REMOVAL_SLICE = 100;
/** Turns that one alarm takes for it. */
const SLICES_MAX = 5;

/** Ends what a removed workspace had open, as caller and as callee: a slice in the removal's turn, the rest by alarm. */
export class DelegationRemoval implements Clock {
  readonly name = "delegation-removal";
  readonly #core: Core;
  readonly #delegations: Delegations;
  readonly #receptions: Receptions;
  readonly #apply: (work: (now: number) => void) => Promise<void>;
  /** A removed workspace takes on nothing more. */
  #isOver = false;

  /** `apply` takes a turn of its own. */
  constructor(
    core: Core,
    delegations: Delegations,
    receptions: Receptions,
    apply: (work: (now: number) => void) => Promise<void>,
  ) {
    this.#core = core;
    this.#delegations = delegations;
    this.#receptions = receptions;
    this.#apply = apply;
  }

  /** Runs inside a turn. */
  slice(now: number): void {
    this.#delegations.callerRemoved(REMOVAL_SLICE, now);
    this.#receptions.calleeRemoved(REMOVAL_SLICE, now);
  }

  dueAt(): number | null {
    const { profile, delegations, received } = this.#core;
    const { removedAt } = profile.get();
    if (removedAt === null || this.#isOver) return null;
    this.#isOver = !delegations.hasOpen() && received.open(1).length === 0;
    return this.#isOver ? null : removedAt;
  }

  async run(): Promise<void> {
    for (let slices = 0; slices < SLICES_MAX && this.dueAt() !== null; slices += 1) {
      await this.#apply((now) => this.slice(now));
    }
  }
}
