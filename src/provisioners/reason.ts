import { cutCodePoints } from "../domain/text.ts";

const REASON_LENGTH_MAX = 512;
/** Shorter values (`1`, `true`) are no secrets, and striking them out would leave nothing to read. */
const SECRET_LENGTH_MIN = 6;

/** What a backend said, fit for a log: one short line without the secrets that it was sent. */
export function reasonOf(said: string, secrets: Iterable<string>): string {
  const line = strike(said, secrets).replaceAll(/[\s\p{Cc}]+/gu, " ");
  return cutCodePoints(line.trim(), REASON_LENGTH_MAX);
}

function strike(text: string, secrets: Iterable<string>): string {
  // The longest first: a secret may contain another one.
  const words = [...new Set([...secrets].flatMap(formsOf))].sort((one, other) => other.length - one.length);
  return words.reduce((rest, word) => rest.replaceAll(word, "[secret]"), text);
}

/** A key of many lines may come back line by line, or as it stands in JSON. */
function formsOf(secret: string): string[] {
  return secret
    .split(/\r?\n/)
    .flatMap((line) => [line.trim(), JSON.stringify(line.trim()).slice(1, -1)])
    .filter((form) => form.length >= SECRET_LENGTH_MIN);
}
