import { EFFECTS_SCHEMA } from "../shared/effects.ts";
import { FLUSH_SCHEMA } from "../shared/flush.ts";
import type { SchemaStep } from "../shared/schema.ts";

/**
 * Tables of a Workspace object. Keys are integers, because an INTEGER PRIMARY KEY is one row written and every index
 * one more. `seq` comes from the object's one counter; `version` is the counter at the row's last change, and the
 * partial indexes find changed rows while a fresh one (version = seq) costs nothing. Times of the
 * feed, tokens, events and the queue are µs, those of the workspace, uploads and files ms. Of calls and queue the texts stand last, so that nothing behind them has to be looked for.
 */
export const WORKSPACE_SCHEMA: readonly SchemaStep[] = [
  {
    id: 1,
    sql: `
CREATE TABLE workspace (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  workspace_id TEXT NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0,
  name TEXT NOT NULL,
  role TEXT,
  runtime TEXT NOT NULL,
  tier INTEGER NOT NULL,
  path TEXT NOT NULL CHECK (json_valid(path)),
  tree_version INTEGER NOT NULL,
  max_concurrent_tasks INTEGER NOT NULL,
  budget_limit INTEGER,
  delivery_mode TEXT CHECK (delivery_mode IN ('push', 'poll')),
  url TEXT,
  agent_card TEXT,
  inbound_secret TEXT NOT NULL,
  status TEXT NOT NULL,
  last_seen INTEGER,
  absent_since INTEGER,
  error_rate REAL NOT NULL DEFAULT 0,
  sample_error TEXT NOT NULL DEFAULT '',
  active_tasks INTEGER NOT NULL DEFAULT 0,
  current_task TEXT NOT NULL DEFAULT '',
  started_at INTEGER,
  monthly_spend INTEGER NOT NULL DEFAULT 0,
  runtime_state TEXT NOT NULL DEFAULT '',
  capabilities TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(capabilities)),
  last_outbound_at INTEGER,
  read_seq INTEGER NOT NULL DEFAULT 0,
  acked_seq INTEGER NOT NULL DEFAULT 0,
  lost_seq INTEGER NOT NULL DEFAULT 0,
  hub_through INTEGER NOT NULL DEFAULT 0,
  board_version INTEGER NOT NULL DEFAULT 0,
  board_due INTEGER,
  counters TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(counters)),
  created_at INTEGER NOT NULL,
  removed_at INTEGER
) STRICT;

CREATE TABLE activity (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  activity_type TEXT NOT NULL,
  method TEXT,
  source_id TEXT,
  target_id TEXT,
  summary TEXT,
  request_body TEXT,
  response_body TEXT,
  request_body_key TEXT,
  response_body_key TEXT,
  tool_trace TEXT,
  duration_ms INTEGER,
  status TEXT NOT NULL,
  error_detail TEXT,
  message_id TEXT,
  message_digest TEXT,
  event TEXT,
  own INTEGER NOT NULL,
  hidden INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX activity_changed ON activity (version) WHERE version <> seq;
CREATE INDEX activity_message ON activity (message_id) WHERE message_id IS NOT NULL;
CREATE TABLE activity_stubs (seq INTEGER PRIMARY KEY, pruned_at INTEGER NOT NULL) STRICT;

CREATE TABLE tokens (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  digest TEXT NOT NULL,
  prefix TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER,
  revoked_at INTEGER,
  registration TEXT
) STRICT;
CREATE INDEX tokens_changed ON tokens (version) WHERE version <> seq;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  event_type TEXT NOT NULL,
  payload TEXT NOT NULL CHECK (json_valid(payload)),
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE uploads (
  upload INTEGER PRIMARY KEY,
  upload_id TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('open', 'stored', 'dead', 'swept')),
  renewed_at INTEGER NOT NULL
) STRICT;
CREATE TABLE files (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  upload INTEGER NOT NULL,
  activity_seq INTEGER NOT NULL,
  body_offset INTEGER NOT NULL,
  size INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  name TEXT NOT NULL,
  mime_type TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('staged', 'fetched', 'acked', 'expired')),
  staged_at INTEGER NOT NULL,
  attached_at INTEGER,
  fetched_at INTEGER,
  acked_at INTEGER,
  expired_at INTEGER,
  expires_at INTEGER,
  swept_at INTEGER
) STRICT;
CREATE INDEX files_changed ON files (version) WHERE version <> seq;

CREATE TABLE calls (
  seq INTEGER PRIMARY KEY,
  call_id TEXT NOT NULL,
  queue_seq INTEGER,
  caller_id TEXT,
  url TEXT NOT NULL,
  method TEXT NOT NULL,
  native_session INTEGER NOT NULL,
  message_id TEXT,
  message_digest TEXT NOT NULL,
  body_key TEXT,
  expires_in_s REAL,
  created_at INTEGER NOT NULL,
  hand_over_at INTEGER NOT NULL,
  body TEXT
) STRICT;

CREATE TABLE queue (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('queued', 'dispatched', 'completed', 'failed', 'dropped')),
  call_id TEXT NOT NULL,
  caller_id TEXT,
  priority INTEGER NOT NULL,
  method TEXT NOT NULL,
  message_id TEXT,
  message_digest TEXT NOT NULL,
  body_key TEXT,
  attempts INTEGER NOT NULL,
  last_error TEXT,
  response_body_key TEXT,
  enqueued_at INTEGER NOT NULL,
  dispatched_at INTEGER,
  completed_at INTEGER,
  expires_at INTEGER,
  body TEXT,
  response_body TEXT
) STRICT;
CREATE INDEX queue_changed ON queue (version) WHERE version <> seq;
CREATE INDEX queue_open ON queue (priority DESC, enqueued_at) WHERE completed_at IS NULL;
${FLUSH_SCHEMA}
${EFFECTS_SCHEMA}
`,
  },
  {
    id: 2,
    sql: `
ALTER TABLE calls ADD COLUMN attempt_id TEXT;
ALTER TABLE queue ADD COLUMN attempt_id TEXT;

CREATE TABLE delegations (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  delegation_id TEXT NOT NULL,
  idempotency_key TEXT,
  ended_at INTEGER,
  due_at INTEGER,
  attempts INTEGER NOT NULL,
  slots TEXT NOT NULL CHECK (json_valid(slots)),
  state TEXT NOT NULL CHECK (json_valid(state)),
  task TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX delegations_id ON delegations (delegation_id);
CREATE INDEX delegations_changed ON delegations (version) WHERE version <> seq;
CREATE INDEX delegations_open ON delegations (due_at) WHERE ended_at IS NULL;
CREATE INDEX delegations_retried ON delegations (seq) WHERE attempts > 1;
CREATE INDEX delegations_key ON delegations (idempotency_key) WHERE idempotency_key IS NOT NULL;

CREATE TABLE received (
  attempt_id TEXT NOT NULL,
  caller_id TEXT NOT NULL,
  delegation_id TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('dispatched', 'in_progress', 'completed', 'failed', 'cancelled')),
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  deadline INTEGER NOT NULL,
  dispatch INTEGER NOT NULL,
  last_heartbeat INTEGER,
  cancel_requested INTEGER NOT NULL,
  activity_seq INTEGER,
  error TEXT,
  task_preview TEXT NOT NULL,
  PRIMARY KEY (attempt_id, caller_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  version INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  reason TEXT,
  detail TEXT NOT NULL CHECK (json_valid(detail)),
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_changed ON audit (version) WHERE version <> seq;
`,
  },
  {
    id: 3,
    sql: `
ALTER TABLE workspace ADD COLUMN mark_version INTEGER NOT NULL DEFAULT 0;

CREATE TABLE lifecycle (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  wish INTEGER NOT NULL,
  machine TEXT NOT NULL CHECK (machine IN ('running', 'stopped')),
  served INTEGER NOT NULL,
  wished_at INTEGER NOT NULL,
  platform_url TEXT NOT NULL,
  files TEXT NOT NULL CHECK (json_valid(files)),
  reset_session INTEGER NOT NULL
) STRICT;

CREATE TABLE machines (
  start INTEGER PRIMARY KEY,
  wish INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('starting', 'running', 'unknown')),
  instance_id TEXT,
  stopping INTEGER NOT NULL,
  stop_failures INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  operation INTEGER NOT NULL,
  handed_at INTEGER NOT NULL
) STRICT;
`,
  },
  {
    id: 4,
    sql: `
ALTER TABLE calls ADD COLUMN activity_seq INTEGER;
ALTER TABLE queue ADD COLUMN activity_seq INTEGER;
ALTER TABLE received ADD COLUMN withdrawn INTEGER NOT NULL DEFAULT 0;
CREATE TABLE retries (attempt_id TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX retries_of ON retries (seq);
INSERT OR IGNORE INTO retries
  SELECT json_extract(attempt.value, '$.attemptId'), seq FROM delegations,
    json_each(json_insert(state -> '$.past', '$[#]', state -> '$.current')) AS attempt
  WHERE attempts > 1 AND json_extract(attempt.value, '$.attemptId') <> delegation_id;
DROP INDEX delegations_retried;
`,
  },
  {
    id: 5,
    sql: `
ALTER TABLE lifecycle ADD COLUMN restarts TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(restarts));
ALTER TABLE lifecycle ADD COLUMN context TEXT CHECK (json_valid(context));
ALTER TABLE machines ADD COLUMN url TEXT;
`,
  },
  {
    id: 6,
    sql: `
ALTER TABLE workspace ADD COLUMN workspace_dir TEXT;
ALTER TABLE workspace ADD COLUMN workspace_access TEXT NOT NULL DEFAULT 'none';
`,
  },
  {
    id: 7,
    sql: `
CREATE TABLE machine_files (id INTEGER PRIMARY KEY CHECK (id = 1), files TEXT NOT NULL CHECK (json_valid(files))) STRICT;
INSERT INTO machine_files (id, files) SELECT 1, files FROM lifecycle WHERE files <> '{}';
UPDATE lifecycle SET files = '{}' WHERE files <> '{}';
UPDATE workspace SET sample_error = 'the reason was not kept' WHERE status = 'failed' AND sample_error = '';
`,
  },
];
