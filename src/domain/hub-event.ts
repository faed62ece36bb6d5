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

/** The frame that canvas and agents read: exactly these four keys, and ours that they ignore. */
export function eventFrame(
  workspaceId: string,
  event: HubEvent,
  extra: Readonly<Record<string, unknown>> = {},
): string {
  const head = JSON.stringify({ event: event.event, workspace_id: workspaceId, timestamp: event.timestamp, ...extra });
  return `${head.slice(0, -1)},"payload":${event.payload}}`;
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
