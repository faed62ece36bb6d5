import { statusOf } from "../../domain/delegation.ts";
import type { CalleeMessage, DelegationEffect, HistoryRow, Transition } from "../../domain/delegation-effect.ts";
import type { InboxRow } from "../../domain/delegation-inbox-row.ts";
import { log } from "../../log.ts";
import type { Core } from "./core.ts";
import type { DelegationPost } from "./delegation-post.ts";
import type { Slot, Slots, StoredDelegation } from "./delegation-store.ts";
import type { NewActivity } from "./inbox-store.ts";
import { type LargeTexts, SMALL_TEXTS } from "./large-texts.ts";
import type { Push } from "./push.ts";

export interface WritingOptions {
  readonly texts?: LargeTexts;
  /** The attempt whose callee is told by the answer to its own word, and needs no effect. */
  readonly answering?: string | null;
}

/** Writes what a transition wants, together with the new state, in the current turn. */
export class DelegationWriting {
  readonly #core: Core;
  readonly #post: DelegationPost;
  readonly #push: Push;

  constructor(core: Core, post: DelegationPost, push: Push) {
    this.#core = core;
    this.#post = post;
    this.#push = push;
  }

  /** The delegation as it stands afterwards. */
  write(
    before: StoredDelegation,
    { delegation, effects }: Transition,
    dueAt: number | null,
    now: number,
    { texts = SMALL_TEXTS, answering = null }: WritingOptions = {},
  ): StoredDelegation {
    if (delegation === before.delegation && effects.length === 0 && before.seq !== null) return before;
    let slots = before.slots;
    for (const effect of effects) {
      switch (effect.kind) {
        case "history":
          slots = this.#history(slots, effect.attemptId, effect.slot, effect.row, texts, now);
          break;
        case "history_status": {
          const seq = slots[effect.attemptId]?.sent;
          if (seq !== undefined) this.#core.inbox.restatus(seq, effect.status, effect.errorDetail);
          break;
        }
        case "inbox":
          slots = this.#inbox(slots, effect.attemptId, `inbox_${effect.slot}`, effect.row, texts, now);
          if (effect.push) this.#tellAgent(slots[effect.attemptId]?.[`inbox_${effect.slot}`], effect.row, now);
          break;
        case "inbox_fill":
          slots = this.#fill(slots, effect.attemptId, effect.row, texts, now);
          break;
        case "event":
          this.#core.events.record(effect.event, JSON.stringify(effect.payload), now * 1000);
          break;
        case "callee":
          if (effect.message.kind === "received" || effect.message.attemptId !== answering)
            this.#tellCallee(effect.calleeId, effect.message, now);
          break;
        case "audit":
          this.#audit(before, effect, now);
          break;
        case "dispatch":
          // The state itself says that a dispatch is due.
          break;
      }
    }
    const isNews = before.seq === null || statusOf(delegation) !== statusOf(before.delegation);
    const stored = this.#core.delegations.put({ ...before, delegation, slots, dueAt });
    // A queued one is about to be dispatched, which says the same.
    if (isNews && statusOf(delegation) !== "queued") this.#log(stored);
    return stored;
  }

  #history(slots: Slots, attemptId: string, slot: Slot, row: HistoryRow, texts: LargeTexts, now: number): Slots {
    const activity = placedRow({ ...row, own: true }, texts);
    const known = slots[attemptId]?.[slot];
    if (known !== undefined && this.#core.inbox.rewrite(known, activity)) return slots;
    return withSlot(slots, attemptId, slot, this.#core.inbox.append(activity, now * 1000));
  }

  #inbox(slots: Slots, attemptId: string, slot: Slot, row: InboxRow, texts: LargeTexts, now: number): Slots {
    if (!this.#core.config.delegations.resultInboxPush) return slots;
    const activity = placedRow({ ...row, own: false }, texts);
    return withSlot(slots, attemptId, slot, this.#core.inbox.append(activity, now * 1000));
  }

  #fill(slots: Slots, attemptId: string, row: InboxRow, texts: LargeTexts, now: number): Slots {
    const { profile, inbox, config } = this.#core;
    if (!config.delegations.resultInboxPush) return slots;
    const { readSeq, ackedSeq } = profile.get();
    const known = slots[attemptId]?.inbox_result;
    const isUnread = known !== undefined && known > Math.max(readSeq, ackedSeq);
    if (isUnread && inbox.rewrite(known, placedRow({ ...row, own: false }, texts))) return slots;
    return this.#inbox(slots, attemptId, "inbox_result", row, texts, now);
  }

  /** An agent that is pushed to reads no inbox. */
  #tellAgent(seq: number | undefined, { sourceId }: InboxRow, now: number): void {
    if (seq !== undefined) this.#push.tell(seq, sourceId, now);
  }

  #tellCallee(calleeId: string, message: CalleeMessage, now: number): void {
    const { workspaceId: id, path } = this.#core.profile.get();
    const caller = { id, path };
    if (message.kind === "received") this.#post.handOver(calleeId, { caller, message, task: "" }, now);
    else this.#post.end(calleeId, { caller, message }, now);
  }

  #audit(
    { delegation }: StoredDelegation,
    { action, actor, reason, attemptId }: Extract<DelegationEffect, { kind: "audit" }>,
    now: number,
  ): void {
    const { delegationId, calleeId } = delegation;
    const detail = JSON.stringify({ attempt_id: attemptId, callee_id: calleeId });
    this.#core.audit.add({ actor, action, subject: delegationId, reason, detail }, now * 1000);
  }

  #log({ delegation }: StoredDelegation): void {
    const { callerId, delegationId, calleeId, current, past, createdAt, updatedAt } = delegation;
    log.info(`delegation.${statusOf(delegation)}`, {
      workspace_id: callerId,
      delegation_id: delegationId,
      callee_id: calleeId,
      attempt_id: current.attemptId,
      attempts: past.length + 1,
      age_ms: updatedAt - createdAt,
    });
  }
}

function withSlot(slots: Slots, attemptId: string, slot: Slot, seq: number): Slots {
  return { ...slots, [attemptId]: { ...slots[attemptId], [slot]: seq } };
}

function placedRow(row: NewActivity, texts: LargeTexts): NewActivity {
  const [request, response] = texts.place(row.requestBody ?? null, row.responseBody ?? null);
  return {
    ...row,
    requestBody: request?.text ?? null,
    requestBodyKey: request?.key ?? null,
    responseBody: response?.text ?? null,
    responseBodyKey: response?.key ?? null,
  };
}
