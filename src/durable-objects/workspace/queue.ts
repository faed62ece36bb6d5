import { judgePush } from "../../domain/a2a-outcome.ts";
import {
  dispatch,
  dropStale,
  enqueue,
  expire,
  type QueueItem,
  queueItemJson,
  settle,
  withdraw,
} from "../../domain/queue-item.ts";
import { Refusal } from "../../domain/refusal.ts";
import { log } from "../../log.ts";
import { asPushOutcome, type CallOutcome, type QueuePlace } from "../outbound-call/call.ts";
import type { Clock } from "../shared/alarm.ts";
import type { StoredCall } from "./call-store.ts";
import type { Core } from "./core.ts";
import type { Messages } from "./messages.ts";
import type { OwnerTelling } from "./owner-telling.ts";
import { deliveryModeOf } from "./profile-store.ts";
import type { StoredItem } from "./queue-store.ts";

/** Requests that may wait for one agent. */
export const QUEUE_ITEMS_MAX = 1_000;
/** No request is worth sending later than this; also what keeps a client's number within the column. */
const EXPIRES_IN_MAX_S = 10 * 365 * 24 * 60 * 60;
const KEPT_MS = 7 * 24 * 60 * 60_000;
const LOOK_AGAIN_MS = 24 * 60 * 60_000;
const SLICE = 100;

/** Who asks for an item: an operator or the target itself, or the workspace of a verified bearer. */
export type QueueReader = { readonly kind: "trusted" } | { readonly kind: "workspace"; readonly id: string };

/** A request, and who sent it, as history shows it. */
type Request = Pick<StoredItem, "callerId" | "method" | "body" | "bodyKey">;

/** The queue of a push target. All methods but the clock's run inside a turn; every end of an item is one row of the feed. */
export class Queue implements Clock {
  readonly name = "queue";
  readonly #core: Core;
  readonly #messages: Messages;
  readonly #owners: OwnerTelling;
  #pruneNotBefore = 0;

  constructor(core: Core, messages: Messages, owners: OwnerTelling) {
    this.#core = core;
    this.#messages = messages;
    this.#owners = owners;
  }

  placeOf(item: QueueItem): QueuePlace {
    return { queueId: this.#core.queue.idOf(item.seq), queueDepth: this.#core.queue.counts().queued };
  }

  /** Takes in the request of a call that found its agent busy; null when the queue is full. */
  add(call: StoredCall, now: number): QueuePlace | null {
    const { queue, profile } = this.#core;
    const { queued, dispatched } = queue.counts();
    if (profile.get().removedAt !== null || queued + dispatched >= QUEUE_ITEMS_MAX) return null;
    const item: StoredItem = { ...this.#newItem(call, now), body: call.body, bodyKey: call.body_key };
    queue.put(item);
    this.#log("queue.queued", item);
    const place = this.placeOf(item);
    if (deliveryModeOf(profile.get()) === "poll") this.#toInbox(item, now);
    return place;
  }

  /** Gives a call that goes on without its caller an item, under which its answer will be found. */
  addWorking(call: StoredCall, now: number): QueuePlace {
    const item: StoredItem = { ...this.#newItem(call, call.created_at), body: null, bodyKey: null };
    const working = { ...item, ...dispatch(item, call.created_at * 1000) };
    this.#core.queue.put(working);
    this.#log("queue.working", working, { waited_ms: now - call.created_at });
    return this.placeOf(working);
  }

  /**
   * The item to send now, marked as dispatched: one at most, and only to an agent with a hand free. Items in its hands
   * count as tasks, because not every agent reports those. A target turned poll gets all of them in its inbox.
   */
  take(activeTasks: number, now: number): StoredItem | null {
    const { queue, profile } = this.#core;
    const { dispatched, queued } = queue.counts();
    if (queued === 0) return null;
    this.#expire(now);
    if (deliveryModeOf(profile.get()) === "poll") {
      for (let item = queue.next(now * 1000); item && this.#toInbox(item, now); item = queue.next(now * 1000));
      return null;
    }
    const { maxConcurrentTasks, url } = profile.get();
    if (url === null || Math.max(activeTasks, dispatched) >= maxConcurrentTasks) return null;
    const next = queue.next(now * 1000);
    if (!next) return null;
    const item = { ...next, ...dispatch(next, now * 1000) };
    queue.put(item);
    this.#log("queue.dispatched", item);
    return item;
  }

  /** What a call's outcome makes of the item that it carried. */
  settle(item: StoredItem, call: StoredCall, outcome: CallOutcome, now: number): QueuePlace | null {
    const settled = settle(item, asPushOutcome(outcome), now * 1000);
    const body = item.body ?? call.body;
    const bodyKey = item.bodyKey ?? call.body_key;
    if (settled.status === "queued") {
      const waiting = { ...item, ...settled, body, bodyKey };
      this.#core.queue.put(waiting);
      this.#log("queue.requeued", waiting);
      if (deliveryModeOf(this.#core.profile.get()) === "poll") this.#toInbox(waiting, now);
      return this.placeOf(waiting);
    }
    this.#end({ ...item, ...settled, responseBodyKey: outcome.recorded?.key ?? null });
    this.record({ ...item, body, bodyKey }, outcome, now);
    return null;
  }

  /** The row of the feed that a call's outcome leaves behind. */
  record({ callerId, method, body, bodyKey }: Request, outcome: CallOutcome, now: number): void {
    const { inbox, profile } = this.#core;
    const { row, recorded, durationMs, usage } = outcome;
    const answersCanvas = callerId === null && row.status === "ok" && recorded !== null;
    inbox.append(
      {
        activityType: "a2a_receive",
        method,
        sourceId: callerId,
        targetId: profile.get().workspaceId,
        summary: row.summary,
        requestBody: body,
        requestBodyKey: bodyKey,
        responseBody: recorded?.text ?? null,
        responseBodyKey: recorded?.key ?? null,
        toolTrace: row.toolTrace,
        durationMs,
        status: row.status,
        errorDetail: row.errorDetail,
        event: answersCanvas ? "answer" : "logged",
        // History of a push target is no mail: nobody has to read it, and it goes after days.
        own: true,
      },
      now * 1000,
    );
    if (!usage) return;
    profile.count("input_tokens", usage.inputTokens);
    profile.count("output_tokens", usage.outputTokens);
  }

  /** The answer about an item; its large answer, if any, is still to be put in from R2. */
  show(queueId: string, reader: QueueReader): { json: string; responseKey: string | null } {
    const { queue, profile } = this.#core;
    const item = queue.findById(queueId);
    if (!item || (reader.kind === "workspace" && reader.id !== item.callerId))
      throw new Refusal("a2a.queue_item_not_found");
    const json = queueItemJson(item, queue.idOf(item.seq), profile.get().workspaceId);
    return { json, responseKey: item.responseBodyKey };
  }

  /** Drops what has been queued for too long; returns how many items. */
  dropStale(maxAgeMinutes: number, now: number): number {
    const before = (now - maxAgeMinutes * 60_000) * 1000;
    const stale = this.#core.queue.enqueuedBefore(before);
    return stale.filter((item) => this.#drop(item, dropStale(item, maxAgeMinutes, now * 1000), now)).length;
  }

  /** Takes back a delegated task that was not sent yet; its owner wanted that and is not told. */
  withdraw(seq: number, now: number): void {
    const item = this.#core.queue.find(seq);
    if (item) this.#drop({ ...item, attemptId: null }, withdraw(item, now * 1000), now);
  }

  dueAt(): number | null {
    const { queue } = this.#core;
    const oldest = queue.oldest();
    if (oldest === null) return null;
    const pruneAt = Math.max(oldest / 1000 + KEPT_MS, this.#pruneNotBefore);
    const expiry = queue.nextExpiry();
    return expiry === null ? pruneAt : Math.min(pruneAt, Math.ceil(expiry / 1000));
  }

  run(now: number): void {
    const { queue, flush } = this.#core;
    this.#expire(now);
    queue.prune((now - KEPT_MS) * 1000, flush.flushedThrough, SLICE);
    this.#pruneNotBefore = now + LOOK_AGAIN_MS;
  }

  #expire(now: number): void {
    const nowUs = now * 1000;
    for (const item of this.#core.queue.expired(nowUs, SLICE)) this.#drop(item, expire(item, nowUs), now);
  }

  #drop(item: StoredItem, dropped: QueueItem, now: number): boolean {
    if (dropped.status !== "dropped") return false;
    this.#end({ ...item, ...dropped });
    const { name } = this.#core.profile.get();
    const target = { name, method: item.method, container: "none", nativeSession: false } as const;
    const { row } = judgePush({ kind: "not_sent", reason: dropped.lastError ?? "" }, target);
    const outcome: CallOutcome = {
      delivered: "no",
      reason: dropped.lastError,
      reply: { kind: "queue" },
      row: { ...row },
      recorded: null,
      usage: null,
      durationMs: 0,
    };
    this.record(item, outcome, now);
    this.#owners.outcome(item, { kind: "refused", error: dropped.lastError ?? "" }, now);
    return true;
  }

  /** Hands an item over to the inbox of a target that polls now; false when there is no room. */
  #toInbox(item: StoredItem, now: number): boolean {
    const { callerId, body, bodyKey, method, messageId, messageDigest: digest, activitySeq } = item;
    const sender =
      callerId === null ? ({ kind: "canvas" } as const) : ({ kind: "workspace", id: callerId, path: [] } as const);
    try {
      const { activityId } =
        activitySeq === null
          ? this.#messages.receive(sender, { body, bodyKey, method, messageId, digest }, now)
          : { activityId: this.#core.inbox.idOf(activitySeq) };
      const seq = this.#core.inbox.acknowledged(activityId);
      if (seq !== null) this.#owners.inInbox(item, seq, now);
      const queued = { status: "queued", delivery_mode: "poll", method, activity_id: activityId };
      this.#end({ ...item, status: "completed", completedAt: now * 1000, responseBody: JSON.stringify(queued) });
      return true;
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  }

  #end(item: StoredItem): void {
    this.#core.queue.put({ ...item, body: null, bodyKey: null });
    this.#log(`queue.${item.status}`, item);
  }

  #newItem(call: StoredCall, now: number): Omit<StoredItem, "body" | "bodyKey"> {
    const { seq, caller_id, method, message_id, expires_in_s } = call;
    const expiresInSeconds = expires_in_s === null ? null : Math.min(expires_in_s, EXPIRES_IN_MAX_S);
    return {
      ...enqueue({ seq, callerId: caller_id, method, messageId: message_id, expiresInSeconds }, now * 1000),
      callId: call.call_id,
      messageDigest: call.message_digest,
      attemptId: call.attempt_id,
      activitySeq: call.activity_seq,
      responseBodyKey: null,
    };
  }

  #log(event: string, item: StoredItem, more: Record<string, number> = {}): void {
    log.info(event, {
      workspace_id: this.#core.profile.get().workspaceId,
      queue_id: this.#core.queue.idOf(item.seq),
      caller_id: item.callerId,
      status: item.status,
      attempts: item.attempts,
      ...more,
    });
  }
}
