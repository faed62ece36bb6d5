import { inject } from "vitest";
import { aDeployment, type Deployment } from "./client-deployment.ts";
import type { Behaviour, Passed } from "./upstream-server-setup.ts";

/** The slug of the organisation whose members the control plane knows. */
export const SLUG = "acme";

/** The control plane of one test, behind which its deployment stands. */
export class Upstream {
  readonly #name = crypto.randomUUID();

  get url(): string {
    return `${inject("upstreamServer")}/cp-of/${this.#name}`;
  }

  /** A deployment behind this control plane. */
  deployment(variables: Record<string, unknown> = {}): Deployment {
    const canvas = { CORS_ORIGINS: "http://localhost:3000", MOLECULE_ORG_SLUG: SLUG };
    return aDeployment({ CP_UPSTREAM_URL: this.url, ...canvas, ...variables });
  }

  /** Makes these the users that are signed in, by their cookie `session`. */
  async members(members: Record<string, string>): Promise<void> {
    await this.#control("members", members);
  }

  async next(...behaviours: Behaviour[]): Promise<void> {
    await this.#control("next", behaviours);
  }

  /** Ends what `hold` and `drip` wait for. */
  async release(): Promise<void> {
    await this.#control("release");
  }

  received(): Promise<Passed[]> {
    return this.#control("received");
  }

  async #control(what: string, value: unknown = null): Promise<Passed[]> {
    const url = `${inject("upstreamServer")}/control/${this.#name}/${what}`;
    const response = await fetch(url, { method: "POST", body: JSON.stringify(value) });
    return response.json();
  }
}
