import type { WorkspaceSeed } from "../../domain/workspace-seed.ts";
import type { Profile } from "./profile-store.ts";

/** The row of a workspace that nothing has happened to yet. */
export function newProfile(facts: Omit<WorkspaceSeed, "token" | "events" | "provision">): Profile {
  const { id, ...rest } = facts;
  return {
    ...rest,
    workspaceId: id,
    workspaceDir: rest.workspaceDir ?? null,
    workspaceAccess: rest.workspaceAccess ?? "none",
    epoch: 0,
    markVersion: 0,
    lastSeen: null,
    absentSince: null,
    errorRate: 0,
    sampleError: "",
    activeTasks: 0,
    currentTask: "",
    startedAt: null,
    monthlySpend: 0,
    runtimeState: "",
    capabilities: {},
    lastOutboundAt: null,
    readSeq: 0,
    ackedSeq: 0,
    lostSeq: 0,
    hubThrough: 0,
    boardVersion: 0,
    boardDue: null,
    counters: {},
    removedAt: null,
  };
}
