import { NeonDbError } from "@neondatabase/serverless";

/** `unavailable` passes by itself or by a migration; `refused` means that this very row will never be taken. */
export type FailureKind = "unavailable" | "refused";

/** SQLSTATE classes of values that Postgres will not store: data exception, constraint, a program limit. */
const REFUSED_CLASSES = new Set(["22", "23", "54"]);
const SCHEMA_BEHIND_CODES = new Set(["42P01", "42703"]);

/** Why a ledger did not take or give rows. Carries no message of Postgres: those quote values. */
export class LedgerFailure extends Error {
  override readonly name = "LedgerFailure";

  constructor(
    readonly kind: FailureKind,
    /** SQLSTATE; null when no database answered. */
    readonly sqlstate: string | null,
    /** The column or constraint that Postgres named, else "". */
    readonly subject = "",
  ) {
    super(`ledger ${kind}${sqlstate === null ? "" : `: SQLSTATE ${sqlstate}`}`);
  }

  /** True when this Worker is newer than the database's schema: the operator has to migrate. */
  get schemaBehind(): boolean {
    return this.sqlstate !== null && SCHEMA_BEHIND_CODES.has(this.sqlstate);
  }
}

/** Sorts whatever a query threw; anything that is not a clear refusal counts as unavailable and is tried again. */
export function ledgerFailure(error: unknown): LedgerFailure {
  if (error instanceof LedgerFailure) return error;
  if (error instanceof NeonDbError && error.code) {
    const kind = REFUSED_CLASSES.has(error.code.slice(0, 2)) ? "refused" : "unavailable";
    return new LedgerFailure(kind, error.code, error.column ?? error.constraint ?? "");
  }
  // drizzle wraps what the driver threw
  if (error instanceof Error && error.cause !== undefined) return ledgerFailure(error.cause);
  return new LedgerFailure("unavailable", null);
}
