import { inboundSecretOf, TOKEN_RANDOM_BYTES } from "../domain/credential.ts";
import { modelSecrets } from "../domain/machine-environment.ts";
import { defaultModel } from "../domain/runtime.ts";
import { workspaceAccessOf } from "../domain/workspace-creation.ts";
import type { WorkspaceSeed } from "../domain/workspace-seed.ts";
import type { Creation } from "../durable-objects/directory/tree.ts";
import type { PlannedNode } from "./plan.ts";

/** A planned workspace as the directory creates it, with the events that tell of it. */
export function creationOf(node: PlannedNode, platformUrl: string): Creation {
  const { id, name, role, tier, runtime, parentId, workspaceDir, url, status, x, y, external } = node;
  const chosen = node.model === defaultModel(runtime) ? {} : modelSecrets(node.model);
  return {
    id,
    name,
    role,
    tier,
    runtime,
    parentId,
    workspaceDir,
    workspaceAccess: workspaceAccessOf(node.workspaceAccess) ?? "none",
    x,
    y,
    url,
    status,
    maxConcurrentTasks: node.maxConcurrentTasks,
    budgetLimit: null,
    deliveryMode: null,
    agentCard: node.agentCard,
    token: null,
    events: eventsOf(node),
    inboundSecret: inboundSecretOf(crypto.getRandomValues(new Uint8Array(TOKEN_RANDOM_BYTES))),
    suffixTakenName: false,
    sourceBundleId: node.sourceBundleId,
    secrets: { ...chosen, ...node.secrets },
    ...(external ? {} : { provision: { platformUrl, files: node.config.files } }),
  };
}

/** The canvas draws a new workspace where its event says, inside its parent. */
function eventsOf(node: PlannedNode): WorkspaceSeed["events"] {
  const { name, tier, runtime, relativeX, relativeY, parentId, external, status, sourceBundleId } = node;
  const provisioning = {
    name,
    tier,
    runtime,
    x: relativeX,
    y: relativeY,
    ...(parentId === null ? {} : { parent_id: parentId }),
    ...(sourceBundleId === null ? {} : { source_bundle_id: sourceBundleId }),
  };
  const connected = status === "online" ? "WORKSPACE_ONLINE" : "WORKSPACE_AWAITING_AGENT";
  return [
    { event: "WORKSPACE_PROVISIONING", payload: JSON.stringify(provisioning) },
    ...(external ? [{ event: connected, payload: JSON.stringify({ name, external: true }) }] : []),
  ];
}
