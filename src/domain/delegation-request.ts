import * as z from "zod";
import { MAX_ID_CHARS } from "./a2a-envelope.ts";
import { DEADLINE_S_MAX } from "./delegation-settings.ts";
import { isJsonObject } from "./json-text.ts";
import { Refusal, type RefusalCode } from "./refusal.ts";
import { cutCodePoints } from "./text.ts";
import { canonicalWorkspaceId, type WorkspaceId } from "./workspace-id.ts";

const DETAILS_CODE_POINTS_MAX = 4096;
const REASON_CODE_POINTS_MAX = 1000;

/** What a caller wants done. `deadlineMs` is null where the deployment's own default applies. */
export interface DelegateRequest {
  readonly targetId: WorkspaceId;
  readonly task: string;
  readonly idempotencyKey: string | null;
  readonly deadlineMs: number | null;
  /** What the caller should know of its request, or null. */
  readonly warning: string | null;
}

export interface RecordRequest extends Omit<DelegateRequest, "idempotencyKey"> {
  readonly delegationId: string;
}

export interface UpdateRequest {
  readonly status: "completed" | "failed";
  readonly error: string | null;
  readonly text: string | null;
}

export interface HeartbeatRequest {
  readonly progressSeq: number | null;
  readonly details: string | null;
}

const DELEGATE = z.object({
  target_id: z.string().min(1),
  task: z.string().min(1),
  idempotency_key: z.string().nullish(),
  deadline_s: z.unknown().optional(),
});

const RECORD = DELEGATE.omit({ idempotency_key: true }).extend({ delegation_id: z.string().min(1) });

const UPDATE = z.object({
  status: z.string().min(1),
  error: z.string().nullish(),
  response_preview: z.string().nullish(),
});

const HEARTBEAT = z.object({ progress_seq: z.int().min(0).nullish(), details: z.unknown().optional() });

const CANCEL = z.object({ reason: z.string().nullish() });

/** Reads the parsed body of `delegate`, in the original's order of checks: body, target, self. */
export function readDelegate(body: unknown, callerId: string): DelegateRequest {
  const read = parsed(DELEGATE, body, "delegation.invalid_request");
  const targetId = targetOf(read.target_id);
  if (targetId === callerId) throw new Refusal("delegation.self");
  const idempotencyKey = idOf(read.idempotency_key ?? "") || null;
  return { targetId, task: read.task, idempotencyKey, ...deadlineOf(read.deadline_s) };
}

/** Reads the parsed body of `delegations/record`; unlike `delegate` it takes the caller itself for a target. */
export function readRecord(body: unknown): RecordRequest {
  const read = parsed(RECORD, body, "request.invalid");
  const targetId = targetOf(read.target_id);
  return { targetId, task: read.task, delegationId: idOf(read.delegation_id), ...deadlineOf(read.deadline_s) };
}

/** Reads the parsed body of `delegations/:delegation_id/update`. An empty text or error counts as none. */
export function readUpdate(body: unknown): UpdateRequest {
  const { status, error, response_preview: text } = parsed(UPDATE, body, "request.invalid");
  if (status !== "completed" && status !== "failed") throw new Refusal("delegation.invalid_status");
  return { status, error: error || null, text: text || null };
}

/** Reads the parsed body of a delegation's heartbeat; no body at all is one without progress. */
export function readHeartbeat(body: unknown): HeartbeatRequest {
  const { progress_seq: progressSeq, details } = parsed(HEARTBEAT, body ?? {}, "request.invalid");
  return { progressSeq: progressSeq ?? null, details: detailsOf(details) };
}

/** Reads the parsed body of `delegations/:delegation_id/cancel`; a reason is cut to a length that is still one. */
export function readCancel(body: unknown): { readonly reason: string | null } {
  const { reason } = parsed(CANCEL, body ?? {}, "request.invalid");
  return { reason: reason ? cutCodePoints(reason, REASON_CODE_POINTS_MAX) : null };
}

function parsed<Schema extends z.ZodObject>(schema: Schema, body: unknown, refusal: RefusalCode): z.output<Schema> {
  const result = schema.safeParse(withLowerCaseNames(body));
  if (result.success) return result.data;
  const field = result.error.issues.map(({ path }) => path.join(".")).find((name) => name !== "");
  throw new Refusal(refusal, field === undefined ? {} : { details: { field } });
}

/** Names match without regard to case, as in every body; of two spellings the last counts. */
function withLowerCaseNames(body: unknown): unknown {
  if (!isJsonObject(body)) return body;
  return Object.fromEntries(Object.entries(body).map(([name, member]) => [name.toLowerCase(), member]));
}

function targetOf(text: string): WorkspaceId {
  const targetId = canonicalWorkspaceId(text);
  if (targetId === null) throw new Refusal("delegation.invalid_target");
  return targetId;
}

function idOf(text: string): string {
  if (text.length > MAX_ID_CHARS) throw new Refusal("request.id_too_long");
  return text;
}

/** A bad deadline falls back to the default and says so, like a bad variable; the task is not refused for it. */
function deadlineOf(seconds: unknown): { deadlineMs: number | null; warning: string | null } {
  if (seconds == null) return { deadlineMs: null, warning: null };
  if (typeof seconds === "number" && seconds >= 1 && seconds <= DEADLINE_S_MAX) {
    return { deadlineMs: Math.round(seconds * 1000), warning: null };
  }
  return { deadlineMs: null, warning: `deadline_s must be a number from 1 to ${DEADLINE_S_MAX}; the default is used` };
}

function detailsOf(details: unknown): string | null {
  if (details == null) return null;
  return cutCodePoints(typeof details === "string" ? details : JSON.stringify(details), DETAILS_CODE_POINTS_MAX);
}
