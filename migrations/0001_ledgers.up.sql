-- Ledgers mirror what Durable Objects decided. They refuse nothing: a primary key and plain indexes, no foreign key, no
-- other unique, no enum, and client text is text, bodies too, which keeps big integers and the order of keys.
-- `version` is the writing object's number of the row's last change; 0 stands for a row whose texts were refused.

CREATE TABLE workspaces (
  id uuid PRIMARY KEY,
  name text,
  role text,
  tier integer,
  parent_id uuid,
  runtime text,
  status text,
  url text,
  delivery_mode text,
  agent_card text,
  active_tasks bigint,
  max_concurrent_tasks bigint,
  current_task text,
  last_error_rate double precision,
  last_sample_error text,
  uptime_started_at timestamptz,
  monthly_spend bigint,
  budget_limit bigint,
  workspace_dir text,
  x double precision,
  y double precision,
  collapsed boolean,
  last_outbound_at timestamptz,
  created_at timestamptz NOT NULL,
  updated_at timestamptz,
  removed_at timestamptz,
  purged boolean,
  version bigint NOT NULL
);
CREATE INDEX workspaces_parent ON workspaces (parent_id);
CREATE INDEX workspaces_status ON workspaces (status);

-- Hashes never leave the workspace's object.
CREATE TABLE workspace_tokens (
  id uuid PRIMARY KEY,
  workspace_id uuid NOT NULL,
  prefix text,
  created_at timestamptz NOT NULL,
  last_used_at timestamptz,
  revoked_at timestamptz,
  version bigint NOT NULL
);
CREATE INDEX workspace_tokens_workspace ON workspace_tokens (workspace_id, created_at);

-- A body that lies in R2 has its key in request_body_key or response_body_key instead.
CREATE TABLE activity_logs (
  id uuid PRIMARY KEY,
  workspace_id uuid NOT NULL,
  seq bigint NOT NULL,
  activity_type text,
  source_id text,
  target_id text,
  method text,
  summary text,
  request_body text,
  response_body text,
  tool_trace text,
  duration_ms integer,
  status text,
  error_detail text,
  message_id text,
  request_body_key text,
  response_body_key text,
  created_at timestamptz NOT NULL,
  version bigint NOT NULL
);
CREATE INDEX activity_logs_workspace ON activity_logs (workspace_id, seq DESC);
CREATE INDEX activity_logs_workspace_type ON activity_logs (workspace_id, activity_type, seq DESC);
-- For retention only: rows lie in the order in which they came, so a few pages tell where the old ones are.
CREATE INDEX activity_logs_age ON activity_logs USING brin (created_at);

CREATE TABLE pending_uploads (
  file_id uuid PRIMARY KEY,
  workspace_id uuid NOT NULL,
  upload_id text,
  filename text,
  mimetype text,
  size_bytes bigint,
  sha256 text,
  state text,
  blob_key text,
  created_at timestamptz NOT NULL,
  fetched_at timestamptz,
  acked_at timestamptz,
  expires_at timestamptz,
  swept_at timestamptz,
  version bigint NOT NULL
);
CREATE INDEX pending_uploads_expiry ON pending_uploads (expires_at) WHERE state IN ('staged', 'fetched');
CREATE INDEX pending_uploads_workspace ON pending_uploads (workspace_id, created_at);

CREATE TABLE structure_events (
  id uuid PRIMARY KEY,
  workspace_id uuid,
  event_type text,
  payload text,
  created_at timestamptz NOT NULL,
  version bigint NOT NULL
);
CREATE INDEX structure_events_newest ON structure_events (created_at DESC);
CREATE INDEX structure_events_workspace ON structure_events (workspace_id, created_at DESC);

CREATE TABLE a2a_queue (
  id uuid PRIMARY KEY,
  workspace_id uuid NOT NULL,
  caller_id text,
  priority bigint,
  method text,
  idempotency_key text,
  status text,
  attempts bigint,
  last_error text,
  enqueued_at timestamptz NOT NULL,
  dispatched_at timestamptz,
  completed_at timestamptz,
  expires_at timestamptz,
  response_body text,
  version bigint NOT NULL
);
CREATE INDEX a2a_queue_status ON a2a_queue (status, enqueued_at);
CREATE INDEX a2a_queue_workspace ON a2a_queue (workspace_id, status);

CREATE TABLE audit_log (
  id uuid PRIMARY KEY,
  workspace_id uuid,
  actor text,
  action text,
  subject text,
  reason text,
  detail text,
  created_at timestamptz NOT NULL,
  version bigint NOT NULL
);
CREATE INDEX audit_log_newest ON audit_log (created_at DESC);
CREATE INDEX audit_log_workspace ON audit_log (workspace_id, created_at DESC);

-- The lowest epoch that may still write for an object; raised before an object is restored or rebuilt.
CREATE TABLE ledger_epochs (
  object_id text PRIMARY KEY,
  epoch bigint NOT NULL
);

-- Exactly one row. A changed generation tells the objects that the database was restored and to send everything again;
-- deployment_id belongs to the first deployment that flushes, and no other one may write.
CREATE TABLE ledger_identity (
  the_only boolean PRIMARY KEY DEFAULT true CHECK (the_only),
  generation uuid NOT NULL DEFAULT gen_random_uuid(),
  deployment_id text
);
INSERT INTO ledger_identity DEFAULT VALUES;
