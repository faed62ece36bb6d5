import { createHmac, timingSafeEqual } from "node:crypto";

/** A page asks the platform for something at least this often; each such call renews its cookie. */
export const COOKIE_LIFETIME_MS = 10 * 60_000;
/** A ticket is spent at once. */
export const TICKET_LIFETIME_MS = 60_000;

const KEY_DOMAIN = "posthouse socket pass 1";
const PASS = /^([0-9a-z]{1,11})\.([0-9A-Za-z-]{0,36})\.(?:([0-9a-f-]{36})\.)?([0-9A-Za-z_-]{43})$/;
const TOKEN_ID = /^[0-9a-f-]{36}$/;

/** What a pass is good for. All of it is under the seal; none of it stands in the pass. */
export interface PassScope {
  readonly purpose: "cookie" | "ticket";
  readonly organisation: string;
  /** The page's origin, empty for a ticket. */
  readonly origin: string;
}

export interface SocketPass {
  /** Digest of the credential that the pass stands for, or the id of a token of the organisation. */
  readonly credential: string;
  readonly expiresAt: number;
  readonly nonce: string;
}

/**
 * Whether a pass stands for a token of the organisation. Such a pass names it, because the Directory alone knows which
 * are live: whoever accepts the pass has yet to ask.
 */
export function standsForToken(credential: string): boolean {
  return TOKEN_ID.test(credential);
}

/** A pass: expiry, nonce and seal. `key` is the token key; passes have one of their own, derived from it. */
export function issuePass(scope: PassScope, { credential, expiresAt, nonce }: SocketPass, key: string): string {
  const holder = standsForToken(credential) ? `${credential}.` : "";
  return `${expiresAt.toString(36)}.${nonce}.${holder}${seal(scope, { credential, expiresAt, nonce }, key)}`;
}

/**
 * The pass that a text is, or null when it has expired, was made for something else, or under a key or for a
 * credential that is no longer accepted.
 */
export function readPass(
  text: string,
  scope: PassScope,
  accepted: { readonly credentials: readonly string[]; readonly keys: readonly string[] },
  now: number,
): SocketPass | null {
  const [, expiry, nonce, holder, given] = PASS.exec(text) ?? [];
  if (expiry === undefined || nonce === undefined || given === undefined) return null;
  const expiresAt = Number.parseInt(expiry, 36);
  if (expiresAt <= now) return null;
  for (const credential of holder === undefined ? accepted.credentials : [holder]) {
    const pass = { credential, expiresAt, nonce };
    const good = accepted.keys.some((key) => timingSafeEqual(Buffer.from(given), Buffer.from(seal(scope, pass, key))));
    if (good) return pass;
  }
  return null;
}

function seal({ purpose, organisation, origin }: PassScope, pass: SocketPass, key: string): string {
  const sealed = [purpose, organisation, origin, pass.credential, pass.expiresAt, pass.nonce];
  const passKey = createHmac("sha256", key).update(KEY_DOMAIN).digest();
  return createHmac("sha256", passKey).update(JSON.stringify(sealed)).digest("base64url");
}
