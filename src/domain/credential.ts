import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { canonicalWorkspaceId, type WorkspaceId } from "./workspace-id.ts";

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BASE = 62n;
const ID_CHARS = 22;
const RANDOM_CHARS = 43;
const CHECKSUM_CHARS = 6;
const CHECKSUM_BYTES = 6;
const PREFIX_CHARS = 8;

/** Bytes of randomness in a token. */
export const TOKEN_RANDOM_BYTES = 32;

export type TokenPrefix = "mol_" | "molo_";

/** What a well-formed token says of itself; whether it is still live only its object knows. */
export type Token =
  | { readonly kind: "workspace"; readonly id: WorkspaceId; readonly prefix: string }
  | { readonly kind: "org"; readonly id: string; readonly prefix: string };

const TOKEN = /^(molo?_)([0-9A-Za-z]{22})([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/;

/**
 * A new token: prefix, 22 base62 characters of the uuid, 43 of the random bytes, and a 6-character checksum keyed with
 * `key` over all that precedes, so that garbage is refused without asking anybody.
 */
export function mintToken(prefix: TokenPrefix, uuid: string, randomBytes: Uint8Array, key: string): string {
  const id = canonicalWorkspaceId(uuid);
  if (id === null) throw new TypeError(`not a canonical uuid: ${uuid}`);
  if (randomBytes.byteLength !== TOKEN_RANDOM_BYTES) throw new RangeError(`a token takes ${TOKEN_RANDOM_BYTES} bytes`);
  const random = Buffer.from(randomBytes).toString("hex");
  const body =
    prefix + base62(BigInt(`0x${id.replaceAll("-", "")}`), ID_CHARS) + base62(BigInt(`0x${random}`), RANDOM_CHARS);
  return body + checksum(body, key);
}

/**
 * The token that a text is, or null when it is malformed or carries the checksum of none of the keys (the current and
 * the previous one; empty keys are no keys). `prefix`, the part that lists may show, is the first 8 characters of the
 * encoded random bytes.
 */
export function readToken(text: string, keys: readonly string[]): Token | null {
  const [, kind, id, random, sum] = TOKEN.exec(text) ?? [];
  if (kind === undefined || id === undefined || random === undefined || sum === undefined) return null;
  const body = text.slice(0, -CHECKSUM_CHARS);
  const given = Buffer.from(sum);
  if (!keys.some((key) => key !== "" && timingSafeEqual(given, Buffer.from(checksum(body, key))))) return null;
  const uuid = uuidOf(id);
  const prefix = random.slice(0, PREFIX_CHARS);
  return kind === "mol_" ? { kind: "workspace", id: uuid, prefix } : { kind: "org", id: uuid, prefix };
}

/** The secret for the direction from the platform to the agent: 43 characters. */
export function inboundSecretOf(randomBytes: Uint8Array): string {
  return Buffer.from(randomBytes).toString("base64url");
}

/** How a token is stored and looked up: SHA-256, lower-case hexadecimal. */
export function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/** Compares two secrets through their digests, so that neither content nor length shows in the time it takes. */
export function equalSecret(a: string, b: string): boolean {
  return timingSafeEqual(createHash("sha256").update(a).digest(), createHash("sha256").update(b).digest());
}

function checksum(body: string, key: string): string {
  const number = createHmac("sha256", key).update(body).digest().readUIntBE(0, CHECKSUM_BYTES);
  let text = "";
  for (let rest = number, taken = 0; taken < CHECKSUM_CHARS; taken += 1) {
    text += ALPHABET.charAt(rest % ALPHABET.length);
    rest = Math.floor(rest / ALPHABET.length);
  }
  return text;
}

function base62(number: bigint, width: number): string {
  let text = "";
  for (let rest = number; rest > 0n; rest /= BASE) text = ALPHABET.charAt(Number(rest % BASE)) + text;
  return text.padStart(width, "0");
}

/** Only called on what the checksum vouches for, hence always 128 bits. */
function uuidOf(encoded: string): WorkspaceId {
  let number = 0n;
  for (const char of encoded) number = number * BASE + BigInt(ALPHABET.indexOf(char));
  const hex = number.toString(16).padStart(32, "0");
  const groups = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)];
  return groups.join("-") as WorkspaceId;
}
