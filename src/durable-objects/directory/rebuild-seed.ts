import type { Path } from "../../domain/hierarchy.ts";
import { isExternal } from "../../domain/runtime.ts";
import type { RebuildSeed } from "../../domain/workspace-seed.ts";
import type { WorkspaceStatus } from "../../domain/workspace-status.ts";
import { deliveryModeOf } from "../workspace/profile-store.ts";
import { type NodeRow, shownStatus } from "./node-store.ts";

/** What the tree and the board tell of a workspace, for the object that takes over. */
export function rebuildSeed(node: NodeRow, path: Path, treeVersion: number): RebuildSeed {
  return {
    id: node.id,
    epoch: node.epoch,
    name: node.name,
    role: node.role,
    tier: node.tier,
    runtime: node.runtime,
    workspaceDir: node.workspace_dir,
    workspaceAccess: node.workspace_access,
    path,
    treeVersion,
    maxConcurrentTasks: node.max_concurrent_tasks,
    budgetLimit: node.budget_limit,
    deliveryMode: wantedMode(node),
    url: node.url,
    agentCard: node.agent_card,
    status: statusWithoutTokens(node),
    createdAt: node.created_at,
    sampleError: node.sample_error,
    boardVersion: node.board_version + 1,
    monthlySpend: node.monthly_spend,
    lastOutboundAt: node.last_outbound_at,
    counters: JSON.parse(node.counters) as Record<string, number>,
  };
}

/** The board shows a mode for everybody; one that follows from the rest was not asked for. */
function wantedMode({ delivery_mode, url, runtime }: NodeRow): "push" | "poll" | null {
  if (delivery_mode !== "push" && delivery_mode !== "poll") return null;
  return delivery_mode === deliveryModeOf({ deliveryMode: null, url, runtime }) ? null : delivery_mode;
}

/** No token is good any more, so whoever was there is so no longer. */
function statusWithoutTokens(node: NodeRow): WorkspaceStatus {
  const status = shownStatus(node);
  if (status === "paused" || status === "failed" || status === "hibernated") return status;
  return isExternal(node.runtime) ? "awaiting_agent" : "offline";
}
