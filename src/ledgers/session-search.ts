import type { Database } from "./database.ts";

const LIMIT_DEFAULT = 50;
const LIMIT_MAX = 200;
/** Bodies of one answer; the rows beyond are shown without theirs. */
const BODIES_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Activity of a workspace that contains a text, newest first, as the JSON text of an array. `%` and `_` are wildcards,
 * as clients know it; an empty text finds everything. Bodies beyond 8 MiB are left out. Throws a LedgerFailure.
 */
export async function searchSessions(
  database: Database,
  workspaceId: string,
  text: string,
  limit: number,
): Promise<string> {
  const rows = await database.query(
    `WITH found AS (
       SELECT *, sum(coalesce(octet_length(request_body), 0) + coalesce(octet_length(response_body), 0))
                   OVER (ORDER BY seq DESC) AS bytes
       FROM (SELECT * FROM activity_logs
             WHERE workspace_id = $1::uuid AND ($2 = '' OR summary ILIKE $3 OR activity_type ILIKE $3 OR method ILIKE $3
               OR status ILIKE $3 OR request_body ILIKE $3 OR response_body ILIKE $3)
             ORDER BY seq DESC LIMIT $4) AS newest
     )
     SELECT id, workspace_id, coalesce(nullif(summary, ''), activity_type) AS label,
            coalesce(summary, '') AS content, method, status,
            CASE WHEN bytes <= $5 THEN request_body END AS request_body,
            CASE WHEN bytes <= $5 THEN response_body END AS response_body,
            to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at
     FROM found ORDER BY seq DESC`,
    [
      workspaceId,
      text,
      `%${text}%`,
      limit >= 1 && limit <= LIMIT_MAX ? Math.floor(limit) : LIMIT_DEFAULT,
      BODIES_BYTES_MAX,
    ],
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
