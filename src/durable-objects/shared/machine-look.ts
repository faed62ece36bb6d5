import { within } from "../../time-limit.ts";
import { machineStub } from "./stubs.ts";

/** Below what an alarm waits for one of its clocks, and what a sender should wait. */
const LOOK_TIMEOUT_MS = 8_000;

/** Whether the backend says that a machine does not run any more; whatever cannot be seen counts as running. */
export async function machineIsGone(env: Env, workspaceId: string, instanceId: string): Promise<boolean> {
  const look = machineStub(env, workspaceId).look({ workspaceId, instanceId });
  return (await within(look, LOOK_TIMEOUT_MS).catch(() => "unknown")) === "not_running";
}
