import { type ActivityRow, microsToTimestamp } from "./activity.ts";

/**
 * One event on its way to the hub. `version` is the sender's counter for what must never be lost, null for what is
 * sent once (a heartbeat, a changed task). `payload` is the JSON text of an object.
 */
export interface HubEvent {
  readonly version: number | null;
  readonly event: string;
  readonly payload: string;
  /** RFC 3339. */
  readonly timestamp: string;
}

/** An event as the hub tells it. `id` is the number after which a listener that has read it resumes. */
export interface NumberedEvent extends Pick<HubEvent, "event" | "payload" | "timestamp"> {
  readonly id: number;
  /** Empty for what the hub says of itself. */
  readonly workspaceId: string;
}

/** How a listener reads events: a JSON object in each WebSocket frame, or server-sent events. */
export type EventFormat = "frame" | "stream";

/** Larger payloads would not fit into a row of the hub; whoever needs them reads the workspace's feed. */
export const PAYLOAD_BYTES_MAX = 1_500_000;
const PAYLOAD_LEFT_OUT = '{"payload_too_large":true}';

/** The payload as the hub stores it. */
export function storablePayload(payload: string): string {
  const fits = payload.length <= PAYLOAD_BYTES_MAX / 3 || Buffer.byteLength(payload) <= PAYLOAD_BYTES_MAX;
  return fits ? payload : PAYLOAD_LEFT_OUT;
}

/** What is sent for an event. */
export function formatted(format: EventFormat, event: NumberedEvent): string {
  return format === "frame" ? eventFrame(event) : streamBlock(event);
}

/**
 * Keeps a quiet connection known to be alive. The canvas ignores the unknown name, but a frame of any name restarts
 * its 30 s of patience. It carries the head, so that a listener who hears little does not fall behind.
 */
export function keepAlive(format: EventFormat, head: number, now: number): string {
  if (format === "stream") return `id: ${head}\n: keep-alive\n\n`;
  return eventFrame(ownEvent("KEEP_ALIVE", head, now));
}

/** Says that events may be missing before this one: read the state anew. The canvas ignores it. */
export function resync(format: EventFormat, head: number, now: number): string {
  return formatted(format, ownEvent("resync", head, now));
}

function ownEvent(event: string, head: number, now: number): NumberedEvent {
  return { id: head, workspaceId: "", event, payload: "{}", timestamp: microsToTimestamp(now * 1000) };
}

/** The frame that canvas and agents read: exactly these four keys, and our `id`, which they ignore. */
function eventFrame({ event, workspaceId, timestamp, id, payload }: NumberedEvent): string {
  const head = JSON.stringify({ event, workspace_id: workspaceId, timestamp, id });
  return `${head.slice(0, -1)},"payload":${payload}}`;
}

function streamBlock({ id, event, timestamp, payload }: NumberedEvent): string {
  const head = JSON.stringify({ type: event, timestamp: Date.parse(timestamp) });
  // Line ends in a JSON text stand between its tokens only, and would end the data line.
  return `id: ${id}\ndata: ${head.slice(0, -1)},"data":${payload.replace(/[\r\n]+/g, " ")}}\n\n`;
}

/** ACTIVITY_LOGGED of a row: no id and no error detail, bodies only where there are some. */
export function activityLogged(row: ActivityRow): string {
  const scalars = JSON.stringify({
    activity_type: row.activityType,
    method: row.method,
    summary: row.summary,
    status: row.status,
    source_id: row.sourceId,
    target_id: row.targetId,
    duration_ms: row.durationMs,
  });
  const bodies = (
    [
      ["tool_trace", row.toolTrace],
      ["request_body", row.requestBody],
      ["response_body", row.responseBody],
    ] as const
  )
    .filter(([, json]) => json !== null)
    .map(([name, json]) => `,"${name}":${json}`);
  return `${scalars.slice(0, -1)}${bodies.join("")}}`;
}

/** A2A_RESPONSE: the agent's answer to a message from the canvas. */
export function a2aResponse(row: ActivityRow): string {
  const head = JSON.stringify({ method: row.method, duration_ms: row.durationMs });
  return `${head.slice(0, -1)},"response_body":${row.responseBody ?? "null"}}`;
}

/** AGENT_MESSAGE: what `notify` told the user, with the attachments' keys as the canvas reads them. */
export function agentMessage(row: ActivityRow, name: string): string {
  const { result, parts } = JSON.parse(row.responseBody ?? "{}") as { result?: string; parts?: { file: object }[] };
  return JSON.stringify({
    message: result ?? "",
    workspace_id: row.workspaceId,
    name,
    ...(parts ? { attachments: parts.map(({ file }) => file) } : {}),
  });
}

/** The events that one row of the feed causes, in order. */
export function eventsOfRow(
  row: ActivityRow & { readonly version: number; readonly event: "logged" | "message" | "answer" | null },
  name: string,
): HubEvent[] {
  const timestamp = microsToTimestamp(row.createdAtMicros);
  const event = (type: string, payload: string): HubEvent => ({
    version: row.version,
    event: type,
    payload,
    timestamp,
  });
  switch (row.event) {
    case null:
      return [];
    case "message":
      return [event("AGENT_MESSAGE", agentMessage(row, name))];
    case "logged":
      return [event("ACTIVITY_LOGGED", activityLogged(row))];
    case "answer":
      return [event("ACTIVITY_LOGGED", activityLogged(row)), event("A2A_RESPONSE", a2aResponse(row))];
  }
}
