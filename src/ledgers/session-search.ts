import type { Database } from "./database.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 200;

/**
 * Activity of a workspace that contains a text, newest first, as the JSON text of an array. `%` and `_` are wildcards,
 * as clients know it; an empty text finds everything. Throws a LedgerFailure.
 */
export async function searchSessions(
  database: Database,
  workspaceId: string,
  text: string,
  limit: number,
): Promise<string> {
  const rows = await database.query(
    `SELECT id, workspace_id, coalesce(nullif(summary, ''), activity_type) AS label,
            coalesce(summary, '') AS content, method, status, request_body, response_body,
            to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at
     FROM activity_logs
     WHERE workspace_id = $1::uuid AND ($2 = '' OR summary ILIKE $3 OR activity_type ILIKE $3 OR method ILIKE $3
       OR status ILIKE $3 OR request_body ILIKE $3 OR response_body ILIKE $3)
     ORDER BY seq DESC LIMIT $4`,
    [workspaceId, text, `%${text}%`, limit >= 1 && limit <= LIMIT_MAX ? Math.floor(limit) : LIMIT_DEFAULT],
  );
  return `[${rows.map(found).join(",")}]`;
}

function found({ request_body, response_body, ...row }: Record<string, unknown>): string {
  const scalars = JSON.stringify({ kind: "activity", ...row });
  const bodies = Object.entries({ request_body, response_body })
    .filter(([, body]) => typeof body === "string")
    .map(([name, body]) => `,"${name}":${String(body)}`);
  return `${scalars.slice(0, -1)}${bodies.join("")}}`;
}
