import { log } from "../../log.ts";
import type { Core } from "./core.ts";

/**
 * The one place that makes a workspace `failed`: never without a message for people and the event that says so. `error`
 * is what the event shows, where that is not the message itself.
 */
export function fail(
  core: Core,
  message: string,
  extra: { error?: string; [key: string]: unknown },
  now: number,
): void {
  const { profile, events } = core;
  profile.set({ status: "failed", sampleError: message });
  events.record("WORKSPACE_PROVISION_FAILED", JSON.stringify({ error: message, ...extra }), now * 1000);
  log.warn("workspace.failed", {
    workspace_id: profile.get().workspaceId,
    source: String(extra.source ?? "provisioning"),
  });
}
