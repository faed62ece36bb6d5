import { judgePush } from "../../domain/a2a-outcome.ts";
import type { CallOutcome } from "../outbound-call/call.ts";
import type { StoredCall } from "./call-store.ts";

/** The outcome of a call of which nobody will report any more: unknown, so that it is never repeated. */
export function lostOutcome(call: StoredCall, name: string, now: number): CallOutcome {
  const target = { name, method: call.method, container: "none" as const, nativeSession: call.native_session === 1 };
  const { delivered, reason, reply, row } = judgePush({ kind: "lost" }, target);
  if (reply.kind !== "refuse") throw new Error("a lost call is refused");
  const { responseBody: _, ...shown } = row;
  return {
    delivered,
    reason,
    reply: { kind: "refuse", code: reply.refusal.code, options: reply.refusal.options },
    row: shown,
    recorded: null,
    usage: null,
    durationMs: Math.max(0, now - call.created_at),
  };
}
