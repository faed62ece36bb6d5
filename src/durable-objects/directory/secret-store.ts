import { Refusal } from "../../domain/refusal.ts";
import { GLOBAL_SCOPE, SCOPE_BYTES_MAX, SECRETS_PER_SCOPE_MAX, type SecretEntry } from "../../domain/secret.ts";
import { SEAL_IV_BYTES, type SecretBox } from "../../domain/secret-box.ts";
import { log } from "../../log.ts";

/**
 * Sealed values by workspace (empty: the organisation's) and key. `mark` tells the key that sealed one, and is found
 * without reading values. Times in ms since 1970.
 */
export const SECRETS_SCHEMA = `
CREATE TABLE secrets (
  scope TEXT NOT NULL,
  key TEXT NOT NULL,
  mark TEXT NOT NULL GENERATED ALWAYS AS (substr(sealed, 1, 10)) STORED,
  sealed TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX secrets_mark ON secrets (mark);
`;

// No mark is empty: saying so lets SQLite count in the index.
export const LOCKED_SQL = "SELECT count(*) AS locked FROM secrets WHERE mark > '' AND mark NOT IN (?, ?)";
/** So many are sealed anew at once, after a rotation. */
const RESEAL_MAX = 2_000;

/** Secrets at rest: sealed on their way in, opened only for the environment of a start and for the settings. */
export class SecretStore {
  readonly #sql: SqlStorage;
  readonly #box: SecretBox;

  constructor(sql: SqlStorage, box: SecretBox) {
    this.#sql = sql;
    this.#box = box;
  }

  /** By key. */
  list(scope: string): SecretEntry[] {
    return this.#sql
      .exec<{ key: string; createdAt: number; updatedAt: number }>(
        "SELECT key, created_at AS createdAt, updated_at AS updatedAt FROM secrets WHERE scope = ? ORDER BY key",
        scope,
      )
      .toArray();
  }

  set(scope: string, key: string, value: string, now: number): void {
    const sealed = this.#seal(scope, key, value);
    const { count, bytes } = this.#sql
      .exec<{ count: number; bytes: number }>(
        "SELECT count(*) AS count, coalesce(sum(octet_length(sealed)), 0) AS bytes FROM secrets WHERE scope = ? AND key <> ?",
        scope,
        key,
      )
      .one();
    if (count >= SECRETS_PER_SCOPE_MAX) throw new Refusal("secret.too_many");
    if (bytes + sealed.length > SCOPE_BYTES_MAX) {
      throw new Refusal("secret.too_many", { error: "maximum 1 MiB of secrets per scope" });
    }
    this.#sql.exec(
      `INSERT INTO secrets (scope, key, sealed, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)
       ON CONFLICT (scope, key) DO UPDATE SET sealed = ?3, updated_at = ?4`,
      scope,
      key,
      sealed,
      now,
    );
  }

  /** False when there is none. */
  delete(scope: string, key: string): boolean {
    return this.#sql.exec("DELETE FROM secrets WHERE scope = ? AND key = ?", scope, key).rowsWritten > 0;
  }

  deleteScope(scope: string): void {
    this.#sql.exec("DELETE FROM secrets WHERE scope = ?", scope);
  }

  /** A value; null when there is none. */
  read(scope: string, key: string): string | null {
    const [row] = this.#sql
      .exec<{ sealed: string }>("SELECT sealed FROM secrets WHERE scope = ? AND key = ?", scope, key)
      .toArray();
    return row ? this.#box.open({ scope, key }, row.sealed) : null;
  }

  /** All that a workspace's agent gets: the organisation's, and the workspace's own over it. */
  environment(workspaceId: string): Record<string, string> {
    return { ...this.#values(GLOBAL_SCOPE), ...this.#values(workspaceId) };
  }

  /** How many no key of this deployment opens. */
  locked(): number {
    const [current = "", previous = current] = this.#box.marks;
    return this.#sql.exec<{ locked: number }>(LOCKED_SQL, current, previous).one().locked;
  }

  /** Seals under the current key what the previous one has sealed; what does not open stays as it is. */
  reseal(): void {
    const [current, previous] = this.#box.marks;
    if (previous === undefined || previous === current) return;
    const rows = this.#sql.exec<{ scope: string; key: string; sealed: string }>(
      "SELECT scope, key, sealed FROM secrets WHERE mark = ? LIMIT ?",
      previous,
      RESEAL_MAX,
    );
    for (const { scope, key, sealed } of rows.toArray()) this.#resealOne(scope, key, sealed);
  }

  #resealOne(scope: string, key: string, sealed: string): void {
    try {
      const value = this.#box.open({ scope, key }, sealed);
      const anew = this.#seal(scope, key, value);
      this.#sql.exec("UPDATE secrets SET sealed = ? WHERE scope = ? AND key = ?", anew, scope, key);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      log.warn("secret.unreadable", { workspace_id: scope, key });
    }
  }

  #values(scope: string): Record<string, string> {
    const rows = this.#sql.exec<{ key: string; sealed: string }>(
      "SELECT key, sealed FROM secrets WHERE scope = ?",
      scope,
    );
    return Object.fromEntries(rows.toArray().map(({ key, sealed }) => [key, this.#box.open({ scope, key }, sealed)]));
  }

  #seal(scope: string, key: string, value: string): string {
    return this.#box.seal({ scope, key }, value, crypto.getRandomValues(new Uint8Array(SEAL_IV_BYTES)));
  }
}
