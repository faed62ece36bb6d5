import type { Completed, EndedAttempt, GivenUp, ReportedFailure, Reporter } from "./delegation.ts";
import { isKeptText, type KeptText, keepText } from "./delegation-text.ts";

/** What a report of an end says, as far as an attempt that has ended cares. */
export interface Afterword {
  readonly role: Reporter;
  readonly status: "completed" | "failed";
  readonly text: string | null;
  /** No longer than a preview. */
  readonly error: string | null;
}

export type AfterEnd =
  /** Nothing new: the attempt is the same object. */
  | { readonly disposition: "replayed"; readonly attempt: EndedAttempt }
  /** `text` is a result that is to be kept all the same. */
  | { readonly disposition: "contradicted"; readonly attempt: EndedAttempt; readonly text: string | null }
  | { readonly disposition: "late"; readonly attempt: GivenUp | ReportedFailure; readonly text: string }
  | {
      readonly disposition: "filled";
      readonly attempt: Completed | ReportedFailure;
      /** The text that was missing; null when only the error was. */
      readonly text: string | null;
      /** Whether rows can be written anew: once told, a text is no longer at hand in full. */
      readonly textWasTold: boolean;
    };

/** All but a replay. */
export type NewsAfterEnd = Exclude<AfterEnd, { disposition: "replayed" }>;

/**
 * What an ended attempt makes of a further report. Its state never changes: a replay brings what the end was told
 * without, the first words after the platform gave the attempt up are kept as late, as is a result after a failure without a word, and what differs is counted. The first
 * result beside another end is kept with it.
 */
export function afterEnd(attempt: EndedAttempt, said: Afterword): AfterEnd {
  if (attempt.endedBy === "platform") return afterGivenUp(attempt, said);
  if (attempt.state === "failed" && said.status === "completed") return resultAfterFailure(attempt, said);
  if (said.status !== attempt.state || differs(attempt.text, said.text)) return contradicted(attempt, said);
  return attempt.state === "completed" ? afterCompletion(attempt, said) : afterFailure(attempt, said);
}

function afterGivenUp(attempt: GivenUp, said: Afterword): AfterEnd {
  const { role, text, error } = said;
  // The caller's own error is no news to it, and must not stand in the place of what the callee may still say.
  const words = text ?? (role === "callee" ? error : null);
  if (differs(attempt.late, words)) return contradicted(attempt, said);
  if (words === null || attempt.late !== null) return replayed(attempt);
  const delivery = role === "callee" ? "confirmed" : attempt.delivery;
  return { disposition: "late", attempt: { ...attempt, delivery, late: keepText(words) }, text: words };
}

function afterCompletion(attempt: Completed, { text }: Afterword): AfterEnd {
  if (attempt.text !== null || text === null) return replayed(attempt);
  return { disposition: "filled", attempt: { ...attempt, text: keepText(text) }, text, textWasTold: false };
}

/** A failure without a word contradicts no result: the first one that comes all the same is kept. */
function resultAfterFailure(attempt: ReportedFailure, said: Afterword): AfterEnd {
  const { role, text } = said;
  if (attempt.text !== null && text !== null && isKeptText(attempt.text, text)) return replayed(attempt);
  if (attempt.text !== null || attempt.error !== null || text === null) return contradicted(attempt, said);
  const delivery = role === "callee" ? "confirmed" : attempt.delivery;
  return { disposition: "late", attempt: { ...attempt, delivery, text: keepText(text) }, text };
}

function afterFailure(attempt: ReportedFailure, said: Afterword): AfterEnd {
  const textWasTold = attempt.text !== null;
  const newText = textWasTold ? null : said.text;
  if (newText !== null || (attempt.error === null && said.error !== null)) {
    const text = newText === null ? attempt.text : keepText(newText);
    const filled = { ...attempt, text, error: attempt.error ?? said.error };
    return { disposition: "filled", attempt: filled, text: newText, textWasTold };
  }
  return said.error === null || said.error === attempt.error ? replayed(attempt) : contradicted(attempt, said);
}

function differs(kept: KeptText | null, text: string | null): boolean {
  return kept !== null && text !== null && !isKeptText(kept, text);
}

function replayed(attempt: EndedAttempt): AfterEnd {
  return { disposition: "replayed", attempt };
}

function contradicted(attempt: EndedAttempt, { status, text }: Afterword): AfterEnd {
  const counted = { ...attempt, contradictions: attempt.contradictions + 1 };
  const isFirst = status === "completed" && attempt.state !== "completed" && attempt.contradiction === undefined;
  if (!isFirst || text === null) return { disposition: "contradicted", attempt: counted, text: null };
  return { disposition: "contradicted", attempt: { ...counted, contradiction: keepText(text) }, text };
}
