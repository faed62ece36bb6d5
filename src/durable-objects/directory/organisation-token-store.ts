import { equalSecret } from "../../domain/credential.ts";
import { ORGANISATION_TOKENS_MAX, type OrganisationTokenView } from "../../domain/organisation-token.ts";
import { Refusal } from "../../domain/refusal.ts";

/** Digests of the organisation's tokens, live and revoked. Times in ms since 1970. */
export const ORGANISATION_TOKENS_SCHEMA = `
CREATE TABLE organisation_tokens (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  digest TEXT NOT NULL,
  prefix TEXT NOT NULL,
  name TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER,
  revoked_at INTEGER
) STRICT;
CREATE UNIQUE INDEX organisation_tokens_id ON organisation_tokens (id);
`;

const HOUR_MS = 60 * 60 * 1000;
/** Made by one credential, and by all of the organisation's together. */
const TOKENS_PER_HOUR = 10;
const ALL_TOKENS_PER_HOUR = 60;
/** `last_used_at` tells an operator whether a token is in use; to the hour is enough. */
const LAST_USED_STEP_MS = HOUR_MS;

/** A token as the Worker minted it: the Directory never sees the plain text. */
export interface MintedOrganisationToken extends Pick<OrganisationTokenView, "id" | "prefix" | "name" | "createdBy"> {
  readonly digest: string;
}

/** A token that is shown: its digest with the bearer itself, null where a pass stands for it. */
export interface ShownOrganisationToken {
  readonly id: string;
  readonly digest: string | null;
}

export class OrganisationTokenStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  add({ id, digest, prefix, name, createdBy }: MintedOrganisationToken, now: number): void {
    const { live } = this.#sql
      .exec<{ live: number }>("SELECT count(*) AS live FROM organisation_tokens WHERE revoked_at IS NULL")
      .one();
    if (live >= ORGANISATION_TOKENS_MAX) throw new Refusal("org_token.too_many");
    this.#sql.exec(
      "INSERT INTO organisation_tokens (id, digest, prefix, name, created_by, created_at) VALUES (?, ?, ?, ?, ?, ?)",
      id,
      digest,
      prefix,
      name,
      createdBy,
      now,
    );
  }

  /**
   * Refuses whoever has made so many within an hour, and everybody once so many were made by all of them: a leaked
   * credential must not multiply unseen, not by the tokens that it made either.
   */
  requirePace(createdBy: string, now: number): void {
    const freeAt = Math.max(
      this.#freeAt(createdBy, TOKENS_PER_HOUR, now),
      this.#freeAt(null, ALL_TOKENS_PER_HOUR, now),
    );
    if (freeAt <= now) return;
    const retryAfter = Math.ceil((freeAt - now) / 1000);
    throw new Refusal("request.rate_limited", { details: { retry_after: retryAfter }, retryAfter });
  }

  /** When fewer than `perHour` have been made within an hour, by this creator or (null) by all; 0 when it is so now. */
  #freeAt(createdBy: string | null, perHour: number, now: number): number {
    const [oldest] = this.#sql
      .exec<{ at: number }>(
        `SELECT created_at AS at FROM organisation_tokens WHERE coalesce(?, created_by) = created_by AND created_at > ?
         ORDER BY created_at DESC LIMIT 1 OFFSET ?`,
        createdBy,
        now - HOUR_MS,
        perHour - 1,
      )
      .toArray();
    return oldest ? oldest.at + HOUR_MS : 0;
  }

  /** Live ones, newest first. */
  list(): OrganisationTokenView[] {
    return this.#sql
      .exec<{ [Column in keyof OrganisationTokenView]: OrganisationTokenView[Column] }>(
        `SELECT id, prefix, name, created_by AS createdBy, created_at AS createdAt, last_used_at AS lastUsedAt
         FROM organisation_tokens WHERE revoked_at IS NULL ORDER BY seq DESC`,
      )
      .toArray();
  }

  /** Whether the token is live; notes its use, hourly. */
  verify({ id, digest }: ShownOrganisationToken, now: number): boolean {
    const [row] = this.#sql
      .exec<{ digest: string; lastUsedAt: number | null }>(
        "SELECT digest, last_used_at AS lastUsedAt FROM organisation_tokens WHERE id = ? AND revoked_at IS NULL",
        id,
      )
      .toArray();
    if (!row || (digest !== null && !equalSecret(row.digest, digest))) return false;
    if (row.lastUsedAt === null || now - row.lastUsedAt >= LAST_USED_STEP_MS) {
      this.#sql.exec("UPDATE organisation_tokens SET last_used_at = ? WHERE id = ?", now, id);
    }
    return true;
  }

  /** False when it is unknown or revoked already. */
  revoke(id: string, now: number): boolean {
    const update = "UPDATE organisation_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
    return this.#sql.exec(update, now, id).rowsWritten > 0;
  }
}
