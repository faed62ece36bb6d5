import type { Config } from "../config.ts";
import { runtimeOf } from "../domain/runtime.ts";
import type { Provisioner } from "./provisioner.ts";

/** Stored and broadcast as the reason of a failed start. */
export const NO_BACKEND =
  "no provisioning backend available — workspace requires either a Docker daemon (self-hosted) or control-plane provisioner (SaaS)";

const CONTROL_PLANE_TIER = 4;
const OWN_TIER = 3;

/** Where machines run: the control plane first, Docker second. Null where there is no backend. */
export function backendOf({ inMemoryMachines, controlPlane, docker }: Config): Provisioner["name"] | null {
  if (inMemoryMachines) return "in_memory";
  if (controlPlane) return "control_plane";
  return docker ? "docker" : null;
}

/** The only test of whether machines can be started. */
export function hasProvisioner(config: Config): boolean {
  return backendOf(config) !== null;
}

/** Whether the backend knows where the agents of its machines are called. */
export function tellsMachineUrls(config: Config): boolean {
  return backendOf(config) === "docker" && config.docker?.isLocal === true;
}

/** Whether a machine that is gone may have left something: the control plane removes what belongs to one with it. */
export function keepsVolumes(config: Config): boolean {
  const backend = backendOf(config);
  return backend !== null && backend !== "control_plane";
}

/** The tier of a workspace that nobody gave one. */
export function defaultTier(config: Config): number {
  return backendOf(config) === "control_plane" ? CONTROL_PLANE_TIER : OWN_TIER;
}

/** How long a provisioning of this runtime may take before it counts as failed; what judges it and what shows it. */
export function provisionTimeoutMs({ PROVISION_TIMEOUT_SECONDS }: Config, runtime: string): number {
  return PROVISION_TIMEOUT_SECONDS * 1000 || runtimeOf(runtime).provisionTimeoutMs;
}
