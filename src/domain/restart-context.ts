import { microsToTimestamp } from "./activity.ts";
import { userMessage } from "./user-message.ts";

/** Why a machine was started anew: somebody wanted it, or the one before had stopped by itself. */
export type RestartReason = "asked" | "died";

/** What an agent should know whose machine was started anew. Times in ms since 1970. */
export interface RestartContext {
  readonly reason: RestartReason;
  readonly restartedAt: number;
  /** The last sign of life before it; null when there never was one. */
  readonly lastSeen: number | null;
  /** Names of the secrets in its environment; null until the machine has started. */
  readonly secretKeys: readonly string[] | null;
}

const WHY: Record<RestartReason, string> = {
  asked: "The workspace was restarted.",
  died: "The workspace was restarted, because its machine had stopped by itself.",
};

/** The message that tells it, as the text of a JSON-RPC request. */
export function restartMessage(messageId: string, context: RestartContext): string {
  return userMessage(messageId, textOf(context), { kind: "restart_context" });
}

function textOf({ reason, restartedAt, lastSeen, secretKeys }: RestartContext): string {
  const seen = lastSeen === null ? "none" : microsToTimestamp(lastSeen * 1000);
  return [
    "=== WORKSPACE RESTART CONTEXT ===",
    WHY[reason],
    `Restarted at: ${microsToTimestamp(restartedAt * 1000)}`,
    `Last heartbeat before it: ${seen}`,
    `Secrets in the environment (names only): ${secretKeys?.length ? secretKeys.join(", ") : "none"}`,
    "What was under way may have been cut off: see the inbox and the delegations before beginning anew.",
    "=== END RESTART CONTEXT ===",
  ].join("\n");
}
