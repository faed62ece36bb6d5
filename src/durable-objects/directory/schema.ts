import { EFFECTS_SCHEMA } from "../shared/effects.ts";
import { FLUSH_SCHEMA } from "../shared/flush.ts";
import type { SchemaStep } from "../shared/schema.ts";
import { AGENTS_SCHEMA } from "./agents.ts";
import { ORGANISATION_TOKENS_SCHEMA } from "./organisation-token-store.ts";
import { SECRETS_SCHEMA } from "./secret-store.ts";

/**
 * Tables of the Directory: the tree, the board (what each workspace last told of itself), secrets and tokens of the organisation. Times in ms since
 * 1970. Names are unique among live siblings; a removed row keeps its name without holding it.
 */
export const DIRECTORY_SCHEMA: readonly SchemaStep[] = [
  {
    id: 1,
    sql: `
CREATE TABLE directory (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  object_id TEXT NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0,
  tree_version INTEGER NOT NULL DEFAULT 0,
  sweep_due INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO directory (id, object_id) VALUES (1, lower(hex(randomblob(16))));

CREATE TABLE nodes (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  role TEXT,
  tier INTEGER NOT NULL,
  runtime TEXT NOT NULL,
  parent_id TEXT,
  workspace_dir TEXT,
  budget_limit INTEGER,
  max_concurrent_tasks INTEGER NOT NULL,
  x REAL NOT NULL,
  y REAL NOT NULL,
  collapsed INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  removed_at INTEGER,
  board_version INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL,
  url TEXT,
  delivery_mode TEXT,
  agent_card TEXT,
  card_in_object INTEGER NOT NULL DEFAULT 0,
  active_tasks INTEGER NOT NULL DEFAULT 0,
  current_task TEXT NOT NULL DEFAULT '',
  error_rate REAL NOT NULL DEFAULT 0,
  sample_error TEXT NOT NULL DEFAULT '',
  started_at INTEGER,
  monthly_spend INTEGER NOT NULL DEFAULT 0,
  last_outbound_at INTEGER,
  set_aside INTEGER NOT NULL DEFAULT 0,
  unflushed_since INTEGER,
  counters TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE UNIQUE INDEX nodes_id ON nodes (id);
CREATE UNIQUE INDEX nodes_live_name ON nodes (coalesce(parent_id, ''), name) WHERE removed_at IS NULL;
CREATE INDEX nodes_changed ON nodes (version) WHERE version <> seq;
${FLUSH_SCHEMA}
${EFFECTS_SCHEMA}
`,
  },
  {
    id: 2,
    sql: `
CREATE TABLE sweeps (
  name TEXT PRIMARY KEY,
  due_at INTEGER NOT NULL DEFAULT 0,
  opened INTEGER NOT NULL DEFAULT 0,
  cursor TEXT,
  errors INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
INSERT INTO sweeps (name) VALUES ('uploads'), ('delegations');
ALTER TABLE directory DROP COLUMN sweep_due;
`,
  },
  { id: 3, sql: `${SECRETS_SCHEMA}${ORGANISATION_TOKENS_SCHEMA}` },
  {
    id: 4,
    sql: `
ALTER TABLE nodes ADD COLUMN paused_at INTEGER;
ALTER TABLE nodes ADD COLUMN lifecycle_due INTEGER;
CREATE INDEX nodes_lifecycle ON nodes (lifecycle_due) WHERE lifecycle_due IS NOT NULL;
ALTER TABLE nodes ADD COLUMN source_bundle_id TEXT;
ALTER TABLE directory ADD COLUMN viewport TEXT NOT NULL DEFAULT '{"x":0,"y":0,"zoom":1}';
`,
  },
  { id: 5, sql: "ALTER TABLE nodes ADD COLUMN purged_at INTEGER;" },
  {
    id: 6,
    sql: `
ALTER TABLE nodes ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
`,
  },
  { id: 7, sql: "ALTER TABLE nodes ADD COLUMN workspace_access TEXT NOT NULL DEFAULT 'none';" },
  { id: 8, sql: AGENTS_SCHEMA },
];
