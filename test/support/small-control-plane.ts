import type { Buffer } from "node:buffer";
import { randomUUID } from "node:crypto";
import type { Machines, Reply } from "./machine-server-setup.ts";

/** As much of a control plane as its client can see. What is gone is stopped. */
export class SmallControlPlane implements Machines {
  readonly #workspaceOf = new Map<string, string>();
  #consoleOutput = "booted";

  answer(method: string, url: URL, body: Buffer): Reply {
    const [, , second = "", third = "", fourth = "", fifth = ""] = url.pathname.split("/");
    const instanceId = url.searchParams.get("instance_id");
    if (method === "POST" && third === "provision") return this.#provision(JSON.parse(body.toString()).workspace_id);
    if (second === "admin" && fifth === "console") return said(200, { output: this.#consoleOutput });
    if (method === "DELETE") return this.#remove(third, instanceId);
    if (fourth === "status") return said(200, { state: this.#isRunning(third, instanceId) ? "running" : "terminated" });
    return said(404, { error: "not found" });
  }

  show(): { running: string[] } {
    return { running: [...this.#workspaceOf.values()] };
  }

  arrange(what: unknown): void {
    this.#consoleOutput = String(what);
  }

  #provision(workspaceId: string): Reply {
    const instanceId = `i-${randomUUID()}`;
    this.#workspaceOf.set(instanceId, workspaceId);
    return said(201, { instance_id: instanceId, private_ip: "10.0.0.7", state: "pending", error: "" });
  }

  #remove(workspaceId: string, instanceId: string | null): Reply {
    for (const [id, owner] of this.#workspaceOf) {
      if (owner === workspaceId && (instanceId === null || instanceId === id)) this.#workspaceOf.delete(id);
    }
    return said(200, { state: "terminated" });
  }

  #isRunning(workspaceId: string, instanceId: string | null): boolean {
    return [...this.#workspaceOf].some(
      ([id, owner]) => owner === workspaceId && (instanceId === null || instanceId === id),
    );
  }
}

function said(status: number, value: object): Reply {
  return { status, body: JSON.stringify(value) };
}
