import type { Database } from "./database.ts";
import { LedgerFailure } from "./failure.ts";

/** Rows that one run deletes at most, so that it never holds the tables long. */
export const PURGE_ROWS_MAX = 10_000;

/** Above every epoch that an object can have (their versions fit into 2^53): what it flushes from then on is refused. */
const NEVER_AGAIN_EPOCH = 2 ** 13;

/** What goes with a workspace; events, delegations, files and audit stay. */
const PURGED_LEDGERS = ["activity_logs", "workspace_tokens", "a2a_queue"] as const;

/** Another deployment's database is not touched; nobody's yet may be. */
const OURS = "ours AS MATERIALIZED (SELECT FROM ledger_identity WHERE coalesce(deployment_id, $1) = $1)";

/** Refuses for ever what a purged workspace's object flushes. Repeatable. Throws a LedgerFailure. */
export async function endFlushes(database: Database, workspaceId: string): Promise<void> {
  const [answer] = await database.query(
    `WITH ${OURS}, raised AS (
       INSERT INTO ledger_epochs AS held (object_id, epoch) SELECT $2::text, $3::bigint FROM ours
       ON CONFLICT (object_id) DO UPDATE SET epoch = greatest(held.epoch, excluded.epoch)
     ) SELECT EXISTS (SELECT FROM ours) AS ours`,
    [database.deploymentId, workspaceId, NEVER_AGAIN_EPOCH],
  );
  requireOurs(answer);
}

/** Deletes a slice of a purged workspace's rows and says how many went; fewer than `limit` were the last. Throws a LedgerFailure. */
export async function deleteWorkspaceRows(
  database: Database,
  workspaceId: string,
  limit = PURGE_ROWS_MAX,
): Promise<number> {
  const [answer] = await database.query(DELETION, [database.deploymentId, workspaceId, limit]);
  return Number(requireOurs(answer).rows);
}

const DELETION = `
  WITH ${OURS}, doomed AS MATERIALIZED (
    SELECT ledger, id FROM (${PURGED_LEDGERS.map(found).join(" UNION ALL ")}) AS found
    WHERE EXISTS (SELECT FROM ours) LIMIT $3
  )${PURGED_LEDGERS.map(deletion).join("")}
  SELECT (SELECT count(*) FROM doomed) AS rows, EXISTS (SELECT FROM ours) AS ours`;

function found(ledger: string): string {
  return `(SELECT '${ledger}' AS ledger, id FROM ${ledger} WHERE workspace_id = $2::uuid LIMIT $3)`;
}

function deletion(ledger: string): string {
  return `, delete_${ledger} AS (
    DELETE FROM ${ledger} WHERE id IN (SELECT id FROM doomed WHERE ledger = '${ledger}')
  )`;
}

/** A database that is another deployment's, by mistake or for a while, counts as none. */
function requireOurs(answer: Record<string, unknown> | undefined): Record<string, unknown> {
  if (answer?.ours === true) return answer;
  throw new LedgerFailure("unavailable", null, "ledger_identity");
}
