const ESCAPE = /\\(?:u([0-9a-fA-F]{4})|[^u])/g;

/** Whether Postgres and SQLite both take this text unchanged: no U+0000 and no lone surrogate. */
export function isStorableText(text: string): boolean {
  return !text.includes("\u0000") && text.isWellFormed();
}

/**
 * The same rule for every string inside a valid JSON text, escapes included, without parsing it. A surrogate pair
 * must be written with both halves escaped or both raw, as every encoder writes it.
 */
export function isStorableJson(json: string): boolean {
  if (!isStorableText(json)) return false;
  if (!json.includes("\\u")) return true;
  let highEndsAt = -1;
  for (const match of json.matchAll(ESCAPE)) {
    const unit = match[1] === undefined ? null : Number.parseInt(match[1], 16);
    const followsHigh = highEndsAt === match.index;
    if (highEndsAt >= 0 && !(followsHigh && isLowSurrogate(unit))) return false;
    if (unit === 0 || (isLowSurrogate(unit) && !followsHigh)) return false;
    highEndsAt = isHighSurrogate(unit) ? match.index + match[0].length : -1;
  }
  return highEndsAt < 0;
}

function isHighSurrogate(unit: number | null): boolean {
  return unit !== null && unit >= 0xd800 && unit <= 0xdbff;
}

function isLowSurrogate(unit: number | null): boolean {
  return unit !== null && unit >= 0xdc00 && unit <= 0xdfff;
}

/** The first `count` code points of a text; never cuts inside a character. */
export function cutCodePoints(text: string, count: number): string {
  if (text.length <= count) return text;
  let end = 0;
  let taken = 0;
  for (const character of text) {
    if (taken === count) break;
    end += character.length;
    taken += 1;
  }
  return text.slice(0, end);
}
