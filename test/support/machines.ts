import { env, runDurableObjectAlarm } from "cloudflare:test";
import { inMemoryMachines } from "../../src/provisioners/in-memory.ts";
import { type Agent, call } from "./platform.ts";
import { until } from "./until.ts";

/** The backend of this test file. A file that imports this has it; set before anything has read its configuration. */
env.PROVISIONER = "in_memory";

export const machines = inMemoryMachines();

/** The verbs that the backend was called with for a workspace, in their order. */
export function callsOf(id: string): string[] {
  return machines.callsFor(id).map(({ verb }) => verb);
}

/** Creates a workspace whose machine the platform runs; its id. */
export async function aMachine(fields: Record<string, unknown> = {}): Promise<string> {
  const { status, body, text } = await call("/workspaces", {
    json: { name: crypto.randomUUID(), runtime: "claude-code", ...fields },
  });
  if (status !== 201) throw new Error(`creation answered ${status}: ${text}`);
  return body.id;
}

/** The token that a machine was started with, as its agent reads it. */
export function tokenOf(id: string): string {
  const start = machines.callsFor(id).findLast(({ verb }) => verb === "start");
  const token = start?.order?.files[".auth_token"];
  if (token === undefined) throw new Error(`nothing was started for ${id}`);
  return token;
}

/** Registers the agent of a machine that was started, under the token that it was given. */
export async function registered(id: string, mode: "poll" | "push" = "poll"): Promise<Agent> {
  await until(
    "its machine is started",
    async () => callsOf(id).includes("start") && machines.runningFor(id).length > 0,
  );
  const token = tokenOf(id);
  const url = mode === "push" ? { url: "https://agent.example.com" } : {};
  const { status, text } = await call("/registry/register", {
    token,
    json: { id, delivery_mode: mode, ...url, agent_card: { name: "agent", skills: [] } },
  });
  if (status !== 200) throw new Error(`register answered ${status}: ${text}`);
  return { id, token };
}

/** The workspace as the operator's list shows it. */
export async function listed(id: string) {
  const { body } = await call("/workspaces");
  return body.find((entry: { id: string }) => entry.id === id);
}

export function statusBecomes(id: string, status: string): Promise<unknown> {
  return until(`${id} is ${status}`, async () => (await listed(id))?.status === status);
}

/** What the objects of a workspace's machines have to do by now is done. */
export async function ring(id: string): Promise<void> {
  await runDurableObjectAlarm(env.MACHINE.getByName(id));
  await env.WORKSPACE.getByName(id).wake();
}
