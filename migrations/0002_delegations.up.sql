-- A delegation is known by its caller and an id that the caller may choose. The status is plain text here as everywhere.
-- The sweep and the view of what is in flight read partial indexes: the few that are open lie among many that have
-- ended.

CREATE TABLE delegations (
  caller_id uuid NOT NULL,
  delegation_id text NOT NULL,
  callee_id uuid,
  task_preview text,
  status text,
  last_heartbeat timestamptz,
  deadline timestamptz,
  result_preview text,
  error_detail text,
  retry_count integer,
  created_at timestamptz NOT NULL,
  updated_at timestamptz,
  ended_at timestamptz,
  idempotency_key text,
  delivery_confirmed boolean,
  version bigint NOT NULL,
  PRIMARY KEY (caller_id, delegation_id)
);
CREATE INDEX delegations_deadline ON delegations (deadline)
  WHERE status IN ('queued', 'dispatched', 'in_progress', 'stuck');
CREATE INDEX delegations_heartbeat ON delegations (last_heartbeat)
  WHERE status IN ('queued', 'dispatched', 'in_progress');
CREATE INDEX delegations_status ON delegations (status, created_at DESC, caller_id DESC, delegation_id DESC);
CREATE INDEX delegations_caller ON delegations (caller_id, created_at DESC);
CREATE INDEX delegations_callee ON delegations (callee_id, created_at DESC);
CREATE INDEX delegations_id ON delegations (delegation_id);
CREATE INDEX delegations_ended ON delegations (ended_at);

-- How often delegations changed hands, counted without reading all events.
CREATE INDEX structure_events_delegations ON structure_events (event_type)
  WHERE event_type IN ('DELEGATION_SENT', 'DELEGATION_STATUS', 'DELEGATION_COMPLETE', 'DELEGATION_FAILED');
