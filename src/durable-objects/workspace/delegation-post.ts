import type { EndMessage } from "../../domain/delegation-effect.ts";
import type { Clock } from "../shared/alarm.ts";
import { type Delivery, type Effect, Effects } from "../shared/effects.ts";
import type { PlainOutcome, TaskEnd, TaskHandOver, WordToOwner } from "./delegation-words.ts";

/** The other ends of the line; null means that there is nobody any more. */
export interface DelegationReceivers {
  takeTask(calleeId: string, task: TaskHandOver): Promise<PlainOutcome>;
  endTask(calleeId: string, end: TaskEnd): Promise<{ withdrawn: boolean } | null>;
  hear(callerId: string, word: WordToOwner): Promise<{ end: EndMessage | null } | null>;
}

/** What comes back by an answer: each is taken in by a turn of its own. */
export interface DelegationAnswers {
  /** What the callee's object made of a task that the caller brings itself. */
  taken(task: TaskHandOver, outcome: PlainOutcome): Promise<void>;
  /** The callee's agent never saw the task of an attempt that has ended. */
  withdrawn(end: TaskEnd): Promise<void>;
  /** How an attempt ended, as its owner answered to a word of this workspace. */
  ended(callerId: string, end: EndMessage): Promise<void>;
}

/**
 * What objects tell each other of delegations, committed with its cause. Handlers know a repetition by the attempt,
 * so that an effect that comes twice changes nothing.
 */
export class DelegationPost implements Clock {
  readonly name = "delegation-effects";
  readonly #effects: Effects;
  /** Effects of the current turn, told right after its commit. */
  #fresh: Effect[] = [];

  constructor(sql: SqlStorage, receivers: DelegationReceivers, answers: DelegationAnswers) {
    this.#effects = new Effects(sql, (effect) => deliver(effect, receivers, answers));
  }

  handOver(calleeId: string, task: TaskHandOver, now: number): void {
    this.#fresh.push(this.#effects.add(calleeId, "task", task, now));
  }

  end(calleeId: string, end: TaskEnd, now: number): void {
    this.#fresh.push(this.#effects.add(calleeId, "task_end", end, now));
  }

  tellOwner(callerId: string, word: WordToOwner, now: number): void {
    this.#fresh.push(this.#effects.add(callerId, "word", word, now));
  }

  get hasFresh(): boolean {
    return this.#fresh.length > 0;
  }

  async tellFresh(now: number): Promise<void> {
    const fresh = this.#fresh;
    this.#fresh = [];
    await Promise.all(fresh.map((effect) => this.#effects.tell(effect, now)));
  }

  /** After a turn that was rolled back. */
  forget(): void {
    this.#fresh = [];
  }

  setAside(): number {
    return this.#effects.setAside();
  }

  dueAt(): number | null {
    return this.#effects.dueAt();
  }

  run(now: number): Promise<void> {
    return this.#effects.run(now);
  }
}

async function deliver(
  { receiver, kind, payload }: Effect,
  receivers: DelegationReceivers,
  answers: DelegationAnswers,
): Promise<Delivery> {
  const told: unknown = JSON.parse(payload);
  switch (kind) {
    case "task": {
      const task = told as TaskHandOver;
      await answers.taken(task, await receivers.takeTask(receiver, task));
      return "told";
    }
    case "task_end": {
      const end = told as TaskEnd;
      const answer = await receivers.endTask(receiver, end);
      if (answer?.withdrawn) await answers.withdrawn(end);
      return answer === null ? "gone" : "told";
    }
    case "word": {
      const answer = await receivers.hear(receiver, told as WordToOwner);
      if (answer?.end) await answers.ended(receiver, answer.end);
      return answer === null ? "gone" : "told";
    }
    default:
      throw new Error(`unknown effect ${kind}`);
  }
}
