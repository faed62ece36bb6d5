import type { ControlPlaneSettings, DockerSettings } from "../../src/config.ts";

export function controlPlaneSettings(
  baseUrl: string,
  changes: Partial<ControlPlaneSettings> = {},
): ControlPlaneSettings {
  return {
    baseUrl,
    organisationId: "org-1",
    sharedSecret: "shared-secret",
    consoleToken: "",
    adminToken: "admin-token",
    ...changes,
  };
}

export function dockerSettings(changes: Partial<DockerSettings> = {}): DockerSettings {
  return {
    baseUrl: "http://docker",
    isLocal: false,
    hostRoots: ["/data"],
    limits: {
      1: { memoryMb: 512, cpuShares: 1024 },
      2: { memoryMb: 512, cpuShares: 1024 },
      3: { memoryMb: 2048, cpuShares: 2048 },
      4: { memoryMb: 4096, cpuShares: 4096 },
    },
    ...changes,
  };
}
