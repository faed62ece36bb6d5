/** Longest name that is stored or offered for download. */
export const FILENAME_CHARACTERS_MAX = 100;
/** Longest extension, dot included, that survives the shortening of a name. */
export const EXTENSION_CHARACTERS_MAX = 16;

const SLASH = 0x2f;
const FALLBACK_NAME = "file";

/** Turns any file name into one of 1 to 100 characters out of `A-Z a-z 0-9 . _ -`; never `.`, `..` or empty. */
export function sanitiseFilename(name: string): string {
  return sanitiseFilenameBytes(new TextEncoder().encode(name));
}

/** The same for a name as it came over the wire; a byte that is no valid UTF-8 counts as one character. */
export function sanitiseFilenameBytes(name: Uint8Array): string {
  const safe = shorten(replaceUnsafe(baseName(name)));
  return safe === "" || safe === "." || safe === ".." ? FALLBACK_NAME : safe;
}

/**
 * What follows the last slash, trailing slashes dropped (`a/b/` is `b`), as the original's path library does it:
 * nothing but slashes is `/`.
 */
export function baseName(name: Uint8Array): Uint8Array {
  let end = name.length;
  while (end > 1 && name[end - 1] === SLASH) end -= 1;
  if (end === 1) return name.subarray(0, 1);
  return name.subarray(name.subarray(0, end).lastIndexOf(SLASH) + 1, end);
}

function replaceUnsafe(name: Uint8Array): string {
  let safe = "";
  let next = 0;
  for (const [at, lead] of name.entries()) {
    if (at < next) continue;
    const character = String.fromCharCode(lead);
    safe += /[A-Za-z0-9._-]/.test(character) ? character : "_";
    next = at + codePointBytes(name, at, lead);
  }
  return safe;
}

function shorten(name: string): string {
  if (name.length <= FILENAME_CHARACTERS_MAX) return name;
  const dot = name.lastIndexOf(".");
  const extension = dot >= 0 && name.length - dot <= EXTENSION_CHARACTERS_MAX ? name.slice(dot) : "";
  return name.slice(0, FILENAME_CHARACTERS_MAX - extension.length) + extension;
}

/** Bytes of the code point at `at`; 1 for a byte that begins no valid sequence. */
function codePointBytes(bytes: Uint8Array, at: number, lead: number): number {
  const length =
    lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3 : lead >= 0xf0 && lead <= 0xf4 ? 4 : 1;
  for (let index = 1; index < length; index += 1) {
    const [low, high] = index === 1 ? secondByteRange(lead) : [0x80, 0xbf];
    const byte = bytes[at + index] ?? 0;
    if (byte < low || byte > high) return 1;
  }
  return length;
}

/** The narrower ranges exclude overlong forms, surrogates and everything above U+10FFFF. */
function secondByteRange(lead: number): [low: number, high: number] {
  switch (lead) {
    case 0xe0:
      return [0xa0, 0xbf];
    case 0xed:
      return [0x80, 0x9f];
    case 0xf0:
      return [0x90, 0xbf];
    case 0xf4:
      return [0x80, 0x8f];
    default:
      return [0x80, 0xbf];
  }
}
