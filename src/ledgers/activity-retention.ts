import type { Database } from "./database.ts";

/** Rows that one run deletes at most, so that it never holds the table long. */
export const RETENTION_ROWS_MAX = 10_000;

/** Deletes activity older than so many days, oldest blocks first, and says how many rows went. Throws a LedgerFailure. */
export async function dropOldActivity(database: Database, days: number): Promise<number> {
  const answer = await database.query(
    `WITH dropped AS (
       DELETE FROM activity_logs WHERE id IN (
         SELECT id FROM activity_logs WHERE created_at < now() - $1 * interval '1 day' LIMIT $2
       ) RETURNING 1
     ) SELECT count(*) AS rows FROM dropped`,
    [days, RETENTION_ROWS_MAX],
  );
  return answer.reduce((sum, { rows }) => sum + Number(rows), 0);
}
