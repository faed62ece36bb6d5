import type { BlobStore } from "./blob-store.ts";
import {
  OPEN_TEMPLATES_PREFIX,
  openTemplateKey,
  openTemplateOf,
  type TemplateKind,
  type TemplateVersion,
  templateIndexKey,
  templateVersionPrefix,
} from "./keys.ts";

/** No request lives as long: whoever began before is not coming back. */
export const LEFTOVER_AFTER_MS = 24 * 60 * 60 * 1000;
/** Leftovers that one look deletes. */
export const LEFTOVERS_MAX = 100;

/** The version of a created template that is to be seen; null where none of this name was created. */
export function shownVersion(blobs: BlobStore, kind: TemplateKind, name: string): Promise<string | null> {
  return textOf(blobs, templateIndexKey(kind, name));
}

/** A blob as text; null when nothing is stored under the key. */
export async function textOf(blobs: BlobStore, key: string): Promise<string | null> {
  const blob = await blobs.get(key);
  return blob === null ? null : new Response(blob.stream).text();
}

/** Forgets that an attempt is open, and deletes its files unless they are to be seen. */
export async function endAttempt(blobs: BlobStore, attempt: TemplateVersion, isShown: boolean): Promise<void> {
  if (!isShown) await blobs.deleteUnder(templateVersionPrefix(attempt));
  await blobs.delete([openTemplateKey(attempt)]);
}

/**
 * Ends attempts that broke off more than a day before `now`, a bounded number of them; answers how many. Their files
 * were never to be seen.
 */
export async function deleteLeftovers(blobs: BlobStore, now: number): Promise<number> {
  const open = (await blobs.list(OPEN_TEMPLATES_PREFIX)).flatMap(({ key }) => openTemplateOf(key) ?? []);
  const left = open.filter((attempt) => now - beginningOf(attempt) > LEFTOVER_AFTER_MS).slice(0, LEFTOVERS_MAX);
  for (const attempt of left) {
    const shown = await shownVersion(blobs, attempt.kind, attempt.name);
    await endAttempt(blobs, attempt, shown === attempt.version);
  }
  return left.length;
}

function beginningOf({ version }: TemplateVersion): number {
  return Number(version.slice(0, version.indexOf("-")));
}
