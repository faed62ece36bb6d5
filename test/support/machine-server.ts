import { inject } from "vitest";
import type { StartOrder } from "../../src/provisioners/provisioner.ts";
import type { Fault, ReceivedCall } from "./machine-server-setup.ts";
import type { DockerArrangement, ShownDocker } from "./small-docker.ts";

/** The backends of one test on the loopback server of this run: a control plane and a Docker engine. */
class Backend<Shown, Arrangement> {
  readonly #kind: string;
  readonly #name = crypto.randomUUID();

  constructor(kind: "cp" | "docker") {
    this.#kind = kind;
  }

  get url(): string {
    return `${inject("machineServer")}/${this.#kind}/${this.#name}`;
  }

  async fail(...faults: Fault[]): Promise<void> {
    await this.#control("faults", faults);
  }

  received(): Promise<ReceivedCall[]> {
    return this.#control("received");
  }

  async arrange(what: Arrangement): Promise<void> {
    await this.#control("arrange", what);
  }

  show(): Promise<Shown> {
    return this.#control("show");
  }

  async #control<Answer>(what: string, value?: unknown): Promise<Answer> {
    const url = `${inject("machineServer")}/control-${this.#kind}/${this.#name}/${what}`;
    const response = await fetch(url, { method: "POST", body: JSON.stringify(value ?? null) });
    return response.json();
  }
}

export type DockerBackend = Backend<ShownDocker, DockerArrangement>;
export type ControlPlaneBackend = Backend<{ readonly running: readonly string[] }, string>;

export function aDockerEngine(): DockerBackend {
  return new Backend("docker");
}

export function aControlPlane(): ControlPlaneBackend {
  return new Backend("cp");
}

export function anOrder(changes: Partial<StartOrder> = {}): StartOrder {
  return {
    workspaceId: crypto.randomUUID(),
    name: "Scribe",
    role: "writes things down",
    parentId: "11111111-2222-4333-8444-555555555555",
    runtime: "langgraph",
    tier: 2,
    platformUrl: "https://posthouse.test",
    env: { MODEL: "anthropic:claude-opus-4-7", API_KEY: "key-that-nobody-may-see" },
    files: { "config.yaml": "name: Scribe\n", ".auth_token": "token-that-nobody-may-see" },
    resetSession: false,
    ...changes,
  };
}

/** The words of a start that nobody but the backend may read. */
export const SECRET_WORDS = ["key-that-nobody-may-see", "token-that-nobody-may-see"];
