import { configOf } from "../config.ts";
import { controlPlaneFetch } from "../control-plane-fetch.ts";
import type { Fetch } from "../exchange.ts";
import { log } from "../log.ts";
import { backendOf } from "./backend.ts";
import { ControlPlaneProvisioner } from "./control-plane.ts";
import { DockerProvisioner } from "./docker.ts";
import { DockerEngine } from "./docker-engine.ts";
import { InMemoryProvisioner } from "./in-memory.ts";
import type { MachineRef, Provisioner, StopOutcome } from "./provisioner.ts";

export { ConsoleFailure } from "./provisioner.ts";

const STOP_ATTEMPTS = 3;
const STOP_RETRY_BASE_MS = 1_000;

/** The backend of this deployment, ready to be called; null where there is none. */
export function provisionerOf(env: Env): Provisioner | null {
  const config = configOf(env);
  const { controlPlane, docker } = config;
  if (backendOf(config) === "in_memory") return new InMemoryProvisioner();
  if (controlPlane) return new ControlPlaneProvisioner(controlPlane, undefined, controlPlaneFetch(env));
  if (docker) return new DockerProvisioner(docker, new DockerEngine(engineFetch(env), docker.baseUrl));
  return null;
}

export interface StopRetry {
  /** Who wants the stop, for the log. */
  readonly source: string;
  readonly wait: (ms: number) => Promise<unknown>;
}

/** Stops a machine in three attempts. What still runs after them may run for ever, so the log names it. */
export async function stopWithRetry(
  provisioner: Provisioner,
  machine: MachineRef,
  { source, wait }: StopRetry,
): Promise<StopOutcome> {
  let outcome = await provisioner.stop(machine);
  for (let attempt = 1; outcome.kind === "failed" && attempt < STOP_ATTEMPTS; attempt += 1) {
    await wait(STOP_RETRY_BASE_MS * 2 ** (attempt - 1));
    outcome = await provisioner.stop(machine);
  }
  if (outcome.kind === "failed") logLeak(provisioner, machine, source, outcome.reason);
  return outcome;
}

function logLeak(provisioner: Provisioner, machine: MachineRef, source: string, reason: string): void {
  log.error("machine.leak_suspect", {
    message: `LEAK-SUSPECT cpProv.Stop workspace_id=${machine.workspaceId} source=${source} attempts=${STOP_ATTEMPTS} last_err=${reason}`,
    backend: provisioner.name,
    workspace_id: machine.workspaceId,
    instance_id: machine.instanceId,
    source,
    attempts: STOP_ATTEMPTS,
  });
}

function engineFetch({ DOCKER }: Env): Fetch {
  return (url, init) => (DOCKER ? DOCKER.fetch(url, init) : fetch(url, init));
}
