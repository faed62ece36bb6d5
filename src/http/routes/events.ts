import { Hono } from "hono";
import { microsToTimestamp } from "../../domain/activity.ts";
import { HUB_LISTEN_HEADER, type ListenRequest, resumeNumber } from "../../domain/hub-listener.ts";
import { type Outcome, Refusal, unwrap } from "../../domain/refusal.ts";
import { TICKET_LIFETIME_MS } from "../../domain/socket-pass.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { openDatabase } from "../../ledgers/database.ts";
import { type LedgerEvent, newestEvents } from "../../ledgers/event-ledger.ts";
import { json, jsonText } from "../answers.ts";
import { settled } from "../ask.ts";
import { adminOnly, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, eventHubOf } from "../context.ts";
import { eventStream } from "../event-stream.ts";
import { admit, issueTicket, streamListener } from "../hub-access.ts";

const STREAM_HEADERS = {
  "Content-Type": "text/event-stream",
  "Cache-Control": "no-cache",
  Connection: "keep-alive",
  "X-Accel-Buffering": "no",
};

/** Events: live on sockets and streams, and the recorded ones as history. */
export const eventRoutes = new Hono<AppEnv>()
  .get("/ws", async (c) => {
    if (c.req.header("Upgrade")?.toLowerCase() !== "websocket") throw new Refusal("request.upgrade_required");
    const { listener, ticket, protocol } = await admit(c);
    const webSocket = await listen(c, { listener, ticket, since: resumeNumber(c.req.query("since")) });
    const headers = protocol === null ? {} : { "Sec-WebSocket-Protocol": protocol };
    return new Response(null, { status: 101, webSocket, headers });
  })
  .post("/ws/ticket", adminOnly, (c) => {
    return json({ ticket: issueTicket(c), expires_in: TICKET_LIFETIME_MS / 1000 }, 201, {
      "Cache-Control": "no-store",
    });
  })
  .get("/workspaces/:id/events/stream", async (c) => {
    const listener = await streamListener(c, workspaceIdParam(c));
    const since = resumeNumber(c.req.header("Last-Event-ID") ?? c.req.query("since"));
    const socket = await listen(c, { listener, ticket: null, since });
    return new Response(eventStream(socket, c.req.raw.signal), { headers: STREAM_HEADERS });
  })
  .get("/events", adminOnly, (c) => history(c, null))
  .get("/events/:workspaceId", adminOnly, (c) => {
    const id = canonicalWorkspaceId(c.req.param("workspaceId"));
    if (id === null) throw new Refusal("workspace.invalid_id");
    return history(c, id);
  });

/** A socket of the hub; the hub may hibernate while it is open. */
async function listen(c: AppContext, request: ListenRequest): Promise<WebSocket> {
  const headers = { Upgrade: "websocket", [HUB_LISTEN_HEADER]: JSON.stringify(request) };
  const response = await settled(eventHubOf(c).fetch("http://event-hub/listen", { headers }));
  if (response.webSocket) return response.webSocket;
  unwrap(await response.json<Outcome<null>>());
  throw new Error("the hub opened no socket");
}

async function history(c: AppContext, workspaceId: string | null): Promise<Response> {
  const events = await newestEvents(openDatabase(c.env), workspaceId);
  return jsonText(`[${events.map(eventJson).join(",")}]`);
}

function eventJson({ id, event, workspaceId, payload, createdAt }: LedgerEvent): string {
  const scalars = { id, event_type: event, workspace_id: workspaceId, created_at: microsToTimestamp(createdAt) };
  return `${JSON.stringify(scalars).slice(0, -1)},"payload":${payload}}`;
}
