import * as z from "zod";
import { isJsonObject } from "./json-text.ts";
import { Refusal } from "./refusal.ts";
import { cutCodePoints } from "./text.ts";

/** The types that an agent may report, in the order in which the refusal of any other lists them. */
export const ACTIVITY_TYPES = [
  "a2a_send",
  "a2a_receive",
  "task_update",
  "agent_log",
  "skill_promotion",
  "memory_write",
  "error",
] as const;

export type ActivityType = (typeof ACTIVITY_TYPES)[number];

/** One row of a workspace's feed, which is also its inbox. The three bodies are JSON texts, kept as they came. */
export interface ActivityRow {
  readonly seq: number;
  readonly id: string;
  readonly workspaceId: string;
  /** One of `ACTIVITY_TYPES`, or a type of the platform's own such as `delegation`. */
  readonly activityType: string;
  /** Null means a human on the canvas, or the platform. */
  readonly sourceId: string | null;
  readonly targetId: string | null;
  /** What kind of `a2a_receive` this is: `message/send`, `chat_upload_receive`, `notify`, `delegate_result`. */
  readonly method: string | null;
  readonly summary: string | null;
  readonly requestBody: string | null;
  readonly responseBody: string | null;
  readonly toolTrace: string | null;
  readonly durationMs: number | null;
  readonly status: string;
  readonly errorDetail: string | null;
  readonly createdAtMicros: number;
}

/**
 * A row as the wire shows it: empty scalars are null, empty bodies are absent, the bodies' texts stand unchanged.
 * `extra` holds further members that only some answers carry, such as `peer_name`.
 */
export function activityJson(row: ActivityRow, extra: Readonly<Record<string, unknown>> = {}): string {
  const scalars = JSON.stringify({
    id: row.id,
    workspace_id: row.workspaceId,
    activity_type: row.activityType,
    source_id: row.sourceId,
    target_id: row.targetId,
    method: row.method,
    summary: row.summary,
    duration_ms: row.durationMs,
    status: row.status,
    error_detail: row.errorDetail,
    created_at: microsToTimestamp(row.createdAtMicros),
    seq: row.seq,
    ...extra,
  });
  const bodies =
    member("request_body", row.requestBody) +
    member("response_body", row.responseBody) +
    member("tool_trace", row.toolTrace);
  return `${scalars.slice(0, -1)}${bodies}}`;
}

function member(name: string, json: string | null): string {
  return json === null ? "" : `,"${name}":${json}`;
}

const MICROS_PER_SECOND = 1_000_000;

/** Microseconds since 1970 as RFC 3339 in UTC: up to six fraction digits, trailing zeros trimmed. */
export function microsToTimestamp(micros: number): string {
  const seconds = Math.floor(micros / MICROS_PER_SECOND);
  const fraction = String(micros - seconds * MICROS_PER_SECOND)
    .padStart(6, "0")
    .replace(/0+$/, "");
  const whole = new Date(seconds * 1000).toISOString().slice(0, 19);
  return `${whole}${fraction && `.${fraction}`}Z`;
}

const RFC_3339 = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:[.,](\d+))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))$/;

/** An RFC 3339 timestamp as microseconds since 1970, rounded up, or null when it is none. */
export function timestampToMicros(text: string): number | null {
  const [, date, time, fraction = "", sign, hours = "0", minutes = "0"] = RFC_3339.exec(text) ?? [];
  const wholeMillis = Date.parse(`${date}T${time}Z`);
  // Date.parse takes February 30th for March 2nd and 24:00 for midnight; the calendar does not.
  if (Number.isNaN(wholeMillis) || new Date(wholeMillis).toISOString().slice(0, 19) !== `${date}T${time}`) return null;
  const offsetSeconds = (Number(hours) * 60 + Number(minutes)) * 60 * (sign === "-" ? -1 : 1);
  const beyond = Number(/[1-9]/.test(fraction.slice(6)));
  return (
    (wholeMillis / 1000 - offsetSeconds) * MICROS_PER_SECOND + Number(fraction.slice(0, 6).padEnd(6, "0")) + beyond
  );
}

const SUMMARY_CODE_POINTS = 80;

/** The summary of a `notify` row: enough of the message to recognise it. */
export function notifySummary(message: string): string {
  const head = cutCodePoints(message, SUMMARY_CODE_POINTS);
  return `Agent message: ${head}${head === message ? "" : "…"}`;
}

/** A file that an agent hands to its user with a message. */
export interface Attachment {
  readonly uri: string;
  readonly name: string;
  readonly mimeType?: string;
  readonly size?: number;
}

const ATTACHMENT = z.preprocess(
  withLowerCaseKeys,
  z.object({
    uri: z.string().nullish(),
    name: z.string().nullish(),
    mimetype: z.string().nullish(),
    size: z.number().nullish(),
  }),
);

const NOTIFY_BODY = z.preprocess(
  withLowerCaseKeys,
  z.object({ message: z.string().min(1), attachments: z.array(ATTACHMENT).nullish() }),
);

/** Reads the body of `notify`; the refusals name the first thing that is missing. */
export function readNotify(body: unknown): { message: string; attachments: Attachment[] } {
  const read = NOTIFY_BODY.safeParse(body);
  if (!read.success) throw new Refusal("notify.message_required");
  const attachments = (read.data.attachments ?? []).map(({ uri, name, mimetype: mimeType, size }, index) => {
    if (!uri || !name) {
      throw new Refusal("notify.invalid_attachment", { error: `attachment[${index}]: uri and name are required` });
    }
    return { uri, name, ...(mimeType ? { mimeType } : {}), ...(size ? { size } : {}) };
  });
  return { message: read.data.message, attachments };
}

/** Names match without regard to case, as in every body; of two spellings the last counts. */
function withLowerCaseKeys(value: unknown): unknown {
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name.toLowerCase(), member]));
}

/** The `response_body` of a `notify` row: the text, and one file part per attachment. */
export function notifyResponse(message: string, attachments: readonly Attachment[]): string {
  const parts = attachments.map((file) => ({ kind: "file", file }));
  return JSON.stringify({ result: message, ...(parts.length > 0 ? { parts } : {}) });
}
