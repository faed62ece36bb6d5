import { createCipheriv, createDecipheriv } from "node:crypto";
import { Refusal } from "./refusal.ts";
import type { SealingKey, SealingKeys } from "./sealing-key.ts";

/** Whose secret a value is. Sealed along with it, so that a row moved to another place does not open there. */
export interface SecretPlace {
  /** The workspace's id, empty for the organisation. */
  readonly scope: string;
  readonly key: string;
}

/** Random bytes that a seal takes, fresh for each. */
export const SEAL_IV_BYTES = 12;

const CIPHER = "aes-256-gcm";
const TAG_BYTES = 16;
const SEALED = /^v([0-9a-f]{8})\.([0-9A-Za-z_-]{16})\.([0-9A-Za-z_-]{22,})$/;

/** Seals and opens secrets. The current key seals; it and the previous one open. */
export class SecretBox {
  readonly #current: SealingKey | null;
  readonly #keys: readonly SealingKey[];

  constructor({ current, previous }: SealingKeys) {
    this.#current = current;
    this.#keys = [current, previous].filter((key) => key !== null);
  }

  /** What every text begins with that a key of this box has sealed; the current key's comes first. */
  get marks(): readonly string[] {
    return this.#keys.map(({ id }) => `v${id}.`);
  }

  /** `v<key id>.<iv>.<ciphertext and tag>`, the parts in base64url. The value is not empty: workerd's cipher takes none. */
  seal(place: SecretPlace, value: string, iv: Uint8Array): string {
    if (this.#current === null) throw new Refusal("secret.key_missing");
    const cipher = createCipheriv(CIPHER, this.#current.bytes, iv, { authTagLength: TAG_BYTES });
    cipher.setAAD(sealedAlong(place));
    const sealed = Buffer.concat([cipher.update(value, "utf8"), cipher.final(), cipher.getAuthTag()]);
    return `v${this.#current.id}.${Buffer.from(iv).toString("base64url")}.${sealed.toString("base64url")}`;
  }

  /** The value; refused when no key here has sealed it, or when it was sealed for another place. */
  open(place: SecretPlace, text: string): string {
    if (this.#keys.length === 0) throw new Refusal("secret.key_missing");
    const [, keyId, iv = "", body = ""] = SEALED.exec(text) ?? [];
    const key = this.#keys.find(({ id }) => id === keyId);
    const value = key ? decrypted(key, place, Buffer.from(iv, "base64url"), Buffer.from(body, "base64url")) : null;
    if (value !== null) return value;
    const kind = place.scope === "" ? "global" : "workspace";
    throw new Refusal("secret.unreadable", {
      error: `failed to decrypt ${kind} secret`,
      details: { key: place.key },
    });
  }
}

function decrypted(key: SealingKey, place: SecretPlace, iv: Uint8Array, sealed: Buffer): string | null {
  const decipher = createDecipheriv(CIPHER, key.bytes, iv, { authTagLength: TAG_BYTES });
  decipher.setAAD(sealedAlong(place));
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  try {
    return Buffer.concat([decipher.update(sealed.subarray(0, -TAG_BYTES)), decipher.final()]).toString("utf8");
  } catch {
    return null;
  }
}

function sealedAlong({ scope, key }: SecretPlace): Uint8Array {
  return Buffer.from(JSON.stringify([scope, key]));
}
