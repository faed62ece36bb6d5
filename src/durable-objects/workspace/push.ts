import { busyRefusal } from "../../domain/a2a-outcome.ts";
import { digestOf } from "../../domain/credential.ts";
import { findRepeat } from "../../domain/queue-item.ts";
import { Refusal } from "../../domain/refusal.ts";
import { log } from "../../log.ts";
import type { CallAnswer, CallIntent, CallOutcome, CallReport, QueuePlace } from "../outbound-call/call.ts";
import type { Clock } from "../shared/alarm.ts";
import type { StoredCall } from "./call-store.ts";
import type { Core } from "./core.ts";
import { lostOutcome } from "./lost-call.ts";
import type { IncomingMessage, Sender } from "./messages.ts";
import type { OwnerTelling } from "./owner-telling.ts";
import { deliveryModeOf } from "./profile-store.ts";
import type { Queue } from "./queue.ts";
import type { StoredItem } from "./queue-store.ts";

/** The Worker hands a call over at once; when it died before that, the workspace does so this much later. */
const HAND_OVER_AFTER_MS = 10_000;
/** A call that was handed over has reported by then; if not, it is reminded. */
const REMIND_AFTER_MS = 15 * 60_000;
const SLICE = 20;

/** What a push target makes of a message: a call for the Worker to hand over, or the queue item that it repeats. */
export type PushReceived =
  | { readonly mode: "call"; readonly intent: Omit<CallIntent, "body" | "bodyKey"> }
  | ({ readonly mode: "queued"; readonly why: "busy" | "working" } & QueuePlace);

/** The line to a call's own object. */
export interface CallLine {
  handOver(intent: CallIntent): Promise<CallAnswer>;
  /** Takes it back unless it has started. */
  withdraw(intent: CallIntent): Promise<void>;
}

/** The calls of a push target: decided and written here, made in an object of their own, reported back here. */
export class Push implements Clock {
  readonly name = "calls";
  readonly #core: Core;
  readonly #queue: Queue;
  readonly #owners: OwnerTelling;
  readonly #line: CallLine;
  /** Calls that the current turn decided on and that no Worker hands over. */
  #fresh: number[] = [];

  constructor(core: Core, queue: Queue, owners: OwnerTelling, line: CallLine) {
    this.#core = core;
    this.#queue = queue;
    this.#owners = owners;
    this.#line = line;
  }

  /**
   * Decides on the call for a message; runs inside a turn. A repetition never calls the agent twice: while the first
   * call runs it waits for that call's answer too, while the request is queued it gets that place, and for 24 h after
   * the end it gets the same answer again, because all calls for one message of one sender share one object.
   */
  receive(sender: Sender, message: IncomingMessage, now: number, attemptId: string | null = null): PushReceived {
    const { calls, queue, profile } = this.#core;
    const { workspaceId, url, status, capabilities } = profile.get();
    const callerId = sender.kind === "workspace" ? sender.id : null;
    const { messageId, digest } = message;
    if (messageId !== null) {
      const repeat = findRepeat(queue.openWithDigest(digest), { callerId, messageId });
      if (repeat)
        return { mode: "queued", why: repeat.status === "queued" ? "busy" : "working", ...this.#queue.placeOf(repeat) };
    }
    const callId =
      messageId === null ? crypto.randomUUID() : digestOf(JSON.stringify([workspaceId, callerId, messageId, digest]));
    const open = calls.findOpen(callId);
    if (open) return { mode: "call", intent: this.#intentOf(open) };
    if (url === null) throw new Refusal("a2a.no_url", { details: { status } });
    const call = calls.add({
      call_id: callId,
      queue_seq: null,
      caller_id: callerId,
      url,
      method: message.method,
      native_session: capabilities.session === true ? 1 : 0,
      message_id: messageId,
      message_digest: digest,
      body: message.body,
      body_key: message.bodyKey,
      expires_in_s: message.expiresInSeconds ?? null,
      attempt_id: attemptId,
      activity_seq: null,
      created_at: now,
      hand_over_at: now + HAND_OVER_AFTER_MS,
    });
    log.info("call.accepted", { workspace_id: workspaceId, call_id: callId, attempt: call.seq, source_id: callerId });
    return { mode: "call", intent: this.#intentOf(call) };
  }

  /** Decides on the call that takes a delegated task to the agent; this object hands it over itself. */
  dispatch(sender: Sender, message: IncomingMessage, attemptId: string, now: number): void {
    const received = this.receive(sender, message, now, attemptId);
    if (received.mode === "call") this.#fresh.push(received.intent.attempt);
  }

  /**
   * Calls an agent that is pushed to with a message that stands in its feed, once a row. What becomes of the call is
   * one more row there, and nothing else.
   */
  tell(activitySeq: number, sourceId: string, now: number): void {
    const { calls, profile } = this.#core;
    const { workspaceId, url, removedAt, capabilities } = profile.get();
    if (removedAt !== null || url === null || deliveryModeOf(profile.get()) === "poll") return;
    const callId = digestOf(JSON.stringify([workspaceId, activitySeq]));
    const { seq } = calls.add({
      call_id: callId,
      queue_seq: null,
      caller_id: sourceId,
      url,
      method: "message/send",
      native_session: capabilities.session === true ? 1 : 0,
      message_id: null,
      message_digest: callId,
      body: null,
      body_key: null,
      expires_in_s: null,
      attempt_id: null,
      activity_seq: activitySeq,
      created_at: now,
      hand_over_at: now + HAND_OVER_AFTER_MS,
    });
    this.#fresh.push(seq);
  }

  /** The attempt has ended: its call is taken back where it has not started. */
  recall(callerId: string, attemptId: string): void {
    const seq = this.#core.calls.openFor(callerId, attemptId);
    if (seq !== null) this.#fresh.push(seq);
  }

  /** The queue id of a call whose caller waits no longer; null when its outcome has been reported meanwhile. */
  keepWaiting({ callId, attempt }: { callId: string; attempt: number }, now: number): QueuePlace | null {
    const { calls, queue } = this.#core;
    const call = calls.find(attempt);
    const item = queue.find(call?.queue_seq ?? attempt);
    if (item?.callId === callId && item.completedAt === null) return this.#queue.placeOf(item);
    return call?.call_id === callId ? this.#queue.addWorking(call, now) : null;
  }

  /** Takes a call's report in; the same report again changes nothing. Answers where a busy agent's request waits. */
  report({ callId, attempt, outcome, repeated }: CallReport, now: number): { place: QueuePlace | null } {
    const { calls, queue } = this.#core;
    const call = calls.find(attempt);
    const item = queue.find(call?.queue_seq ?? attempt);
    if (call?.call_id !== callId) {
      return { place: item?.callId === callId && item.completedAt === null ? this.#queue.placeOf(item) : null };
    }
    calls.remove(attempt);
    const carried = { callerId: call.caller_id, attemptId: call.attempt_id };
    const isWanted = this.#owners.isWanted(carried);
    if (item) {
      const place = this.#queue.settle(item, call, outcome, now);
      this.#owners.outcome(carried, { kind: "drained", outcome, waitsAgain: place !== null }, now);
      if (place === null || isWanted) return { place };
      this.#queue.withdraw(item.seq, now);
      return { place: null };
    }
    const mayWait = outcome.reply.kind === "queue" && !repeated && isWanted;
    const place = mayWait ? this.#queue.add(call, now) : null;
    this.#owners.outcome(carried, { kind: "call_ended", outcome: place ? outcome : unqueued(outcome, call) }, now);
    if (repeated) return { place: null };
    const request = { ...carried, method: call.method, body: call.body, bodyKey: call.body_key };
    if (!place) this.#queue.record(request, outcome, now);
    return { place };
  }

  /** A call of which this object will hear no more. */
  lost(call: StoredCall, now: number): void {
    const outcome = lostOutcome(call, this.#core.profile.get().name, now);
    this.report({ callId: call.call_id, attempt: call.seq, outcome, repeated: false }, now);
  }

  /** Sends on what waits, if the agent has a hand free; runs inside the turn of a heartbeat or registration. */
  drain(activeTasks: number, now: number): void {
    const item = this.#queue.take(activeTasks, now);
    if (item) this.#fresh.push(this.#dispatch(item, now).seq);
  }

  /** After the commit: hands over what this object itself has decided on. */
  async tellFresh(now: number): Promise<void> {
    const fresh = this.#fresh;
    this.#fresh = [];
    await Promise.all(fresh.map((seq) => this.#give(seq, now)));
  }

  /** After a turn that was rolled back. */
  forget(): void {
    this.#fresh = [];
  }

  get hasFresh(): boolean {
    return this.#fresh.length > 0;
  }

  dueAt(): number | null {
    return this.#core.calls.nextDue();
  }

  async run(now: number): Promise<void> {
    await Promise.all(this.#core.calls.due(now, SLICE).map((seq) => this.#give(seq, now)));
  }

  #dispatch(item: StoredItem, now: number): StoredCall {
    const { url, capabilities } = this.#core.profile.get();
    return this.#core.calls.add({
      call_id: item.callId,
      queue_seq: item.seq,
      caller_id: item.callerId,
      url: url ?? "",
      method: item.method,
      native_session: capabilities.session === true ? 1 : 0,
      message_id: item.messageId,
      message_digest: item.messageDigest,
      body: null,
      body_key: null,
      expires_in_s: null,
      attempt_id: item.attemptId,
      activity_seq: item.activitySeq,
      created_at: now,
      hand_over_at: now + HAND_OVER_AFTER_MS,
    });
  }

  async #give(seq: number, now: number): Promise<void> {
    const { calls } = this.#core;
    const call = calls.find(seq);
    if (!call) return;
    try {
      const intent = { ...this.#intentOf(call), ...this.#requestOf(call) };
      const isWanted = this.#owners.isWanted({ callerId: call.caller_id, attemptId: call.attempt_id });
      await (isWanted ? this.#line.handOver(intent) : this.#line.withdraw(intent));
      // Only a call that the Worker should have handed over needs a later look; its report deletes the row.
      if (call.hand_over_at <= now) calls.handOverAt(seq, now + REMIND_AFTER_MS);
    } catch (error) {
      calls.handOverAt(seq, now + HAND_OVER_AFTER_MS);
      const reason = error instanceof Error ? error.name : "unknown";
      log.warn("call.not_handed_over", { call_id: call.call_id, attempt: seq, reason });
    }
  }

  #requestOf({ activity_seq, queue_seq, body, body_key }: StoredCall): Pick<CallIntent, "body" | "bodyKey"> {
    const { inbox, queue } = this.#core;
    if (activity_seq !== null) return inbox.requestOf(activity_seq);
    const item = queue_seq === null ? null : queue.find(queue_seq);
    return item ? { body: item.body, bodyKey: item.bodyKey } : { body, bodyKey: body_key };
  }

  #intentOf(call: StoredCall): Omit<CallIntent, "body" | "bodyKey"> {
    const { workspaceId, name } = this.#core.profile.get();
    const serving = this.#core.machines.serving();
    return {
      callId: call.call_id,
      attempt: call.seq,
      reportTo: workspaceId,
      url: call.url,
      target: { name, method: call.method, container: "none", nativeSession: call.native_session === 1 },
      ...(serving?.instanceId ? { instanceId: serving.instanceId } : {}),
      ...(serving?.url === call.url ? { isMachineUrl: true } : {}),
    };
  }
}

/** The outcome of a call that found its agent busy and has no place in the queue: it surely was not delivered. */
function unqueued(outcome: CallOutcome, call: StoredCall): CallOutcome {
  if (outcome.reply.kind !== "queue") return outcome;
  const { code, options } = busyRefusal(call.native_session === 1);
  return { ...outcome, reply: { kind: "refuse", code, options } };
}
