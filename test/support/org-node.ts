import { NO_CONFIG, type OrgNode } from "../../src/domain/org-node.ts";

/** A workspace of a tree of which nobody said anything: what every reader of trees fills in. */
export function anOrgNode(fields: Partial<OrgNode> = {}): OrgNode {
  return {
    name: "",
    role: null,
    tier: 3,
    runtime: "langgraph",
    model: "anthropic:claude-opus-4-7",
    external: false,
    url: null,
    workspaceDir: null,
    workspaceAccess: "none",
    canvas: { x: 0, y: 0 },
    maxConcurrentTasks: 1,
    memories: [],
    schedules: [],
    channels: [],
    skippedChannels: [],
    secrets: {},
    config: NO_CONFIG,
    agentCard: null,
    sourceBundleId: null,
    children: [],
    ...fields,
  };
}
