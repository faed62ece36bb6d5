import { createHash } from "node:crypto";

const KEY_ID_CHARS = 8;
const KEY_ID_DOMAIN = "posthouse secrets key 1";
const KEY_HEX = /^[0-9a-fA-F]{64}$/;
const KEY_BASE64 = /^[0-9A-Za-z+/_-]{43}=?$/;

/** A key that seals secrets; `id` stands beside what it sealed and tells nothing of the key. */
export interface SealingKey {
  readonly id: string;
  readonly bytes: Uint8Array;
}

/** The key that seals, and the one before it, which still opens. */
export interface SealingKeys {
  readonly current: SealingKey | null;
  readonly previous: SealingKey | null;
}

/** 32 bytes in base64 or hexadecimal; null for any other text. */
export function readSealingKey(text: string): SealingKey | null {
  const written = text.trim();
  const encoding = KEY_HEX.test(written) ? "hex" : KEY_BASE64.test(written) ? "base64" : null;
  if (encoding === null) return null;
  const bytes = Buffer.from(written, encoding);
  return { id: createHash("sha256").update(KEY_ID_DOMAIN).update(bytes).digest("hex").slice(0, KEY_ID_CHARS), bytes };
}
