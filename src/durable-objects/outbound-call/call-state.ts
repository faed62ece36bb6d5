import type { CallIntent, CallOutcome, KeptText, QueuePlace } from "./call.ts";

/** What a call that ended left behind: its outcome, and the agent's words for whoever waits. */
export interface Ended {
  readonly outcome: CallOutcome;
  readonly answer: KeptText | null;
  readonly at: number;
}

interface Confirmed {
  readonly attempt: number;
  readonly at: number;
  /** Where the workspace put the request of a busy agent. */
  readonly place: QueuePlace | null;
}

/** Texts are stored as UTF-8: two bytes a character would not fit into a row. */
interface StoredText {
  readonly bytes: Uint8Array | null;
  readonly key: string | null;
}
type StoredIntent = Omit<CallIntent, "body" | "bodyKey"> & { readonly body: StoredText };
interface StoredEnd {
  readonly attempt: number;
  readonly at: number;
  readonly outcome: Omit<CallOutcome, "recorded">;
  readonly answer: StoredText | null;
  /** `answer`: what rows show is what the agent wrote, stored once. */
  readonly recorded: StoredText | "answer" | null;
}

/**
 * The four steps of a call, one row each: intent, started, ended, confirmed. A step counts for the attempt that it
 * names, so that a new attempt begins by its intent alone.
 */
export class CallState {
  readonly #kv: SyncKvStorage;
  #intent: CallIntent | null = null;

  constructor(kv: SyncKvStorage) {
    this.#kv = kv;
  }

  get intent(): CallIntent | null {
    this.#intent ??= this.#readIntent();
    return this.#intent;
  }

  begin(intent: CallIntent): void {
    const { body, bodyKey, ...rest } = intent;
    this.#intent = intent;
    this.#kv.put<StoredIntent>("intent", { ...rest, body: packed(keptText(body, bodyKey)) });
  }

  hasStarted(attempt: number): boolean {
    return this.#kv.get<number>("started") === attempt;
  }

  start(attempt: number): void {
    this.#kv.put("started", attempt);
  }

  ended(attempt: number): Ended | null {
    const stored = this.#kv.get<StoredEnd>("ended");
    if (stored?.attempt !== attempt) return null;
    const answer = stored.answer && unpacked(stored.answer);
    const recorded = stored.recorded === "answer" ? answer : stored.recorded && unpacked(stored.recorded);
    return { outcome: { ...stored.outcome, recorded }, answer, at: stored.at };
  }

  end(attempt: number, { outcome: { recorded, ...outcome }, answer, at }: Ended): void {
    const same = recorded !== null && recorded.text === answer?.text && recorded.key === answer.key;
    this.#kv.put<StoredEnd>("ended", {
      attempt,
      at,
      outcome,
      answer: answer && packed(answer),
      recorded: same ? "answer" : recorded && packed(recorded),
    });
  }

  confirmed(attempt: number): Confirmed | null {
    const stored = this.#kv.get<Confirmed>("confirmed");
    return stored?.attempt === attempt ? stored : null;
  }

  confirm(confirmed: Confirmed): void {
    this.#kv.put("confirmed", confirmed);
  }

  /** After everything stored is gone. */
  forget(): void {
    this.#intent = null;
  }

  #readIntent(): CallIntent | null {
    const stored = this.#kv.get<StoredIntent>("intent");
    if (!stored) return null;
    const { body, ...rest } = stored;
    const { text, key } = unpacked(body);
    return { ...rest, body: text, bodyKey: key };
  }
}

function packed({ text, key }: KeptText): StoredText {
  return { bytes: text === null ? null : new TextEncoder().encode(text), key };
}

function unpacked({ bytes, key }: StoredText): KeptText {
  return keptText(bytes === null ? null : new TextDecoder().decode(bytes), key);
}

function keptText(text: string | null, key: string | null): KeptText {
  return key === null ? { text: text ?? "", key } : { text: null, key };
}
