import { type Attempt, type Delegation, isOpen, meantAttempt, type Pulse, roleOf, takenUp } from "./delegation.ts";
import { statusEffects, type Transition, unchanged } from "./delegation-effect.ts";
import { Refusal } from "./refusal.ts";

/** A sign of work on a delegation, from its callee or its caller. */
export interface Heartbeat {
  readonly by: string;
  readonly id: string;
  readonly progressSeq: number | null;
  readonly details: string | null;
}

/** What whoever works learns: whether to stop, and how long somebody still waits. */
export interface HeartbeatAnswer {
  readonly cancel_requested: boolean;
  readonly deadline_in_s: number;
}

/**
 * Feeds the clock of `stuck` and lifts that notice. The callee's means that it has the task and works on it; the
 * caller's says only that it still watches. A stranger learns nothing.
 */
export function beat(
  delegation: Delegation,
  heartbeat: Heartbeat,
  now: number,
): Transition & { readonly answer: HeartbeatAnswer } {
  const { by, id, progressSeq, details } = heartbeat;
  const role = roleOf(delegation, by);
  const attempt = role === null ? null : meantAttempt(delegation, by, id);
  if (role === null || attempt === null) throw new Refusal("delegation.not_found");
  if (!isOpen(attempt)) {
    const answer = heartbeatAnswer(attempt.deadline, attempt.endedBy === "callee" ? "answered" : "unwanted", now);
    return { ...unchanged(delegation), answer };
  }
  const pulse = nextPulse(attempt, progressSeq, details, now);
  const starts = role === "callee" && attempt.state !== "in_progress";
  const working = starts ? takenUp(attempt, role, now) : attempt;
  const updatedAt = starts || attempt.stuck !== null ? now : delegation.updatedAt;
  const next = { ...delegation, updatedAt, current: { ...working, pulse, stuck: null } };
  const answer = heartbeatAnswer(attempt.deadline, "open", now);
  return { delegation: next, effects: statusEffects(delegation, next), answer };
}

/** An attempt that ended without its callee is `unwanted`: whoever works on it should stop. */
export function heartbeatAnswer(
  deadline: number,
  attempt: "open" | "answered" | "unwanted",
  now: number,
): HeartbeatAnswer {
  const seconds = attempt === "open" ? Math.max(0, Math.ceil((deadline - now) / 1000)) : 0;
  return { cancel_requested: attempt === "unwanted", deadline_in_s: seconds };
}

function nextPulse({ pulse }: Attempt, seq: number | null, details: string | null, now: number): Pulse {
  const known = pulse?.progressSeq ?? null;
  const rises = seq !== null && (known === null || seq > known);
  return {
    at: now,
    progressSeq: rises ? seq : known,
    progressAt: rises ? now : (pulse?.progressAt ?? null),
    details: details ?? pulse?.details ?? null,
  };
}
