import { desc, eq } from "drizzle-orm";
import type { Database } from "./database.ts";
import { structureEvents } from "./schema.ts";

/** The whole of what the route shows; there is no paging. */
export const EVENTS_MAX = 100;

/** A recorded event. `payload` is the JSON text of an object, `createdAt` in µs since 1970. */
export interface LedgerEvent {
  readonly id: string;
  readonly event: string;
  readonly workspaceId: string | null;
  readonly payload: string;
  readonly createdAt: number;
}

/** The newest recorded events, of one workspace or of all. Throws a LedgerFailure. */
export async function newestEvents(database: Database, workspaceId: string | null): Promise<LedgerEvent[]> {
  const rows = await database.read((tables) =>
    tables
      .select()
      .from(structureEvents)
      .where(workspaceId === null ? undefined : eq(structureEvents.workspace_id, workspaceId))
      // Events of one turn share their time.
      .orderBy(desc(structureEvents.created_at), desc(structureEvents.version))
      .limit(EVENTS_MAX),
  );
  return rows.map((row) => ({
    id: row.id,
    event: row.event_type ?? "",
    workspaceId: row.workspace_id,
    // A row that stands for one that Postgres refused has no texts.
    payload: row.payload ?? "{}",
    createdAt: row.created_at,
  }));
}
