import type { SchemaStep } from "../shared/schema.ts";

/**
 * `ordinal` and `bytes_through` count on from row to row, so that the first and the last one tell how much there is.
 * `hub_senders` holds the highest version that each workspace has told.
 */
export const EVENT_HUB_SCHEMA: readonly SchemaStep[] = [
  {
    id: 1,
    sql: `
CREATE TABLE hub_events (
  number INTEGER PRIMARY KEY,
  ordinal INTEGER NOT NULL,
  bytes_through INTEGER NOT NULL,
  workspace_id TEXT NOT NULL,
  path TEXT NOT NULL CHECK (json_valid(path)),
  event TEXT NOT NULL,
  payload TEXT NOT NULL,
  timestamp TEXT NOT NULL
) STRICT;

CREATE TABLE hub_senders (
  workspace_id TEXT PRIMARY KEY,
  through INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE hub_spent_tickets (
  nonce TEXT PRIMARY KEY,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`,
  },
];
