import { judgePush, type Observation } from "../../src/domain/a2a-outcome.ts";
import { type Attempt, type Delegation, isOpen, meantAttempt } from "../../src/domain/delegation.ts";
import { calleeRemoved, callerRemoved, cancel, retry } from "../../src/domain/delegation-control.ts";
import { bindingOf, delegate, record } from "../../src/domain/delegation-creation.ts";
import {
  type DispatchOutcome,
  type DispatchReport,
  isDispatchDue,
  settleDispatch,
} from "../../src/domain/delegation-dispatch.ts";
import type {
  CalleeMessage,
  DelegationEffect,
  ReceivedMessage,
  Transition,
} from "../../src/domain/delegation-effect.ts";
import { beat, type Heartbeat } from "../../src/domain/delegation-heartbeat.ts";
import { judge } from "../../src/domain/delegation-judging.ts";
import { beatReceived, type Received, receive, receiveEnd } from "../../src/domain/delegation-received.ts";
import { type Report, report } from "../../src/domain/delegation-report.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import { aRequest, CALLEE, CALLER, HOUR_MS, MINUTE_MS, NOW, RULES, STRANGER } from "./delegation-samples.ts";

const DELEGATIONS_MAX = 3;
const STEPS_MS = [1000, 8000, 8000, 10 * MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS];
const TARGET = { name: "Ada", method: "message/send", container: "none", nativeSession: false } as const;
const pushOf = (observed: Observation) => judgePush(observed, TARGET);
const SURELY_NOT = pushOf({ kind: "not_sent", reason: "refused" });
const BUSY = pushOf({ kind: "answered", status: 503, body: "", cloudflareMade: false });
const VANISHED = pushOf({ kind: "fetch_threw", reason: "lost" });
const CUT = pushOf({ kind: "answer_cut", status: 200 });

/** What is on its way between the two objects. */
type Letter =
  | { readonly to: "owner"; readonly kind: "report"; readonly delegationId: string; readonly report: Report }
  | { readonly to: "owner"; readonly kind: "beat"; readonly delegationId: string; readonly beat: Heartbeat }
  | { readonly to: "owner"; readonly kind: "dispatched"; readonly delegationId: string; readonly told: DispatchReport }
  /** A dispatch that waits for its time at the caller's object. */
  | { readonly to: "post"; readonly message: ReceivedMessage }
  | { readonly to: "callee"; readonly message: CalleeMessage };

/**
 * The caller's and the callee's object with a network between them that loses, doubles and reorders. Every step checks
 * what must hold whatever happened before it; a breach throws.
 */
export class DelegationWorld {
  /** How often each kind of thing has happened, over all worlds: a model that reaches nothing proves nothing. */
  static readonly happened = new Map<string, number>();

  #now = NOW;
  #fresh = 0;
  readonly #delegations = new Map<string, Delegation>();
  readonly #letters: Letter[] = [];
  readonly #received = new Map<string, Received>();
  /** Attempts whose task the callee may have. */
  readonly #reached = new Set<string>();
  readonly #waiting = new Set<string>();
  /** Attempts of whose end the callee's object has heard. */
  readonly #closed = new Set<string>();
  /** How often each attempt was put before the callee. */
  readonly #taken = new Map<string, number>();
  /** `attempt slot` of every inbox row, and `attempt text` of every result that was told or kept. */
  readonly #rows = new Set<string>();
  readonly #heard = new Map<string, string>();

  constructor(choice: number) {
    this.delegate(choice);
  }

  /** One step; the number chooses what happens and to whom. */
  step(choice: number): void {
    const step = STEPS[choice % STEPS.length] ?? STEPS[0];
    step(this, Math.floor(choice / STEPS.length));
  }

  /** Time passes every deadline and one sweep follows. */
  finish(): void {
    this.#now += 7 * HOUR_MS;
    this.sweep();
    for (const { current } of this.#delegations.values()) must(!isOpen(current), "in flight past deadline and sweep");
  }

  advance(choice: number): void {
    this.#now += pick(STEPS_MS, choice);
  }

  sweep(): void {
    for (const delegation of this.#delegations.values()) {
      this.#apply(delegation, judge(delegation, this.#now, RULES));
    }
    for (const { current } of this.#delegations.values()) {
      must(!isOpen(current) || current.deadline > this.#now, "a sweep left something past its deadline");
    }
  }

  /** Another delegation under the same key, unless one binds it. */
  delegate(choice: number): void {
    if (this.#delegations.size >= DELEGATIONS_MAX) return;
    const all = [...this.#delegations.values()];
    if (bindingOf(all, "key", this.#now) !== null) return;
    const request = aRequest({ delegationId: this.#id() });
    const created = choice % 4 === 0 ? record(null, request, this.#now) : delegate(request, this.#now);
    this.#delegations.set(request.delegationId, created.delegation);
    this.#carryOut(created);
    const bound = [...this.#delegations.values()].filter(({ past, current }) => past.length === 0 && isOpen(current));
    must(bound.length <= 1, "two first attempts under one key");
  }

  /** A letter arrives; it may arrive again. */
  deliver(choice: number, again: boolean): void {
    const index = choice % Math.max(1, this.#letters.length);
    const letter = again ? this.#letters[index] : this.#letters.splice(index, 1)[0];
    if (letter?.to === "owner") this.#deliverToOwner(letter);
    if (letter?.to === "callee") this.#deliverToCallee(letter.message, choice);
    if (letter?.to === "post") this.#post(letter.message);
  }

  /** A letter is lost for good. */
  lose(choice: number): void {
    this.#letters.splice(choice % Math.max(1, this.#letters.length), 1);
  }

  /** The callee or a stranger says something by letter, the caller to its own object at once. */
  say(choice: number, by: string): void {
    const delegation = this.#choose(choice);
    if (delegation === null) return;
    const attempts = [delegation.current, ...delegation.past];
    const { attemptId } = pick(attempts, choice >> 2);
    const said: Report = { by, id: attemptId, ...this.#words(choice >> 4, attemptId), envelope: null, drained: false };
    const { delegationId } = delegation;
    if (by === CALLER) this.#report(delegation, { ...said, id: delegationId });
    else this.#letters.push({ to: "owner", kind: "report", delegationId, report: said });
  }

  heartbeat(choice: number, by: string): void {
    const delegation = this.#choose(choice);
    if (delegation === null) return;
    const { attemptId } = delegation.current;
    const progressSeq = choice % 3 === 0 ? null : choice % 7;
    const sent: Heartbeat = { by, id: attemptId, progressSeq, details: null };
    if (by === CALLER) this.#apply(delegation, beat(delegation, sent, this.#now));
    const received = this.#received.get(attemptId);
    if (by === CALLER || received === undefined) return;
    this.#received.set(attemptId, beatReceived(received, this.#now).received);
    this.#letters.push({ to: "owner", kind: "beat", delegationId: delegation.delegationId, beat: sent });
  }

  /** The queue of a busy callee sends one of its requests. */
  drain(choice: number): void {
    const attemptId = pick([...this.#waiting, ""], choice);
    const received = this.#received.get(attemptId);
    if (received === undefined) return;
    const waitsAgain = choice % 5 === 1;
    const outcome = pick([this.#answer(attemptId), BUSY, VANISHED, BUSY], choice >> 1);
    if (outcome !== BUSY || !waitsAgain) this.#waiting.delete(attemptId);
    if (outcome !== BUSY) this.#reached.add(attemptId);
    this.#tellOwner(received, { kind: "drained", outcome, waitsAgain: outcome === BUSY && waitsAgain });
  }

  order(choice: number, verb: "cancel" | "retry" | "caller removed" | "callee removed"): void {
    const delegation = this.#choose(choice);
    if (delegation === null) return;
    try {
      this.#apply(delegation, this.#ordered(delegation, choice, verb));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }

  #ordered(delegation: Delegation, choice: number, verb: Parameters<DelegationWorld["order"]>[1]): Transition {
    const order = { actor: "operator", reason: null };
    switch (verb) {
      case "cancel":
        return cancel(delegation, order, this.#now);
      case "retry":
        return retry(
          delegation,
          { ...order, attemptId: this.#id(), task: "again", force: (choice & 64) === 0 },
          this.#now,
        );
      case "caller removed":
        return callerRemoved(delegation, this.#now);
      case "callee removed":
        return calleeRemoved(delegation, this.#now);
    }
  }

  #deliverToOwner(letter: Extract<Letter, { to: "owner" }>): void {
    const delegation = this.#delegations.get(letter.delegationId);
    if (delegation === undefined) return;
    switch (letter.kind) {
      case "report":
        this.#report(delegation, letter.report);
        break;
      case "beat":
        this.#apply(delegation, beat(delegation, letter.beat, this.#now));
        break;
      case "dispatched":
        this.#settle(delegation, letter.told);
    }
  }

  #settle(delegation: Delegation, told: DispatchReport): void {
    const { outcome, attemptId } = told;
    const text = outcome.kind === "call_ended" || outcome.kind === "drained" ? answerOf(outcome) : null;
    const answer = { by: CALLEE, id: attemptId, status: "completed", text, error: null } as const;
    const due = this.#due(delegation, answer);
    const settled = settleDispatch(delegation, told, this.#now);
    const gaveUp = isOpen(delegation.current) && !isOpen(settled.delegation.current);
    if (gaveUp && outcome.kind === "call_ended" && outcome.outcome === SURELY_NOT) {
      must(this.#taken.get(attemptId) === 2, "given up before the one retry");
    }
    this.#apply(delegation, settled, due);
  }

  #report(delegation: Delegation, said: Report): void {
    const due = this.#due(delegation, said);
    const reported = report(delegation, said, this.#now);
    must(said.by !== STRANGER || reported.delegation === delegation, "a stranger changed something");
    note(reported.disposition);
    this.#apply(delegation, reported, due);
  }

  /** The words that a report obliges its attempt to tell or keep: the first ones that do not contradict its end. */
  #due(delegation: Delegation, said: Pick<Report, "by" | "id" | "status" | "text" | "error">): string | null {
    const { by, id, status } = said;
    const attempt = by === STRANGER ? null : meantAttempt(delegation, by, id);
    if (attempt === null || status === "in_progress" || this.#heard.has(attempt.attemptId)) return null;
    const isGivenUp = !isOpen(attempt) && attempt.endedBy === "platform";
    const words = said.text ?? (isGivenUp && by === CALLEE ? said.error : null);
    const fits =
      isOpen(attempt) ||
      isGivenUp ||
      attempt.state === status ||
      (attempt.state === "failed" && attempt.error === null);
    return fits && words !== null ? `${attempt.attemptId} ${words}` : null;
  }

  #apply(before: Delegation, transition: Transition, due: string | null = null): void {
    const { delegation: after, effects } = transition;
    this.#delegations.set(after.delegationId, after);
    note(`${before.current.state} to ${after.current.state}`);
    const heard = this.#carryOut(transition);
    must(due === null ? heard === null : heard === due, `due ${due}, heard ${heard}`);
    if (after === before) must(effects.length === 0, "effects without a change");
    const finals = effects.filter(isFinalEvent).length;
    must(finals === endedAttempts(after).length - endedAttempts(before).length, "an end without its one event");
    endedAttempts(before).forEach((ended, index) => {
      const still = endedAttempts(after)[index];
      must(still?.state === ended.state && still.attemptId === ended.attemptId, "an attempt ended twice");
    });
    const hasRested = !isOpen(before.current) && before.current.attemptId === after.current.attemptId;
    if (hasRested) must(!effects.some(({ kind }) => kind === "event"), "an event after the end");
  }

  /** Books the effects; gives back the one text that they told or kept, with its attempt. */
  #carryOut({ delegation, effects }: Transition): string | null {
    let heard: string | null = null;
    for (const effect of effects) heard = this.#book(delegation, effect) ?? heard;
    return heard;
  }

  #book(delegation: Delegation, effect: DelegationEffect): string | null {
    switch (effect.kind) {
      case "event":
        must(effect.payload.target_id === CALLEE, "an event without its target");
        return null;
      case "inbox":
      case "inbox_fill": {
        const row = `${effect.attemptId} ${effect.kind === "inbox" ? effect.slot : "fill"}`;
        must(effect.kind === "inbox" || !this.#heard.has(effect.attemptId), "a told text was overwritten");
        // Of a result told without its text, a missing error may come first and the text later.
        must(effect.kind === "inbox_fill" || !this.#rows.has(row), `a second row: ${row}`);
        this.#rows.add(row);
        note(`row ${row.slice(effect.attemptId.length + 1)}`);
        return this.#hear(effect.attemptId, textIn(effect.row.responseBody));
      }
      case "history": {
        const isOld = effect.attemptId !== delegation.current.attemptId;
        return isOld && effect.slot === "late" ? this.#hear(effect.attemptId, textIn(effect.row.responseBody)) : null;
      }
      case "dispatch":
        note(`dispatch ${effect.message.dispatch}`);
        this.#letters.push({ to: "post", message: effect.message });
        return null;
      case "callee":
        this.#letters.push({ to: "callee", message: effect.message });
        return null;
      default:
        return null;
    }
  }

  #hear(attemptId: string, text: string): string | null {
    if (text === "") return null;
    must(!this.#heard.has(attemptId), `a second text of one attempt: ${text}`);
    this.#heard.set(attemptId, text);
    return `${attemptId} ${text}`;
  }

  #post(message: ReceivedMessage): void {
    const delegation = this.#delegations.get(message.delegationId);
    const { attemptId, dispatch } = message;
    if (delegation === undefined) return;
    if (isDispatchDue(delegation, attemptId, dispatch, this.#now)) this.#letters.push({ to: "callee", message });
    else if (isOpen(delegation.current)) this.#letters.push({ to: "post", message });
  }

  #deliverToCallee(message: CalleeMessage, choice: number): void {
    const { attemptId } = message;
    const known = this.#received.get(attemptId) ?? null;
    if (message.kind !== "received") {
      const { received, withdraw } = receiveEnd(known, message, this.#now);
      this.#received.set(attemptId, received);
      this.#closed.add(attemptId);
      if (withdraw) this.#waiting.delete(attemptId);
      return;
    }
    const { received, deliver } = receive(known, message, this.#now);
    this.#received.set(attemptId, received);
    if (deliver) this.#take(received, choice >> 3);
  }

  /** The callee's object puts a task before its agent, by inbox or by call. */
  #take(received: Received, choice: number): void {
    const { attemptId } = received;
    must(!this.#reached.has(attemptId), "a task that may have arrived was sent again");
    must(!this.#closed.has(attemptId), "a task was delivered after its end");
    this.#taken.set(attemptId, (this.#taken.get(attemptId) ?? 0) + 1);
    const outcomes = {
      polled: null,
      refused: null,
      answered: this.#answer(attemptId),
      not: SURELY_NOT,
      busy: BUSY,
      vanished: VANISHED,
      cut: CUT,
    };
    const kind = pick(
      ["polled", "not", "busy", "answered", "vanished", "not", "polled", "refused", "cut"] as const,
      choice,
    );
    if (kind === "busy") this.#waiting.add(attemptId);
    else if (kind !== "not" && kind !== "refused") this.#reached.add(attemptId);
    const outcome = outcomes[kind];
    if (outcome !== null) {
      this.#tellOwner(received, { kind: "call_started" });
      this.#tellOwner(received, { kind: "call_ended", outcome });
    } else {
      this.#tellOwner(received, kind === "refused" ? { kind, error: "access denied" } : { kind: "poll_delivered" });
    }
  }

  #tellOwner({ attemptId, delegationId, dispatch }: Received, outcome: DispatchOutcome): void {
    this.#letters.push({ to: "owner", kind: "dispatched", delegationId, told: { attemptId, dispatch, outcome } });
  }

  #answer(attemptId: string) {
    const body = JSON.stringify({ result: { parts: [{ kind: "text", text: `${attemptId}-answer-${this.#fresh}` }] } });
    return pushOf({ kind: "answered", status: 200, body, cloudflareMade: false });
  }

  /** A report's words: now and then without a text, or with one that was said before. */
  #words(choice: number, attemptId: string): Pick<Report, "status" | "text" | "error"> {
    this.#fresh += 1;
    const status = pick(["completed", "completed", "failed", "in_progress"] as const, choice);
    const text = pick(
      [null, this.#heard.get(attemptId) ?? null, `text-${this.#fresh}`, `text-${this.#fresh}`],
      choice >> 2,
    );
    const error = status === "failed" && (choice & 16) === 0 ? `error-${this.#fresh % 2}` : null;
    return { status, text, error };
  }

  #choose(choice: number): Delegation | null {
    return pick([...this.#delegations.values()].reverse(), choice >> 3) ?? null;
  }

  #id(): string {
    this.#fresh += 1;
    return `id-${this.#fresh}`;
  }
}

/** What is written more than once happens more often. */
const STEPS: readonly [Step, ...Step[]] = [
  (world, choice) => world.delegate(choice),
  (world, choice) => world.deliver(choice, false),
  (world, choice) => world.deliver(choice, false),
  (world, choice) => world.deliver(choice, false),
  (world, choice) => world.deliver(choice, false),
  (world, choice) => world.deliver(choice, false),
  (world, choice) => world.deliver(choice, true),
  (world, choice) => world.deliver(choice, true),
  (world, choice) => world.lose(choice),
  (world, choice) => world.advance(choice),
  (world, choice) => world.advance(choice),
  (world, choice) => world.say(choice, CALLEE),
  (world, choice) => world.say(choice, CALLEE),
  (world, choice) => world.say(choice, choice % 3 === 0 ? STRANGER : CALLER),
  (world, choice) => world.heartbeat(choice, CALLEE),
  (world, choice) => world.heartbeat(choice, CALLEE),
  (world, choice) => world.heartbeat(choice, CALLER),
  (world, choice) => world.drain(choice),
  (world) => world.sweep(),
  (world) => world.sweep(),
  (world, choice) => world.order(choice, pick(["retry", "retry", "retry", "cancel"], choice)),
  (world, choice) => world.order(choice, pick(["retry", "caller removed", "retry", "callee removed"], choice)),
];
type Step = (world: DelegationWorld, choice: number) => void;

/** Choices beyond this repeat what smaller ones do. */
export const CHOICES = STEPS.length * 4096;

function note(event: string): void {
  DelegationWorld.happened.set(event, (DelegationWorld.happened.get(event) ?? 0) + 1);
}

function must(holds: boolean, breach: string): void {
  if (!holds) throw new Error(breach);
}

function pick<Item>(items: readonly Item[], choice: number): Item {
  return items[choice % items.length] as Item;
}

function endedAttempts({ past, current }: Delegation): Attempt[] {
  return isOpen(current) ? [...past] : [...past, current];
}

function isFinalEvent(effect: DelegationEffect): boolean {
  return effect.kind === "event" && (effect.event === "DELEGATION_COMPLETE" || effect.event === "DELEGATION_FAILED");
}

function textIn(responseBody: string | null): string {
  return (JSON.parse(responseBody ?? "{}") as { text?: string }).text ?? "";
}

function answerOf({ outcome }: Extract<DispatchOutcome, { outcome: object }>): string | null {
  const { reply } = outcome;
  if (reply.kind !== "pass") return null;
  return (JSON.parse(reply.body ?? "") as { result: { parts: [{ text: string }] } }).result.parts[0].text;
}
