import { type Delegation, isOpen, moved, type OpenAttempt } from "./delegation.ts";
import { newsRow, statusEffects, type Transition, unchanged } from "./delegation-effect.ts";
import { giveUp } from "./delegation-ending.ts";

export const DEADLINE_ERROR = "deadline exceeded by sweeper";

export interface JudgingRules {
  readonly stuckThresholdMs: number;
  /** Off: nothing is judged, whoever asks. */
  readonly sweeperOn: boolean;
}

/**
 * What time alone makes of a delegation: past its deadline it has failed; silent for too long since its last heartbeat
 * it is stuck, which the caller is told once per attempt. One that never sent a heartbeat is left to its deadline.
 */
export function judge(delegation: Delegation, now: number, rules: JudgingRules): Transition {
  const { current } = delegation;
  if (!rules.sweeperOn || !isOpen(current)) return unchanged(delegation);
  if (current.deadline <= now) return giveUp(delegation, "failed", DEADLINE_ERROR, now);
  const silentAt = silenceOf(current, rules);
  return silentAt === null || silentAt > now ? unchanged(delegation) : stuck(delegation, current, now, rules);
}

/** When `judge` has something to do next if nobody says anything before; null for never. */
export function dueAt({ current }: Delegation, rules: JudgingRules): number | null {
  if (!rules.sweeperOn || !isOpen(current)) return null;
  return Math.min(current.deadline, silenceOf(current, rules) ?? current.deadline);
}

/** A duration as Go prints it, which is how the original's notices read: 45s, 10m0s, 1h30m0s. */
export function goDuration(ms: number): string {
  if (ms > 0 && ms < 1000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor(ms / 60_000) % 60;
  const seconds = `${(ms % 60_000) / 1000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

/** When the silence of an attempt has become too long; null when no clock runs, or it has been noticed. */
function silenceOf({ pulse, stuck }: OpenAttempt, { stuckThresholdMs }: JudgingRules): number | null {
  return pulse === null || stuck !== null ? null : pulse.at + stuckThresholdMs;
}

function stuck(delegation: Delegation, attempt: OpenAttempt, now: number, rules: JudgingRules): Transition {
  const error = `no heartbeat for ${goDuration(rules.stuckThresholdMs)}`;
  const noticed = moved(delegation, { ...attempt, stuck: { since: now, error }, stuckTold: true }, now);
  const effects = statusEffects(delegation, noticed);
  if (attempt.stuckTold) return { delegation: noticed, effects };
  const { attemptId } = attempt;
  const row = newsRow(delegation, attemptId, { status: "stuck", error });
  return { delegation: noticed, effects: [...effects, { kind: "inbox", attemptId, slot: "stuck", row, push: false }] };
}
