import { env } from "cloudflare:test";

/** What becomes of one call between objects. */
export type Fate = "arrives" | "is lost" | "loses its answer" | "arrives twice";

const DELEGATION_METHODS = ["takeTask", "endTask", "hear", "start", "reportCall"];
/** Looks at an idle network before it counts as quiet: what a call sets off begins a moment after its answer. */
const QUIET_LOOKS = 3;

/** The network between objects, of which some methods are at risk: each of their calls meets the next fate that was dealt, and arrives without one. */
export class RoughNetwork {
  readonly #fates: Fate[] = [];
  readonly #methods: ReadonlySet<string | symbol>;
  #underWay = 0;
  #started = 0;

  constructor(methods: readonly string[] = DELEGATION_METHODS) {
    this.#methods = new Set(methods);
  }

  /** Applies while `work` runs. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    const prototype = Object.getPrototypeOf(env.WORKSPACE) as { getByName(name: string): object };
    const original = prototype.getByName;
    const carry = this.#carry.bind(this);
    const isAtRisk = (property: string | symbol) => this.#methods.has(property);
    prototype.getByName = function (this: unknown, name: string) {
      return new Proxy(original.call(this, name), {
        get(target, property) {
          const member = Reflect.get(target, property, target) as unknown;
          if (typeof member !== "function") return member;
          const send = (...parameters: unknown[]) => Reflect.apply(member, target, parameters) as Promise<unknown>;
          if (!isAtRisk(property)) return send;
          return (...parameters: unknown[]) => carry(() => send(...parameters));
        },
      });
    };
    try {
      return await work();
    } finally {
      prototype.getByName = original;
    }
  }

  deal(...fates: Fate[]): void {
    this.#fates.push(...fates);
  }

  /** From here on everything arrives. */
  smooth(): void {
    this.#fates.length = 0;
  }

  /** Waits until nothing is under way and nothing new sets out. */
  async quiet(): Promise<void> {
    for (let looks = 0, seen = this.#started; looks < QUIET_LOOKS; looks++) {
      await scheduler.wait(0);
      if (this.#underWay > 0 || this.#started !== seen) looks = -1;
      seen = this.#started;
    }
  }

  async #carry(send: () => Promise<unknown>): Promise<unknown> {
    const fate = this.#fates.shift() ?? "arrives";
    this.#underWay += 1;
    this.#started += 1;
    try {
      if (fate === "is lost") throw new Error("lost");
      if (fate === "arrives twice") await send();
      const answer = await send();
      if (fate === "loses its answer") throw new Error("answer lost");
      return answer;
    } finally {
      this.#underWay -= 1;
    }
  }
}
