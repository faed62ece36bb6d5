import type { Database } from "./database.ts";
import { LedgerFailure } from "./failure.ts";
import { columnsOf, type LedgerName, type LedgerRow } from "./rows.ts";

/** Changed rows of one object, merged from its tables. */
export interface LedgerBatch {
  readonly objectId: string;
  readonly epoch: number;
  readonly rows: { readonly [Name in LedgerName]?: readonly LedgerRow[] };
}

/** `superseded`: the object has a successor of a higher epoch. `foreign_deployment`: the database is not ours. */
export type RejectionReason = "superseded" | "foreign_deployment";

/** `generation` changes when the database was restored. */
export type LedgerAnswer =
  | { readonly accepted: true; readonly generation: string }
  | { readonly accepted: false; readonly generation: string; readonly reason: RejectionReason };

const MOMENT_TYPE = "timestamp with time zone";
const FIRST_ROWS_PARAMETER = 4;

/**
 * Writes the rows with one statement, all or none. A stored row is replaced by a higher version only, so that repeats
 * and late batches change nothing. The first writer of a fresh database claims it for its deployment.
 * Throws a LedgerFailure.
 */
export async function writeLedger(database: Database, batch: LedgerBatch): Promise<LedgerAnswer> {
  const ledgers = (Object.keys(batch.rows) as LedgerName[]).filter((ledger) => batch.rows[ledger]?.length);
  const parameters = [database.deploymentId, batch.objectId, batch.epoch];
  const rows = ledgers.map((ledger) => JSON.stringify(batch.rows[ledger]));
  const [answer] = await database.query(flushStatement(ledgers), [...parameters, ...rows]);
  if (!answer) throw new LedgerFailure("unavailable", null, "ledger_identity");
  const generation = String(answer.generation);
  if (answer.superseded) return { accepted: false, generation, reason: "superseded" };
  if (answer.admitted) return { accepted: true, generation };
  // Another writer is claiming the fresh database at this moment; whether for us, the next attempt will see.
  if (answer.deployment_id === null) throw new LedgerFailure("unavailable", null, "ledger_identity");
  return { accepted: false, generation, reason: "foreign_deployment" };
}

/** Refuses from now on what an object of a lower epoch flushes. Never lowers it. Throws a LedgerFailure. */
export async function raiseEpoch(database: Database, objectId: string, epoch: number): Promise<void> {
  await database.query(
    `INSERT INTO ledger_epochs AS held (object_id, epoch) VALUES ($1, $2)
     ON CONFLICT (object_id) DO UPDATE SET epoch = greatest(held.epoch, excluded.epoch)`,
    [objectId, epoch],
  );
}

function flushStatement(ledgers: readonly LedgerName[]): string {
  const writes = ledgers.map((ledger, index) => `, ${insertion(ledger, `$${FIRST_ROWS_PARAMETER + index}`)}`);
  return `
    WITH identity AS MATERIALIZED (SELECT generation, deployment_id FROM ledger_identity),
    superseded AS MATERIALIZED (SELECT FROM ledger_epochs WHERE object_id = $2::text AND epoch > $3::bigint),
    claimed AS (
      UPDATE ledger_identity SET deployment_id = $1::text
      WHERE deployment_id IS NULL AND NOT EXISTS (SELECT FROM superseded) RETURNING deployment_id
    ),
    admitted AS MATERIALIZED (
      SELECT FROM identity
      WHERE (deployment_id = $1::text OR EXISTS (SELECT FROM claimed)) AND NOT EXISTS (SELECT FROM superseded)
    )${writes.join("")}
    SELECT generation, deployment_id, EXISTS (SELECT FROM superseded) AS superseded, EXISTS (SELECT FROM admitted) AS admitted
    FROM identity`;
}

function insertion(ledger: LedgerName, parameter: string): string {
  const columns = columnsOf(ledger);
  const names = columns.map(({ name }) => name).join(", ");
  const shape = columns
    .map((column) => `${column.name} ${isMoment(column) ? "bigint" : column.getSQLType()}`)
    .join(", ");
  // Not to_timestamp(): it goes through a float of seconds and loses microseconds.
  const values = columns.map((column) =>
    isMoment(column) ? `timestamptz 'epoch' + r.${column.name} * interval '1 microsecond'` : `r.${column.name}`,
  );
  const key = columns.filter((column) => column.primary).map(({ name }) => name);
  const changes = columns.filter((column) => !column.primary).map(({ name }) => `${name} = excluded.${name}`);
  return `write_${ledger} AS (
      INSERT INTO ${ledger} AS held (${names})
      SELECT ${values.join(", ")} FROM admitted, json_to_recordset(${parameter}::json) AS r (${shape})
      ON CONFLICT (${key.join()}) DO UPDATE SET ${changes.join(", ")} WHERE held.version < excluded.version
    )`;
}

function isMoment(column: { getSQLType(): string }): boolean {
  return column.getSQLType() === MOMENT_TYPE;
}
