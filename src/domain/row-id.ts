import { createHmac, timingSafeEqual } from "node:crypto";

const ROW_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
const CHECK_BYTES = 8;
const VARIANT_MASK = 0x3f;
const VARIANT_BITS = 0x80;
const SEQ_HEX_DIGITS = 15;

/** What an id numbers: each domain of a workspace has its own counter and its own check. */
export type RowDomain = "activity" | "file" | "queue" | "event" | "token" | "audit";

/** Whether a text is a row id of some workspace; only that workspace's `RowIds` can tell whether it is its own. */
export function looksLikeRowId(id: string): boolean {
  return ROW_ID.test(id);
}

/**
 * Row ids as UUIDv8: 60 bits of the row's seq, then 62 bits that only this workspace and domain carry (a truncated
 * HMAC-SHA256). A cursor therefore needs no index, a foreign one is recognised, and the order of ids is that of seqs.
 */
export class RowIds {
  readonly #check: string;

  constructor(key: string, workspaceId: string, domain: RowDomain) {
    const check = createHmac("sha256", key).update(`${domain}:${workspaceId}`).digest().subarray(0, CHECK_BYTES);
    check.writeUInt8((check.readUInt8(0) & VARIANT_MASK) | VARIANT_BITS, 0);
    const hex = check.toString("hex");
    this.#check = `${hex.slice(0, 4)}-${hex.slice(4)}`;
  }

  idOf(seq: number): string {
    if (!Number.isSafeInteger(seq) || seq < 0) throw new RangeError(`not a seq: ${seq}`);
    const hex = seq.toString(16).padStart(SEQ_HEX_DIGITS, "0");
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(12)}-${this.#check}`;
  }

  /** The seq that an id carries, or null when this workspace never gave it out; the zero UUID is nobody's. */
  seqOf(id: string): number | null {
    if (!looksLikeRowId(id)) return null;
    const text = id.toLowerCase();
    if (!timingSafeEqual(Buffer.from(text.slice(19)), Buffer.from(this.#check))) return null;
    const seq = Number.parseInt(text.slice(0, 8) + text.slice(9, 13) + text.slice(15, 18), 16);
    return Number.isSafeInteger(seq) ? seq : null;
  }
}
