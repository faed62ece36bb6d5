import { Hono } from "hono";
import { controlPlaneFetch } from "../../control-plane-fetch.ts";
import { Refusal } from "../../domain/refusal.ts";
import { log } from "../../log.ts";
import { withDeadline } from "../../time-limit.ts";
import type { AppContext, AppEnv } from "../context.ts";
import { backwardHeaders, forwardHeaders } from "../proxied-headers.ts";
import { forgetSession } from "../session.ts";

/** How long the control plane may take to begin its answer; what follows is streamed for as long as it takes. */
const ANSWER_BEGINS_MS = 30_000;
/** What pages need of it. Nothing else under /cp/ is theirs, and all that leaves carries their cookies. */
const ALLOWED_PATH = /^\/cp\/(?:(?:auth|billing|legal)\/|(?:orgs|templates)(?:\/|$))/;
const NULL_BODY = new Set([204, 205, 304]);

/** The control plane's own routes, passed on to it as they come; mounted before any bearer is looked at. */
export const controlPlaneRoutes = new Hono<AppEnv>().all("/cp/*", async (c) => {
  const { upstream } = c.var.config;
  const { pathname, search } = new URL(c.req.url);
  if (upstream === null || !isPassedOn(pathname)) throw new Refusal("route.unknown");
  const headers = forwardHeaders(c);
  const cookie = headers.get("Cookie") ?? "";
  const answer = await passOn(c, `${upstream.baseUrl}${pathname}${search}`, headers);
  if (answer.headers.has("Set-Cookie")) forgetSession(upstream, cookie);
  return answer;
});

/** `pathname` comes from the URL parser, which has resolved each spelling of dots but what is escaped once more. */
function isPassedOn(pathname: string): boolean {
  return ALLOWED_PATH.test(pathname) && pathname.slice(1).replace(/\/$/, "").split("/").every(isPlain);
}

/** Whether a segment is one for whoever decodes it, once or twice, and whatever it makes of parameters. */
function isPlain(segment: string): boolean {
  try {
    const text = decodeURIComponent(segment);
    return text !== "" && !/[/\\%\p{Cc}]/u.test(text) && !/^\.{1,2}(?:;|$)/.test(text);
  } catch {
    return false;
  }
}

async function passOn(c: AppContext, url: string, headers: Headers): Promise<Response> {
  const { method, body } = c.req.raw;
  try {
    const answer = await withDeadline(ANSWER_BEGINS_MS, (signal) =>
      controlPlaneFetch(c.env)(url, { method, headers, body, redirect: "manual", signal }),
    );
    const { status, statusText } = answer;
    const init = { status, statusText, headers: backwardHeaders(answer.headers) };
    return new Response(NULL_BODY.has(status) ? null : answer.body, init);
  } catch (error) {
    log.warn("control_plane.unreachable", { request_id: c.var.requestId, method, reason: String(error) });
    throw new Refusal("control_plane.unreachable");
  }
}
