import type { BlobStore } from "../../storage/blob-store.ts";
import { isLargeBody, LARGE_BODY_BYTES, storeLargeBody } from "../../storage/large-body.ts";
import type { Reply } from "../shared/reply.ts";

/** Thrown out of a turn that wants texts stored which no row can hold; the turn is rolled back and taken again. */
class LargeTextsWanted extends Error {
  override readonly name = "LargeTextsWanted";

  constructor(readonly texts: readonly string[]) {
    super("texts are to be stored first");
  }
}

/** More takes than any turn needs: another one means that it makes its texts anew each time. */
const TAKES_MAX = 5;

/** A body of a row: the text itself, or where it lies. */
export type PlacedText =
  | { readonly text: string | null; readonly key: null }
  | { readonly text: null; readonly key: string };

/** The texts of one turn that are too large for a row, stored before it. */
export interface LargeTexts {
  /** Where each text goes. Throws where one is still to be stored. */
  place(...texts: readonly (string | null)[]): readonly PlacedText[];
}

/** For turns whose texts always fit. */
export const SMALL_TEXTS: LargeTexts = { place: (...texts) => texts.map((text) => ({ text, key: null })) };

/**
 * Takes a turn whose texts may be too large for rows. Which texts those are only the turn knows, so it is taken until
 * it finds all of them stored; the texts have to be the same each time; what it does not use in the end, and all of one that refuses, is deleted.
 */
export async function withLargeTexts<T>(
  blobs: BlobStore | null,
  workspaceId: () => string,
  turn: (texts: LargeTexts) => Promise<Reply<T>>,
): Promise<Reply<T>> {
  if (!blobs) return turn(SMALL_TEXTS);
  const keys = new Map<string, string>();
  const used = new Set<string>();
  try {
    for (let take = 1; ; take++) {
      used.clear();
      try {
        const reply = await turn({ place: (...texts) => placed(texts, keys, used) });
        if (!reply.outcome.ok) used.clear();
        return reply;
      } catch (error) {
        if (!(error instanceof LargeTextsWanted) || take === TAKES_MAX) throw error;
        for (const text of error.texts)
          keys.set(text, (await storeLargeBody(blobs, workspaceId(), new TextEncoder().encode(text))).key);
      }
    }
  } finally {
    const unused = [...keys.values()].filter((key) => !used.has(key));
    if (unused.length > 0) await blobs.delete(unused);
  }
}

function placed(
  texts: readonly (string | null)[],
  keys: ReadonlyMap<string, string>,
  used: Set<string>,
): readonly PlacedText[] {
  const wanted = texts.filter((text) => text !== null && isLarge(text) && !keys.has(text)) as string[];
  if (wanted.length > 0) throw new LargeTextsWanted(wanted);
  return texts.map((text) => {
    const key = text === null ? undefined : keys.get(text);
    if (key === undefined) return { text, key: null };
    used.add(key);
    return { text: null, key };
  });
}

function isLarge(text: string): boolean {
  // No text of fewer characters can be too large, whatever it is made of.
  return text.length * 3 > LARGE_BODY_BYTES && isLargeBody(new TextEncoder().encode(text));
}
