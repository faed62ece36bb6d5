/** Deeper JSON than any client writes; a bound keeps every reader of it from exhausting its stack. */
export const MAX_JSON_DEPTH = 512;

/** Where a value stands in a JSON text: from `start` up to, not including, `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A member of an object: the span of its key with the quotes, and that of its value. */
export interface MemberSpan extends Span {
  readonly key: Span;
}

const TAB = 9;
const LINE_FEED = 10;
const CARRIAGE_RETURN = 13;
const SPACE = 32;
const QUOTE = 34;
const COMMA = 44;
const BACKSLASH = 92;
const OPEN_BRACKET = 91;
const CLOSE_BRACKET = 93;
const OPEN_BRACE = 123;
const CLOSE_BRACE = 125;

/** The value of a JSON text, or null when it is none or nests deeper than `MAX_JSON_DEPTH`. */
export function parseJsonText(text: string): { readonly value: unknown } | null {
  if (isTooDeep(text)) return null;
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

/** Whether a parsed value is an object, as opposed to an array, null or a scalar. */
export function isJsonObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The members of the object that begins at `start`, in their order; none when something else stands there. Of a
 * repeated key the last counts, as it does for `JSON.parse`. Like all that follows it takes a valid JSON text.
 */
export function memberSpans(text: string, start = 0): Map<string, MemberSpan> {
  const members = new Map<string, MemberSpan>();
  let at = afterBlanks(text, start);
  if (text.charCodeAt(at) !== OPEN_BRACE) return members;
  at = afterBlanks(text, at + 1);
  while (text.charCodeAt(at) === QUOTE) {
    const key = { start: at, end: stringEnd(text, at) };
    const valueStart = afterBlanks(text, afterBlanks(text, key.end) + 1);
    const valueEnd = valueEndAt(text, valueStart);
    members.set(keyOf(text, key), { key, start: valueStart, end: valueEnd });
    at = afterBlanks(text, valueEnd);
    if (text.charCodeAt(at) === COMMA) at = afterBlanks(text, at + 1);
  }
  return members;
}

/** The raw text of the member that a path of keys leads to, or null when there is none. */
export function memberText(text: string, ...path: readonly string[]): string | null {
  const span = memberSpanAt(text, path);
  return span === null ? null : text.slice(span.start, span.end);
}

/** The span of the member that a path of keys leads to; the whole text for the empty path. */
export function memberSpanAt(text: string, path: readonly string[]): Span | null {
  let span: Span = { start: 0, end: text.length };
  for (const key of path) {
    const next = memberSpans(text, span.start).get(key);
    if (next === undefined) return null;
    span = next;
  }
  return span;
}

/** The text with one span replaced; everything else stays byte for byte. */
export function replaceSpan(text: string, span: Span, replacement: string): string {
  return text.slice(0, span.start) + replacement + text.slice(span.end);
}

/** Gives the object that begins at `start` this member: replaces its value where it stands, else puts it first. */
export function setMember(text: string, start: number, key: string, json: string): string {
  const members = memberSpans(text, start);
  const present = members.get(key);
  if (present !== undefined) return replaceSpan(text, present, json);
  const inside = afterBlanks(text, start) + 1;
  const member = `${JSON.stringify(key)}:${json}${members.size > 0 ? "," : ""}`;
  return replaceSpan(text, { start: inside, end: inside }, member);
}

function isTooDeep(text: string): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) at = stringEnd(text, at) - 1;
    else if (code === OPEN_BRACE || code === OPEN_BRACKET) depth += 1;
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth -= 1;
    if (depth > MAX_JSON_DEPTH) return true;
  }
  return false;
}

function keyOf(text: string, { start, end }: Span): string {
  const inside = text.slice(start + 1, end - 1);
  return inside.includes("\\") ? (JSON.parse(`"${inside}"`) as string) : inside;
}

function afterBlanks(text: string, start: number): number {
  let at = start;
  while (isBlank(text.charCodeAt(at))) at += 1;
  return at;
}

function isBlank(code: number): boolean {
  return code === SPACE || code === LINE_FEED || code === TAB || code === CARRIAGE_RETURN;
}

/** The end of the string whose opening quote is at `start`; the end of the text when it is never closed. */
function stringEnd(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(at - 1 - backslashes) === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return at + 1;
  }
  return text.length;
}

function valueEndAt(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at) - 1;
      if (depth === 0) return at + 1;
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) {
      depth += 1;
    } else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) {
      if (depth === 0) return at;
      depth -= 1;
      if (depth === 0) return at + 1;
    } else if (depth === 0 && (code === COMMA || isBlank(code))) {
      return at;
    }
  }
  return text.length;
}
