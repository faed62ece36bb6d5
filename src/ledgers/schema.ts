import {
  bigint,
  boolean,
  customType,
  doublePrecision,
  integer,
  type PgTable,
  pgTable,
  text,
  uuid,
} from "drizzle-orm/pg-core";
import { microsecondsOf, timestampOf } from "./moment.ts";

/** Times are integer microseconds since the epoch, on both sides of a ledger. */
const moment = customType<{ data: number; driverData: string }>({
  dataType: () => "timestamp with time zone",
  toDriver: timestampOf,
  fromDriver: microsecondsOf,
});

const count = () => bigint({ mode: "number" });

export const workspaces = pgTable("workspaces", {
  id: uuid().primaryKey(),
  name: text(),
  role: text(),
  tier: integer(),
  parent_id: uuid(),
  runtime: text(),
  status: text(),
  url: text(),
  delivery_mode: text(),
  agent_card: text(),
  active_tasks: count(),
  max_concurrent_tasks: count(),
  current_task: text(),
  last_error_rate: doublePrecision(),
  last_sample_error: text(),
  uptime_started_at: moment(),
  monthly_spend: count(),
  budget_limit: count(),
  workspace_dir: text(),
  x: doublePrecision(),
  y: doublePrecision(),
  collapsed: boolean(),
  last_outbound_at: moment(),
  created_at: moment().notNull(),
  updated_at: moment(),
  removed_at: moment(),
  purged: boolean(),
  version: count().notNull(),
});

export const workspaceTokens = pgTable("workspace_tokens", {
  id: uuid().primaryKey(),
  workspace_id: uuid().notNull(),
  prefix: text(),
  created_at: moment().notNull(),
  last_used_at: moment(),
  revoked_at: moment(),
  version: count().notNull(),
});

export const activityLogs = pgTable("activity_logs", {
  id: uuid().primaryKey(),
  workspace_id: uuid().notNull(),
  seq: count().notNull(),
  activity_type: text(),
  source_id: text(),
  target_id: text(),
  method: text(),
  summary: text(),
  request_body: text(),
  response_body: text(),
  tool_trace: text(),
  duration_ms: integer(),
  status: text(),
  error_detail: text(),
  message_id: text(),
  request_body_key: text(),
  response_body_key: text(),
  created_at: moment().notNull(),
  version: count().notNull(),
  /** Written by the workspace itself: no mail. */
  own: boolean(),
  /** Taken off the plain route. */
  hidden: boolean(),
  message_digest: text(),
});

export const pendingUploads = pgTable("pending_uploads", {
  file_id: uuid().primaryKey(),
  workspace_id: uuid().notNull(),
  upload_id: text(),
  filename: text(),
  mimetype: text(),
  size_bytes: count(),
  sha256: text(),
  state: text(),
  blob_key: text(),
  created_at: moment().notNull(),
  fetched_at: moment(),
  acked_at: moment(),
  expires_at: moment(),
  /** When the bytes were deleted. */
  swept_at: moment(),
  version: count().notNull(),
  body_offset: count(),
  /** The file's row of the inbox. */
  activity_seq: count(),
  /** When a `/notify` made it its user's. */
  attached_at: moment(),
});

export const structureEvents = pgTable("structure_events", {
  id: uuid().primaryKey(),
  workspace_id: uuid(),
  event_type: text(),
  payload: text(),
  created_at: moment().notNull(),
  version: count().notNull(),
});

export const a2aQueue = pgTable("a2a_queue", {
  id: uuid().primaryKey(),
  workspace_id: uuid().notNull(),
  caller_id: text(),
  priority: count(),
  method: text(),
  idempotency_key: text(),
  status: text(),
  attempts: count(),
  last_error: text(),
  enqueued_at: moment().notNull(),
  dispatched_at: moment(),
  completed_at: moment(),
  expires_at: moment(),
  response_body: text(),
  version: count().notNull(),
});

export const auditLog = pgTable("audit_log", {
  id: uuid().primaryKey(),
  workspace_id: uuid(),
  actor: text(),
  action: text(),
  subject: text(),
  reason: text(),
  detail: text(),
  created_at: moment().notNull(),
  version: count().notNull(),
});

/** Its key is the caller together with the id. */
export const delegations = pgTable("delegations", {
  caller_id: uuid().notNull().primaryKey(),
  delegation_id: text().notNull().primaryKey(),
  callee_id: uuid(),
  task_preview: text(),
  status: text(),
  last_heartbeat: moment(),
  deadline: moment(),
  result_preview: text(),
  error_detail: text(),
  retry_count: integer(),
  created_at: moment().notNull(),
  updated_at: moment(),
  ended_at: moment(),
  idempotency_key: text(),
  /** False where nobody knows whether the task arrived. */
  delivery_confirmed: boolean(),
  version: count().notNull(),
});

/** Every table that objects mirror their rows into, by the name that a flush uses. */
export const LEDGERS = {
  workspaces,
  workspace_tokens: workspaceTokens,
  activity_logs: activityLogs,
  pending_uploads: pendingUploads,
  structure_events: structureEvents,
  a2a_queue: a2aQueue,
  delegations,
  audit_log: auditLog,
} as const satisfies Record<string, PgTable>;
