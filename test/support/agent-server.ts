import { inject } from "vitest";
import { type Agent, anAgent } from "./platform.ts";

/** A request as the agent got it. */
export interface Received {
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * A push agent of one test on the loopback server of this run. The last part of its URL says how it behaves: `echo`,
 * `status/<code>`, `text/<code>` (no JSON), `task/<state>`, `type/<Content-Type>`, `disposition/<Content-Disposition>` (a page), `hold[/<behaviour>]` until `release`, `cut`, `reset`, `large/<bytes>`, `redirect`, `cloudflare/<code>`, or
 * `script`, which takes the next of what `play` was given (the last one again and again).
 */
export class PushAgent {
  readonly #name = crypto.randomUUID();

  url(behaviour: string): string {
    return `${inject("agentServer")}/agent/${this.#name}/${behaviour}`;
  }

  async received(): Promise<Received[]> {
    const response = await fetch(this.#control("received"));
    return response.json();
  }

  /** Lets go of the requests that `hold`, now and from now on. */
  async release(): Promise<void> {
    await fetch(this.#control("release"), { method: "POST" });
  }

  async play(...behaviours: string[]): Promise<void> {
    await fetch(this.#control("script"), { method: "POST", body: JSON.stringify(behaviours) });
  }

  #control(what: string): string {
    return `${inject("agentServer")}/control/${this.#name}/${what}`;
  }
}

/** Registers a push agent that behaves like this. */
export async function aPushAgent(behaviour: string): Promise<Agent & { readonly player: PushAgent }> {
  const player = new PushAgent();
  const agent = await anAgent({ delivery_mode: "push", url: player.url(behaviour) });
  return { ...agent, player };
}
