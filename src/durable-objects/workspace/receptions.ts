import { digestOf } from "../../domain/credential.ts";
import type { HeartbeatAnswer } from "../../domain/delegation-heartbeat.ts";
import { taskMessage } from "../../domain/delegation-message.ts";
import {
  abandoned,
  beatReceived,
  meantReceived,
  type Received,
  receive,
  receiveEnd,
} from "../../domain/delegation-received.ts";
import type { HeartbeatRequest, UpdateRequest } from "../../domain/delegation-request.ts";
import { memberText } from "../../domain/json-text.ts";
import type { Core } from "./core.ts";
import type { HandedCaller, PlainOutcome, TaskEnd, TaskHandOver } from "./delegation-words.ts";
import type { LargeTexts } from "./large-texts.ts";
import type { IncomingMessage, Messages, Sender } from "./messages.ts";
import type { OwnerTelling } from "./owner-telling.ts";
import type { Push } from "./push.ts";
import type { Queue } from "./queue.ts";
import type { StoredReceived } from "./received-store.ts";

const METHOD = "message/send";

/**
 * The delegations that others gave to this workspace: their tasks are put before its agent, and whatever the agent
 * says of them goes to their owners, which alone decide. All methods run inside a turn.
 */
export class Receptions {
  readonly #core: Core;
  readonly #messages: Messages;
  readonly #push: Push;
  readonly #queue: Queue;
  readonly #owners: OwnerTelling;

  constructor(core: Core, messages: Messages, push: Push, queue: Queue, owners: OwnerTelling) {
    this.#core = core;
    this.#messages = messages;
    this.#push = push;
    this.#queue = queue;
    this.#owners = owners;
  }

  /**
   * Takes an attempt in and puts its task before the agent, once a dispatch; the same again answers the same. A caller
   * that may not is refused.
   */
  take({ caller, message, task }: TaskHandOver, texts: LargeTexts, now: number): PlainOutcome {
    const known = this.#core.received.find(message.attemptId, caller.id);
    const { received, deliver } = receive(known?.received ?? null, message, now);
    // Whoever was let in once stays so: a repetition must not turn a delivered task into a refused one.
    if (deliver) this.#messages.admit(senderOf(caller));
    else if (known === null) this.#messages.reach(senderOf(caller));
    const delivered = deliver ? this.#deliver(caller, message.attemptId, task, texts, now) : null;
    const activitySeq = delivered ?? known?.activitySeq ?? null;
    if (known?.received !== received) this.#core.received.put({ received, activitySeq });
    return activitySeq === null ? { kind: "call_started" } : { kind: "poll_delivered" };
  }

  /**
   * The end of a task from the object of whoever gave it. One that overtook its task is kept, but only from a caller
   * that may give this workspace any: nobody else leaves a trace here. Answers whether the agent never saw the task,
   * the same however often it is asked.
   */
  hearEnd({ caller, message }: TaskEnd, now: number): { withdrawn: boolean } {
    const isKnown = this.#core.received.find(message.attemptId, caller.id) !== null;
    if (isKnown || this.#messages.reaches(senderOf(caller))) this.end(caller.id, message, now);
    return { withdrawn: this.#core.received.find(message.attemptId, caller.id)?.received.withdrawn ?? false };
  }

  /** Takes an attempt's end in; a task that the agent has not seen yet is taken back. */
  end(callerId: string, message: TaskEnd["message"], now: number): void {
    const known = this.#core.received.find(message.attemptId, callerId);
    const { received, withdraw } = receiveEnd(known?.received ?? null, message, now);
    if (known?.received === received) return;
    const isTakenBack = known !== null && withdraw && this.#withdrawMail(known);
    // Whoever ended the attempt, be it the agent itself: what still waits for a hand free is not sent after it.
    const isUnsent = known !== null && this.#withdrawWaiting(received, now);
    if (known) this.#push.recall(callerId, received.attemptId);
    const withdrawn = known?.received.status === "dispatched" && withdraw && (isTakenBack || isUnsent);
    this.#core.received.put({ received: { ...received, withdrawn }, activitySeq: known?.activitySeq ?? null });
  }

  /** The agent's word on how a task ended; false when nobody gave it such a task. */
  update(id: string, callerId: string | null, { status, text, error }: UpdateRequest, now: number): boolean {
    const received = this.#meant(id, callerId);
    if (!received) return false;
    this.#owners.tell(received, { kind: "report", attemptId: id, status, text, error }, now);
    return true;
  }

  /** The agent's heartbeat on a task; null when nobody gave it such a task. */
  beat(
    id: string,
    callerId: string | null,
    { progressSeq, details }: HeartbeatRequest,
    now: number,
  ): HeartbeatAnswer | null {
    const meant = this.#meant(id, callerId);
    if (!meant) return null;
    const { received, answer } = beatReceived(meant, now);
    if (received === meant) return answer;
    const activitySeq = this.#core.received.find(id, meant.callerId)?.activitySeq ?? null;
    this.#core.received.put({ received, activitySeq });
    this.#owners.tell(received, { kind: "beat", attemptId: id, at: now, progressSeq, details }, now);
    return answer;
  }

  /** This workspace has been removed: nobody works on what it had open. Tells the owners of some of it. */
  calleeRemoved(limit: number, now: number): void {
    for (const stored of this.#core.received.open(limit)) {
      const { received } = stored;
      this.#withdrawMail(stored);
      this.#withdrawWaiting(received, now);
      this.#core.received.put({ ...stored, received: abandoned(received, now) });
      this.#owners.tell(received, { kind: "removed", attemptId: received.attemptId }, now);
    }
  }

  /** The seq of the inbox row that now holds the task, or null when it goes by a call. */
  #deliver(caller: HandedCaller, attemptId: string, task: string, texts: LargeTexts, now: number): number | null {
    const envelope = taskMessage(attemptId, task);
    const [body] = texts.place(envelope);
    const message: IncomingMessage = {
      body: body?.text ?? null,
      bodyKey: body?.key ?? null,
      method: METHOD,
      messageId: attemptId,
      digest: digestOf(memberText(envelope, "params", "message") ?? envelope),
    };
    if (this.#messages.deliveryMode() === "push") {
      this.#push.dispatch(senderOf(caller), message, attemptId, now);
      return null;
    }
    const { activityId } = this.#messages.receive(senderOf(caller), message, now);
    return this.#core.inbox.acknowledged(activityId);
  }

  /** Whether the task stood in the inbox unread. */
  #withdrawMail({ activitySeq }: StoredReceived): boolean {
    const { inbox, profile } = this.#core;
    const { readSeq, ackedSeq } = profile.get();
    if (activitySeq === null || activitySeq <= Math.max(readSeq, ackedSeq)) return false;
    inbox.withdraw(activitySeq);
    return true;
  }

  /** Whether the task waited in the queue. */
  #withdrawWaiting({ callerId, attemptId }: Received, now: number): boolean {
    const waiting = this.#core.queue.waitingFor(callerId, attemptId);
    if (waiting) this.#queue.withdraw(waiting.seq, now);
    return waiting !== null;
  }

  #meant(id: string, callerId: string | null): Received | null {
    const known = this.#core.received.under(id).map(({ received }) => received);
    return meantReceived(known, callerId);
  }
}

function senderOf({ id, path }: HandedCaller): Sender {
  return { kind: "workspace", id, path };
}
