import { type Delegation, isOpen } from "../../domain/delegation.ts";
import { calleeRemoved, callerRemoved, cancel, type Order, retry, withdrawn } from "../../domain/delegation-control.ts";
import { bindingOf, delegate, delegateAnswer, record } from "../../domain/delegation-creation.ts";
import { type DispatchOutcome, isDispatchDue, settleDispatch } from "../../domain/delegation-dispatch.ts";
import { type EndMessage, receivedMessage, type Transition, unchanged } from "../../domain/delegation-effect.ts";
import { beat, type HeartbeatAnswer } from "../../domain/delegation-heartbeat.ts";
import { dueAt, type JudgingRules, judge } from "../../domain/delegation-judging.ts";
import { leavesOrdinaryRow, report, reportOfMessage } from "../../domain/delegation-report.ts";
import type {
  DelegateRequest,
  HeartbeatRequest,
  RecordRequest,
  UpdateRequest,
} from "../../domain/delegation-request.ts";
import { Refusal } from "../../domain/refusal.ts";
import { log } from "../../log.ts";
import { asPushOutcome } from "../outbound-call/call.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import type { StoredDelegation } from "./delegation-store.ts";
import type { CalleeWord, PlainOutcome, TaskHandOver, WordToOwner } from "./delegation-words.ts";
import type { DelegationWriting, WritingOptions } from "./delegation-writing.ts";
import type { LargeTexts } from "./large-texts.ts";
import { RIDE_ALONG_MS } from "./telling.ts";

/** A dispatch is tried right after its commit; the alarm looks after it this much later. */
const DISPATCH_NET_MS = 2_000;
const DISPATCH_AGAIN_MAX_MS = 5 * 60_000;
const SLICE = 20;
/** Slices that one contact judges; the alarm goes on with the rest. */
const SLICES_MAX = 25;
/** Dispatches that run at once before a caller has to wait for one of them, and how long it waits at most. */
const DISPATCHES_MAX = 16;
const ROOM_WAIT_MS = 1_000;

/** Takes a task to the object of its callee; throws where that does not answer. */
export type HandTaskOver = (calleeId: string, task: TaskHandOver) => Promise<PlainOutcome>;

/** What `delegate` and `delegations/record` answer. */
export type DelegateAnswer = ReturnType<typeof delegateAnswer> & { readonly warning?: string };
export interface RecordAnswer {
  readonly delegation_id: string;
  readonly status: "recorded";
  readonly warning?: string;
}

/** A message that speaks of a delegation, as the Worker has completed it. */
export interface DelegationMessage {
  readonly delegationId: string;
  readonly delegationStatus: string | null;
  readonly text: string;
}

/** What a sweep finds out about a delegation that the ledger shows as due. */
export type SweepFinding = "failed" | "stuck" | "raced";

/** The delegations that this workspace sent: it alone decides about them. All methods but the clock's run in a turn. */
export class Delegations implements Clock {
  readonly name = "delegations";
  readonly #core: Core;
  readonly #writing: DelegationWriting;
  readonly #handOver: HandTaskOver;
  readonly #apply: (work: (now: number) => void) => Promise<void>;
  readonly #dispatching = new Map<number, Promise<void>>();
  /** Delegations whose dispatch the current turn decided on. */
  #fresh: number[] = [];

  /** `apply` takes a turn of its own. */
  constructor(
    core: Core,
    writing: DelegationWriting,
    handOver: HandTaskOver,
    apply: (work: (now: number) => void) => Promise<void>,
  ) {
    this.#core = core;
    this.#writing = writing;
    this.#handOver = handOver;
    this.#apply = apply;
  }

  /** `delegationId` is what a new one is called. */
  delegate(request: DelegateRequest, delegationId: string, texts: LargeTexts, now: number): DelegateAnswer {
    const { targetId, task, idempotencyKey, deadlineMs, warning } = request;
    const { config } = this.#core;
    const bound = this.#boundBy(idempotencyKey, now);
    if (bound) return delegateAnswer(bound, true);
    const callerId = this.#callerId();
    const wanted = deadlineMs ?? config.delegations.deadlineMs;
    const facts = { callerId, delegationId, calleeId: targetId, task, idempotencyKey, deadlineMs: wanted };
    const { delegation } = this.#begin(delegate(facts, now), task, texts, now);
    return { ...delegateAnswer(delegation, false), ...(warning === null ? {} : { warning }) };
  }

  record(request: RecordRequest, texts: LargeTexts, now: number): RecordAnswer {
    const { delegationId, targetId, task, deadlineMs, warning } = request;
    const { delegations, config } = this.#core;
    const known = delegations.find(delegationId)?.delegation ?? null;
    const wanted = deadlineMs ?? config.delegations.deadlineMs;
    const facts = { callerId: this.#callerId(), delegationId, calleeId: targetId, task, idempotencyKey: null };
    const transition = record(known, { ...facts, deadlineMs: wanted }, now);
    if (known === null) this.#begin(transition, task, texts, now);
    return { delegation_id: delegationId, status: "recorded", ...(warning === null ? {} : { warning }) };
  }

  /** The caller's own word on the end; false when it has no such delegation. */
  update(id: string, { status, text, error }: UpdateRequest, texts: LargeTexts, now: number): boolean {
    const stored = this.#core.delegations.find(id);
    if (!stored) return false;
    const said = { by: this.#callerId(), id, status, text, error, envelope: null, drained: false };
    this.#write(stored, report(stored.delegation, said, now), now, { texts });
    return true;
  }

  /** The caller's own heartbeat; null when it has no such delegation. */
  beat(id: string, heartbeat: HeartbeatRequest, now: number): HeartbeatAnswer | null {
    const stored = this.#core.delegations.find(id);
    if (!stored) return null;
    const { answer, ...transition } = beat(stored.delegation, { by: this.#callerId(), id, ...heartbeat }, now);
    this.#write(stored, transition, now);
    return answer;
  }

  cancel(id: string, order: Order, now: number): { status: "cancelled"; cancelRequested: boolean } {
    const stored = this.#require(id);
    const { cancelRequested, ...transition } = cancel(stored.delegation, order, now);
    this.#write(stored, transition, now);
    return { status: "cancelled", cancelRequested };
  }

  retry(
    id: string,
    order: Order & { force: boolean; attemptId: string },
    texts: LargeTexts,
    now: number,
  ): { attemptId: string } {
    const stored = this.#require(id);
    this.#noteOpen(now);
    const keyHolder = this.#boundBy(stored.delegation.idempotencyKey, now);
    const transition = retry(stored.delegation, { ...order, task: stored.task, keyHolder }, now);
    const { delegation } = this.#write(stored, transition, now, { texts });
    this.#dispatchSoon(stored.seq, delegation);
    return { attemptId: order.attemptId };
  }

  /**
   * A message from a workspace that names a delegation of this one. Null when it is an ordinary message; else the row
   * that tells of it, which is the message itself where it brought something new.
   */
  message(
    by: string,
    message: DelegationMessage,
    texts: LargeTexts,
    now: number,
  ): { activityId: string; repeated: boolean } | null {
    const { delegations, inbox, config } = this.#core;
    const stored = delegations.findByAttempt(message.delegationId);
    const said = stored && reportOfMessage(by, message);
    if (!stored || !said) return null;
    const { disposition, ...transition } = report(stored.delegation, said, now);
    const { slots } = this.#write(stored, transition, now, { texts });
    if (leavesOrdinaryRow(disposition) || !config.delegations.resultInboxPush) return null;
    const rows = slots[message.delegationId] ?? slots[stored.delegation.current.attemptId];
    const row = rows?.inbox_late ?? rows?.inbox_result ?? rows?.late ?? rows?.sent ?? inbox.head();
    const isNew = disposition === "closed" || disposition === "filled" || disposition === "late";
    return { activityId: inbox.idOf(row), repeated: !isNew };
  }

  /** A word of the callee's object; the answer says how the attempt ended, if it has. */
  hear({ from, delegationId, word }: WordToOwner, texts: LargeTexts, now: number): { end: EndMessage | null } {
    const stored = this.#core.delegations.findByAttempt(delegationId);
    if (stored?.delegation.calleeId !== from) return { end: null };
    const transition = transitionOf(stored.delegation, from, word, now);
    const { delegation } = this.#write(stored, transition, now, { texts, answering: word.attemptId });
    this.#dispatchSoon(stored.seq, delegation);
    return { end: endOf(delegation, word.attemptId) };
  }

  /** What the callee's object made of a task that this workspace brings itself: only a refusal is news. */
  async taken({ message: { attemptId, delegationId, dispatch } }: TaskHandOver, outcome: PlainOutcome): Promise<void> {
    if (outcome.kind !== "refused") return;
    await this.#apply((now) => {
      const stored = this.#core.delegations.find(delegationId);
      if (stored) this.#write(stored, settleDispatch(stored.delegation, { attemptId, dispatch, outcome }, now), now);
    });
  }

  /** The callee's object took an attempt's task back before its agent saw it. */
  async withdrawn(attemptId: string): Promise<void> {
    await this.#apply((now) => {
      const stored = this.#core.delegations.findByAttempt(attemptId);
      if (stored) this.#write(stored, withdrawn(stored.delegation, attemptId), now);
    });
  }

  /** This workspace has been removed: nobody waits for what it sent. Ends some of it. */
  callerRemoved(limit: number, now: number): void {
    for (const stored of this.#core.delegations.open(limit)) {
      this.#write(stored, callerRemoved(stored.delegation, now), now);
    }
  }

  /** Whether time has brought something about; asked at any contact. */
  isDue(now: number): boolean {
    const due = this.#core.delegations.nextDue();
    return due !== null && due <= now;
  }

  /** The one place that judges: whatever is due by the object's own rows and clock. */
  judgeDue(now: number): void {
    for (let slices = 0; slices < SLICES_MAX && this.isDue(now); slices += 1) {
      for (const stored of this.#core.delegations.due(now, SLICE)) this.#judge(stored, now);
    }
  }

  /** What has become of delegations that the ledger shows as due. */
  sweep(ids: readonly string[], now: number): SweepFinding[] {
    return ids.map((id) => {
      const stored = this.#core.delegations.find(id);
      const judged = stored && this.#judge(stored, now).delegation;
      if (!judged || judged === stored.delegation) return "raced";
      return isOpen(judged.current) ? "stuck" : "failed";
    });
  }

  get hasFresh(): boolean {
    return this.#fresh.length > 0;
  }

  /** After the commit: takes to their callees what the turn has decided to dispatch. */
  async tellFresh(): Promise<void> {
    const fresh = this.#fresh;
    this.#fresh = [];
    await Promise.all(fresh.map((seq) => this.#dispatch(seq)));
  }

  /**
   * Resolves when one more dispatch may begin. Callers are answered before their task is taken anywhere; without this
   * a burst of them would outrun its own work without end.
   */
  async room(): Promise<void> {
    if (this.#dispatching.size < DISPATCHES_MAX) return;
    let isPatient = true;
    const patience = scheduler.wait(ROOM_WAIT_MS).then(() => {
      isPatient = false;
    });
    while (isPatient && this.#dispatching.size >= DISPATCHES_MAX) {
      await Promise.race([patience, ...this.#dispatching.values()]);
    }
  }

  /** After a turn that was rolled back. */
  forget(): void {
    this.#fresh = [];
  }

  dueAt(): number | null {
    return this.#core.delegations.nextDue();
  }

  async run(): Promise<void> {
    await this.#apply((now) => this.judgeDue(now));
  }

  #begin(transition: Transition, task: string, texts: LargeTexts, now: number): StoredDelegation {
    this.#noteOpen(now);
    const begun = { seq: null, delegation: transition.delegation, task, slots: {}, dueAt: null };
    const stored = this.#write(begun, transition, now, { texts });
    this.#dispatchSoon(stored.seq, stored.delegation);
    return stored;
  }

  /** Who goes from nothing to something in flight tells the board, which pulls the next sweep forward. */
  #noteOpen(now: number): void {
    const { profile, delegations } = this.#core;
    if (delegations.hasOpen()) return;
    const { boardVersion, boardDue } = profile.get();
    profile.set({ boardVersion: boardVersion + 1, boardDue: boardDue ?? now + RIDE_ALONG_MS });
  }

  #judge(stored: StoredDelegation, now: number): StoredDelegation {
    const transition = this.#isRemoved()
      ? callerRemoved(stored.delegation, now)
      : judge(stored.delegation, now, this.#rules());
    const written = this.#write(stored, transition, now);
    const { delegation, seq } = written;
    this.#dispatchSoon(seq, delegation);
    // A clock that rang for nothing, e.g. after the threshold was changed, is set anew, or stands still.
    if (delegation === stored.delegation && seq !== null) {
      const due = this.#dueAt(delegation, now);
      if (due !== stored.dueAt) this.#core.delegations.dueAt(seq, due);
    }
    return written;
  }

  #write(stored: StoredDelegation, transition: Transition, now: number, options?: WritingOptions): StoredDelegation {
    return this.#writing.write(stored, transition, this.#dueAt(transition.delegation, now), now, options);
  }

  #dueAt(delegation: Delegation, now: number): number | null {
    const judging = dueAt(delegation, this.#rules());
    const { current } = delegation;
    if (current.state !== "queued" || current.dispatchAt === null) return judging;
    const dispatching = current.dispatchAt <= now ? now + DISPATCH_NET_MS : current.dispatchAt;
    return judging === null ? dispatching : Math.min(judging, dispatching);
  }

  #dispatchSoon(seq: number | null, delegation: Delegation): void {
    if (seq !== null && wantsDispatch(delegation, Date.now())) this.#fresh.push(seq);
  }

  async #dispatch(seq: number): Promise<void> {
    const stored = this.#core.delegations.at(seq);
    if (!stored || this.#dispatching.has(seq) || !wantsDispatch(stored.delegation, Date.now())) return;
    // Its end is only a matter of time.
    if (this.#isRemoved()) return;
    const dispatching = this.#take(seq, stored).finally(() => this.#dispatching.delete(seq));
    this.#dispatching.set(seq, dispatching);
    await dispatching;
  }

  async #take(seq: number, { delegation, task }: StoredDelegation): Promise<void> {
    const { attemptId, dispatch } = delegation.current;
    const { workspaceId: id, path } = this.#core.profile.get();
    try {
      const message = receivedMessage(delegation);
      const outcome = await this.#handOver(delegation.calleeId, { caller: { id, path }, message, task });
      await this.#apply((now) => {
        const known = this.#core.delegations.at(seq);
        if (!known) return;
        this.#write(
          known,
          settleDispatch(known.delegation, { attemptId, dispatch, outcome: lawful(outcome) }, now),
          now,
        );
      });
    } catch (error) {
      await this.#apply((now) => this.#dispatchLater(seq, delegation.current, now));
      const reason = error instanceof Error ? error.name : "unknown";
      log.warn("delegation.not_dispatched", { workspace_id: id, attempt_id: attemptId, dispatch, reason });
    }
  }

  /** The same dispatch is tried again when it is as old again, but not after time has something else to say. */
  #dispatchLater(seq: number, { attemptId, dispatch, startedAt }: Delegation["current"], now: number): void {
    const delegation = this.#core.delegations.at(seq)?.delegation;
    if (delegation?.current.attemptId !== attemptId || delegation.current.dispatch !== dispatch) return;
    const again = now + Math.min(Math.max(now - startedAt, DISPATCH_NET_MS), DISPATCH_AGAIN_MAX_MS);
    this.#core.delegations.dueAt(seq, Math.min(dueAt(delegation, this.#rules()) ?? again, again));
  }

  /** The delegation that a key stands for. */
  #boundBy(key: string | null, now: number): Delegation | null {
    if (key === null) return null;
    const known = this.#core.delegations.withKey(key).map(({ delegation }) => delegation);
    return bindingOf(known, key, now);
  }

  #require(id: string): StoredDelegation {
    const stored = this.#core.delegations.find(id);
    if (!stored) throw new Refusal("delegation.not_found");
    return stored;
  }

  #isRemoved(): boolean {
    return this.#core.profile.get().removedAt !== null;
  }

  #callerId(): string {
    return this.#core.profile.get().workspaceId;
  }

  #rules(): JudgingRules {
    return this.#core.config.delegations;
  }
}

function wantsDispatch(delegation: Delegation, now: number): boolean {
  const { attemptId, dispatch } = delegation.current;
  return isDispatchDue(delegation, attemptId, dispatch, now);
}

function transitionOf(delegation: Delegation, from: string, word: CalleeWord, now: number): Transition {
  const { attemptId } = word;
  switch (word.kind) {
    case "outcome":
      return settleDispatch(delegation, { attemptId, dispatch: word.dispatch, outcome: lawful(word.outcome) }, now);
    case "report": {
      const { status, text, error } = word;
      return report(delegation, { by: from, id: attemptId, status, text, error, envelope: null, drained: false }, now);
    }
    case "beat": {
      const { progressSeq, details } = word;
      // One that was held up says when somebody was at work, not that somebody is.
      const at = Math.max(word.at, delegation.current.pulse?.at ?? word.at);
      return beat(delegation, { by: from, id: attemptId, progressSeq, details }, Math.min(at, now));
    }
    case "removed":
      return attemptId === delegation.current.attemptId ? calleeRemoved(delegation, now) : unchanged(delegation);
  }
}

function endOf({ callerId, past, current }: Delegation, id: string): EndMessage | null {
  const attempt = [...past, current].find(({ attemptId }) => attemptId === id);
  if (!attempt || isOpen(attempt)) return null;
  const { attemptId, state: status, endedBy } = attempt;
  const error = attempt.state === "completed" ? null : attempt.state === "cancelled" ? "cancelled" : attempt.error;
  return { kind: endedBy === "callee" ? "closed" : "cancel", attemptId, callerId, status, error };
}

function lawful(plain: PlainOutcome): DispatchOutcome {
  if (plain.kind !== "call_ended" && plain.kind !== "drained") return plain;
  return { ...plain, outcome: asPushOutcome(plain.outcome) };
}
