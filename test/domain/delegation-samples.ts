import { judgePush, type Observation } from "../../src/domain/a2a-outcome.ts";
import { type Delegation, type NewDelegation, statusOf } from "../../src/domain/delegation.ts";
import { delegate, record } from "../../src/domain/delegation-creation.ts";
import { type DispatchOutcome, settleDispatch } from "../../src/domain/delegation-dispatch.ts";
import type { DelegationEffect, Transition } from "../../src/domain/delegation-effect.ts";
import { beat } from "../../src/domain/delegation-heartbeat.ts";
import { judge } from "../../src/domain/delegation-judging.ts";
import { type Report, type Reported, report } from "../../src/domain/delegation-report.ts";

export const NOW = 1_777_593_600_000;
export const HOUR_MS = 3_600_000;
export const MINUTE_MS = 60_000;
export const CALLER = "11111111-1111-4111-8111-111111111111";
export const CALLEE = "22222222-2222-4222-8222-222222222222";
export const STRANGER = "33333333-3333-4333-8333-333333333333";
export const ID = "44444444-4444-4444-8444-444444444444";
export const RETRY_ID = "55555555-5555-4555-8555-555555555555";
export const RULES = { stuckThresholdMs: 10 * MINUTE_MS, sweeperOn: true };

export function aRequest(fields: Partial<NewDelegation> = {}): NewDelegation {
  return {
    callerId: CALLER,
    delegationId: ID,
    calleeId: CALLEE,
    task: "count the sheep",
    idempotencyKey: "key",
    deadlineMs: 6 * HOUR_MS,
    ...fields,
  };
}

export const queued = (): Delegation => delegate(aRequest(), NOW).delegation;
export const recorded = (): Delegation => record(null, aRequest(), NOW).delegation;

export function told(delegation: Delegation, outcome: DispatchOutcome, now = NOW): Transition {
  const { attemptId, dispatch } = delegation.current;
  return settleDispatch(delegation, { attemptId, dispatch, outcome }, now);
}

export const pollDelivered: DispatchOutcome = { kind: "poll_delivered" };
export const callStarted: DispatchOutcome = { kind: "call_started" };
export const callEnded = (observed: Observation): DispatchOutcome => ({
  kind: "call_ended",
  outcome: judgePush(observed, { name: "Ada", method: "message/send", container: "none", nativeSession: false }),
});
export const answered = (status: number, body: string) =>
  callEnded({ kind: "answered", status, body, cloudflareMade: false });
export const answerOf = (text: string) =>
  answered(200, JSON.stringify({ result: { parts: [{ kind: "text", text }] } }));
export const busy = answered(503, "");
export const undelivered = callEnded({ kind: "not_sent", reason: "connection refused" });
export const vanished = callEnded({ kind: "fetch_threw", reason: "network lost" });

export const dispatched = (): Delegation => told(queued(), pollDelivered).delegation;
export const inProgress = (): Delegation => beaten(dispatched(), NOW);
export const stuck = (): Delegation => judge(inProgress(), NOW + RULES.stuckThresholdMs, RULES).delegation;

export function beaten(
  delegation: Delegation,
  now: number,
  fields: { by?: string; progressSeq?: number } = {},
): Delegation {
  const { by = CALLEE, progressSeq = null } = fields;
  return beat(delegation, { by, id: delegation.current.attemptId, progressSeq, details: null }, now).delegation;
}

export function said(delegation: Delegation, fields: Partial<Report>, now = NOW): Reported {
  const { attemptId } = delegation.current;
  const words = { by: CALLEE, id: attemptId, status: "completed", text: null, error: null, envelope: null } as const;
  return report(delegation, { ...words, drained: false, ...fields }, now);
}

export const completed = (text: string | null = "twelve"): Delegation => said(inProgress(), { text }).delegation;
export const failed = (error: string | null = "out of sheep"): Delegation =>
  said(inProgress(), { status: "failed", error }).delegation;

/** What a transition did, in words. */
export function outline({ delegation, effects }: Transition): string[] {
  return [statusOf(delegation), ...effects.map(wordFor)];
}

export function wordFor(effect: DelegationEffect): string {
  switch (effect.kind) {
    case "history":
      return `history ${effect.slot}: ${effect.row.status}`;
    case "history_status":
      return `history sent: ${effect.status}`;
    case "inbox":
      return `inbox ${effect.slot}`;
    case "inbox_fill":
      return "inbox fill";
    case "event":
      return [effect.event, effect.payload.status].filter(Boolean).join(" ");
    case "dispatch":
      return `dispatch ${effect.message.dispatch}`;
    case "callee":
      return `callee ${effect.message.kind}`;
    case "audit":
      return effect.action;
  }
}

/** The effects of one kind. */
export function effectsOf<Kind extends DelegationEffect["kind"]>(
  { effects }: Pick<Transition, "effects">,
  kind: Kind,
): Extract<DelegationEffect, { kind: Kind }>[] {
  return effects.filter((effect): effect is Extract<DelegationEffect, { kind: Kind }> => effect.kind === kind);
}
