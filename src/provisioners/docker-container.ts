import type { DockerSettings } from "../config.ts";
import { imageOf, runtimeOf } from "../domain/runtime.ts";
import { machineEnv } from "./machine-env.ts";
import type { StartOrder } from "./provisioner.ts";

export const NETWORK = "molecule-monorepo-net";
export const CONFIG_FOLDER = "/configs";
const WORKSPACE_FOLDER = "/workspace";
export const AGENT_PORT = "8000/tcp";
export const MANAGED_LABEL = "molecule.platform.managed";
/** A container's name holds a part of the id only, and two ids may share it. */
export const WORKSPACE_LABEL = "molecule.workspace.id";

export const IMAGE_TAG = "latest";

const SHORT_ID_LENGTH = 12;
const SOCKET = "/var/run/docker.sock";
const MIB = 1024 * 1024;
const NANO_CPUS_PER_SHARE = 1_000_000_000 / 1024;

export function containerName(workspaceId: string): string {
  return `ws-${workspaceId.slice(0, SHORT_ID_LENGTH)}`;
}

export function volumesOf(workspaceId: string) {
  const container = containerName(workspaceId);
  return {
    configs: `${container}-configs`,
    sessions: `${container}-claude-sessions`,
    workspace: `ws-${workspaceId}-workspace`,
  };
}

/** The body of `POST /containers/create`. */
export function containerOf(order: StartOrder, settings: DockerSettings) {
  const tier = tierOf(order.tier);
  return {
    Image: `${imageOf(order.runtime)}:${IMAGE_TAG}`,
    Env: Object.entries(envOf(order)).map(([key, value]) => `${key}=${value}`),
    Labels: labelsOf(order.workspaceId),
    ExposedPorts: { [AGENT_PORT]: {} },
    HostConfig: {
      Mounts: mountsOf(order, tier),
      Memory: settings.limits[tier].memoryMb * MIB,
      NanoCpus: Math.floor(settings.limits[tier].cpuShares * NANO_CPUS_PER_SHARE),
      ...rightsOf(tier),
      ...networkOf(tier),
    },
  };
}

type Tier = keyof DockerSettings["limits"];

function tierOf(tier: number): Tier {
  return tier === 1 || tier === 3 || tier === 4 ? tier : 2;
}

export function usesHostNetwork(tier: number): boolean {
  return tierOf(tier) === 4;
}

function rightsOf(tier: Tier) {
  switch (tier) {
    case 1:
      return { ReadonlyRootfs: true, Tmpfs: { "/tmp": "rw,nosuid,nodev,size=64m" } };
    case 2:
      return {};
    case 3:
      return { Privileged: true, PidMode: "host" };
    case 4:
      return { Privileged: true };
  }
}

function networkOf(tier: Tier) {
  if (usesHostNetwork(tier)) return { NetworkMode: "host" };
  return { NetworkMode: NETWORK, PortBindings: { [AGENT_PORT]: [{ HostIp: "127.0.0.1", HostPort: "" }] } };
}

function mountsOf({ workspaceId, runtime, hostDirectory }: StartOrder, tier: Tier) {
  const volumes = volumesOf(workspaceId);
  const volume = (source: string, target: string) => ({
    Type: "volume",
    Source: source,
    Target: target,
    VolumeOptions: { Labels: labelsOf(workspaceId) },
  });
  const workspace = hostDirectory
    ? { Type: "bind", Source: hostDirectory.path, Target: WORKSPACE_FOLDER, ReadOnly: hostDirectory.readOnly }
    : volume(volumes.workspace, WORKSPACE_FOLDER);
  return [
    volume(volumes.configs, CONFIG_FOLDER),
    ...(runtimeOf(runtime).keepsSessions ? [volume(volumes.sessions, "/root/.claude/sessions")] : []),
    ...(tier === 1 ? [] : [workspace]),
    ...(tier === 4 ? [{ Type: "bind", Source: SOCKET, Target: SOCKET }] : []),
  ];
}

function labelsOf(workspaceId: string): Record<string, string> {
  return { [MANAGED_LABEL]: "true", [WORKSPACE_LABEL]: workspaceId };
}

function envOf(order: StartOrder): Record<string, string> {
  return {
    ...machineEnv(order),
    WORKSPACE_ID: order.workspaceId,
    WORKSPACE_CONFIG_PATH: CONFIG_FOLDER,
    PLATFORM_URL: order.platformUrl,
    MOLECULE_URL: order.platformUrl,
    TIER: String(order.tier),
    PLUGINS_DIR: "/plugins",
    PYTHONPATH: "/app",
  };
}
