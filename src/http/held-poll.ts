import type { Access } from "../domain/access.ts";
import type { ActivityQuery } from "../domain/activity-query.ts";
import { Refusal } from "../domain/refusal.ts";
import type { Reply } from "../durable-objects/shared/reply.ts";
import type { ActivityPage } from "../durable-objects/workspace/inbox-store.ts";
import { LISTEN_HEADER, type ListenInput, SOCKET_REVOKED } from "../durable-objects/workspace/listen.ts";
import type { PollFrame } from "../durable-objects/workspace/listeners.ts";
import { activityAnswer } from "./activity-answer.ts";
import { json } from "./answers.ts";
import { ask, settled, unwrapReply } from "./ask.ts";
import { type AppContext, workspaceOf } from "./context.ts";

/** Polls that one isolate holds; one more is answered at once and asked to come back. */
const HELD_POLLS_MAX = 1_000;
/** After a deploy all polls end together; their clients come back spread over this. */
const RECONNECT_SPREAD_MS = 3_000;

let held = 0;

/**
 * Holds a poll until a row fits, or until its time is over. The object keeps only a hibernatable socket: while
 * nothing happens, nobody pays for anybody.
 */
export async function holdPoll(c: AppContext, id: string, access: Access, query: ActivityQuery): Promise<Response> {
  if (held >= HELD_POLLS_MAX) return tooMany();
  held += 1;
  try {
    const { socket, page } = await listen(c, id, { access, query, stream: false });
    if (page) return await activityAnswer(c, page, query);
    if (!socket) return json([]);
    const frame = await firstFrame(socket, query.waitSeconds * 1000, c.req.raw.signal);
    if (frame === "revoked") throw new Refusal("auth.invalid_token");
    if (frame === "lost") await scheduler.wait(Math.random() * RECONNECT_SPREAD_MS);
    if (frame === "lost" || frame === "over") return json([]);
    if ("page" in frame) return await activityAnswer(c, frame.page, query);
    return await activityAnswer(c, await ask(c, workspaceOf(c, id).listActivity({ access, query })), query);
  } catch (error) {
    if (error instanceof Refusal && error.code === "overloaded") return tooMany();
    throw error;
  } finally {
    held -= 1;
  }
}

/** Nothing yet, and come back: for a client that polls this is no error. */
function tooMany(): Response {
  return json([], 200, { "Retry-After": "5" });
}

/** Hands the client's socket through to the object. */
export async function openInboxSocket(
  c: AppContext,
  id: string,
  access: Access,
  query: ActivityQuery,
): Promise<Response> {
  const { socket } = await listen(c, id, { access, query, stream: true });
  return new Response(null, { status: 101, webSocket: socket });
}

async function listen(
  c: AppContext,
  id: string,
  input: ListenInput,
): Promise<{ socket: WebSocket | null; page: ActivityPage | null }> {
  const headers = { Upgrade: "websocket", [LISTEN_HEADER]: encodeURIComponent(JSON.stringify(input)) };
  const response = await settled(workspaceOf(c, id).fetch("http://workspace/listen", { headers }));
  if (response.webSocket) return { socket: response.webSocket, page: null };
  return { socket: null, page: await unwrapReply(c, await response.json<Reply<ActivityPage>>()) };
}

function endingOf(closeCode: number): Ending {
  if (closeCode === SOCKET_REVOKED) return "revoked";
  return closeCode === 1000 ? "over" : "lost";
}

/** How a held poll can end without a page. */
type Ending = "over" | "lost" | "revoked";

/** The page that a row brought; `over` when the time was up; `lost` when the object went away under the socket. */
function firstFrame(socket: WebSocket, waitMs: number, signal: AbortSignal): Promise<PollFrame | Ending> {
  const { promise, resolve } = Promise.withResolvers<PollFrame | Ending>();
  const timer = setTimeout(() => resolve("over"), waitMs);
  socket.addEventListener("message", ({ data }) => resolve(JSON.parse(String(data)) as PollFrame));
  socket.addEventListener("close", ({ code }) => resolve(endingOf(code)));
  socket.addEventListener("error", () => resolve("lost"));
  signal.addEventListener("abort", () => resolve("over"));
  socket.accept();
  return promise.finally(() => {
    clearTimeout(timer);
    socket.close(1000, "done");
  });
}
