import { createHash } from "node:crypto";
import { cutCodePoints } from "./text.ts";

/** Longest preview that a delegation keeps of a task, a result or an error, in bytes of UTF-8. */
export const PREVIEW_BYTES_MAX = 4096;

/**
 * What a delegation remembers of a text that has been told in full elsewhere: enough to show it and to recognise it.
 * `digest` is null when the preview is the whole text.
 */
export interface KeptText {
  readonly preview: string;
  readonly digest: string | null;
}

export function keepText(text: string): KeptText {
  const preview = previewOf(text);
  return { preview, digest: preview === text ? null : digestOf(text) };
}

/** Whether a text is the one that was kept. */
export function isKeptText(kept: KeptText, text: string): boolean {
  return kept.digest === null ? kept.preview === text : kept.digest === digestOf(text);
}

/** The beginning of a text that fits into a ledger column, never cut inside a character. */
export function previewOf(text: string): string {
  if (text.length * 3 <= PREVIEW_BYTES_MAX) return text;
  const { read } = new TextEncoder().encodeInto(text, new Uint8Array(PREVIEW_BYTES_MAX));
  return text.slice(0, read);
}

/** The first `count` code points, with `...` where something was cut off. */
export function shortened(text: string, count: number): string {
  const head = cutCodePoints(text, count);
  return head === text ? text : `${head}...`;
}

function digestOf(text: string): string {
  return createHash("sha256").update(text).digest("base64");
}
