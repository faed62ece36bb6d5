import type { Access } from "../../domain/access.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { RowIds } from "../../domain/row-id.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable } from "../shared/mirrored.ts";

/** More live tokens than anybody needs; the contract's limit. */
export const LIVE_TOKENS_MAX = 50;
/** `last_used_at` tells an operator whether a token is in use; to the hour is enough. */
const LAST_USED_STEP_US = 60 * 60 * 1_000_000;
/** An answer that was lost can be had again this long, while the token was never used. */
const REGISTRATION_REPEAT_US = 10 * 60 * 1_000_000;

interface TokenRow extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  digest: string;
  prefix: string;
  created_at: number;
  last_used_at: number | null;
  revoked_at: number | null;
  registration: string | null;
}

/** What a list shows of a token. Times in µs since 1970. */
export interface TokenView {
  readonly id: string;
  readonly prefix: string;
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
}

/** A token as the Worker minted it: the object never sees the plain text. */
export interface MintedToken {
  readonly digest: string;
  readonly prefix: string;
}

/** The workspace's tokens: digests, never the tokens themselves. */
export class TokenStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;
  readonly #ids: () => RowIds;

  constructor(sql: SqlStorage, nextVersion: () => number, ids: () => RowIds) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
    this.#ids = ids;
  }

  /** Refuses a bearer that is not live; notes its use, hourly. */
  verify(access: Access, nowUs: number): void {
    if (access.kind !== "token") return;
    const token = this.#live().find((row) => row.digest === access.digest);
    if (!token) throw new Refusal("auth.invalid_token");
    if (token.last_used_at !== null && nowUs - token.last_used_at < LAST_USED_STEP_US) return;
    // No new version: a use is not worth a ledger write, the list is read from here.
    this.#sql.exec("UPDATE tokens SET last_used_at = ? WHERE seq = ?", nowUs, token.seq);
    this.#cache = null;
  }

  hasLive(): boolean {
    return this.#live().length > 0;
  }

  isLive(digest: string): boolean {
    return this.#live().some((row) => row.digest === digest);
  }

  /** Adds a token; `registration` is a fingerprint of the register call that it answers. */
  add(minted: MintedToken, nowUs: number, registration: string | null = null): string {
    if (this.#live().length >= LIVE_TOKENS_MAX) throw new Refusal("token.too_many");
    const seq = this.#nextVersion();
    this.#sql.exec(
      "INSERT INTO tokens (seq, version, digest, prefix, created_at, registration) VALUES (?, ?, ?, ?, ?, ?)",
      seq,
      seq,
      minted.digest,
      minted.prefix,
      nowUs,
      registration,
    );
    this.#cache = null;
    return this.#ids().idOf(seq);
  }

  /** Revokes the token that the same registration minted, if its answer can only have been lost. True when it did. */
  revokeLostAnswer(registration: string, nowUs: number): boolean {
    const live = this.#live();
    const [token] = live;
    const lost =
      live.length === 1 &&
      token?.registration === registration &&
      token.last_used_at === null &&
      nowUs - token.created_at < REGISTRATION_REPEAT_US;
    if (!lost) return false;
    this.#revoke(token.seq, nowUs);
    return true;
  }

  /** Revokes one live token by its id and says what it begins with; null when it is unknown or revoked already. */
  revoke(id: string, nowUs: number): { prefix: string } | null {
    const seq = this.#ids().seqOf(id);
    const token = this.#live().find((row) => row.seq === seq);
    if (!token) return null;
    this.#revoke(token.seq, nowUs);
    return { prefix: token.prefix };
  }

  revokeAll(nowUs: number): void {
    for (const token of this.#live()) this.#revoke(token.seq, nowUs);
  }

  /** Live tokens, newest first. */
  list(limit: number, offset: number): TokenView[] {
    return this.#live()
      .toReversed()
      .slice(offset, offset + limit)
      .map((row) => ({
        id: this.#ids().idOf(row.seq),
        prefix: row.prefix,
        createdAt: row.created_at,
        lastUsedAt: row.last_used_at,
      }));
  }

  mirror(workspaceId: () => string): MirroredTable {
    return mirroredTable<TokenRow>(this.#sql, {
      ledger: "workspace_tokens",
      table: "tokens",
      size: "100",
      toLedger: (row) => ({
        id: this.#ids().idOf(row.seq),
        workspace_id: workspaceId(),
        prefix: row.prefix,
        created_at: row.created_at,
        last_used_at: row.last_used_at,
        revoked_at: row.revoked_at,
        version: row.version,
      }),
    });
  }

  /** Whether any token was revoked since the last look. */
  takeRevoked(): boolean {
    const revoked = this.#revoked;
    this.#revoked = false;
    return revoked;
  }

  /** Forgets what memory holds of the table, after a turn that was rolled back. */
  forget(): void {
    this.#cache = null;
  }

  #cache: TokenRow[] | null = null;
  #revoked = false;

  #live(): TokenRow[] {
    this.#cache ??= this.#sql.exec<TokenRow>("SELECT * FROM tokens WHERE revoked_at IS NULL ORDER BY seq").toArray();
    return this.#cache;
  }

  #revoke(seq: number, nowUs: number): void {
    this.#sql.exec("UPDATE tokens SET revoked_at = ?, version = ? WHERE seq = ?", nowUs, this.#nextVersion(), seq);
    this.#cache = null;
    this.#revoked = true;
  }
}
