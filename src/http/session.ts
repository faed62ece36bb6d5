import { createMiddleware } from "hono/factory";
import * as z from "zod";
import type { UpstreamSettings } from "../config.ts";
import { controlPlaneFetch } from "../control-plane-fetch.ts";
import { digestOf } from "../domain/credential.ts";
import { Refusal } from "../domain/refusal.ts";
import { isStorableText } from "../domain/text.ts";
import { type Exchange, exchange, objectOf } from "../exchange.ts";
import { log } from "../log.ts";
import { refusalResponse } from "./answers.ts";
import { limitBadCredentials } from "./caller.ts";
import type { AppContext, AppEnv } from "./context.ts";
import { foreignCookies } from "./cookies.ts";
import { isRead, LISTENING_PATH, pageOrigin } from "./page.ts";
import { SessionLooks, type Verdict } from "./session-looks.ts";

const LOOK_TIMEOUT_MS = 3_000;
const ANSWER_BYTES_MAX = 64 * 1024;
const RETRY_AFTER_S = 5;
const UNKNOWN_HINT = "The control plane cannot tell who is signed in. Retry in a few seconds.";

/** Nobody has to show anything here, or only an agent's own token counts. */
const OPEN_PATH =
  /^\/(?:health|buildinfo|metrics|readyz|uploads\/limits|registry\/(?:register|heartbeat|update-card))$|^\/(?:cdn-cgi|cp)\//;
const OPEN_READ = /^\/(?:workspaces\/[^/]+|canvas\/viewport)$/;

const MEMBER = z.object({ member: z.literal(true), user_id: z.string().min(1).max(256).refine(isStorableText) });

const looks = new SessionLooks();

/**
 * Puts a user's session on the context where a route may need one. Trouble at the control plane shows only where the
 * answer would have been 401, which pages take for being signed out.
 */
export const session = createMiddleware<AppEnv>(async (c, next) => {
  if (!isOpen(c)) await verifySession(c);
  await next();
  if (c.var.session === "unknown" && c.res.status === 401) c.res = refusalResponse(c, cannotTell());
});

/** What is said to a user for whom nobody could vouch. */
export function cannotTell(): Refusal {
  return new Refusal("platform_unavailable", { hint: UNKNOWN_HINT, retryAfter: RETRY_AFTER_S });
}

/**
 * Asks the control plane, once for a request, whose cookie this is; a member's becomes the credential. Nobody is asked
 * about a call with a bearer, nor about one that no page of ours makes: browsers add cookies to what any page wants.
 */
export async function verifySession(c: AppContext): Promise<void> {
  if (c.var.credential.kind !== "none" || c.var.session !== "unasked") return;
  c.set("session", "asked");
  const { upstream, devMode } = c.var.config;
  const cookie = foreignCookies(c.req.header("Cookie"));
  if (!upstream?.organisationSlug || devMode || cookie === "" || !isOwnPage(c)) return;
  const key = keyOf(upstream, cookie);
  const verdict = await looks.at(key, async () => {
    // Counted beforehand, because each look at a stranger's cookie is a call; a member's counts when it is new.
    if (!looks.wasMember(key)) await limitBadCredentials(c);
    return lookUp(c, upstream, cookie);
  });
  if (verdict.kind === "unknown") c.set("session", "unknown");
  if (verdict.kind === "member") c.set("credential", { kind: "session", userId: verdict.userId });
}

/** The control plane has changed this cookie: what was known of it is over. */
export function forgetSession(upstream: UpstreamSettings, cookie: string): void {
  looks.forget(keyOf(upstream, cookie));
}

function isOpen(c: AppContext): boolean {
  const { path } = c.req;
  return OPEN_PATH.test(path) || LISTENING_PATH.test(path) || (isRead(c) && OPEN_READ.test(path));
}

function isOwnPage(c: AppContext): boolean {
  return pageOrigin(c) !== null && (isRead(c) || c.req.header("Origin") !== undefined);
}

function keyOf({ baseUrl, organisationSlug }: UpstreamSettings, cookie: string): string {
  return digestOf(JSON.stringify([baseUrl, organisationSlug, cookie]));
}

async function lookUp(
  c: AppContext,
  { baseUrl, organisationSlug }: UpstreamSettings,
  cookie: string,
): Promise<Verdict> {
  const answer = await exchange(controlPlaneFetch(c.env), {
    method: "GET",
    url: `${baseUrl}/cp/auth/tenant-member?${new URLSearchParams({ slug: organisationSlug })}`,
    headers: { Accept: "application/json", Cookie: cookie },
    answerBytesMax: ANSWER_BYTES_MAX,
    timeoutMs: LOOK_TIMEOUT_MS,
  });
  const verdict = verdictOf(answer);
  if (verdict.kind === "unknown") {
    log.warn("session.not_verified", answer.kind === "lost" ? { reason: answer.reason } : { status: answer.status });
  }
  return verdict;
}

/** Only a clear answer counts: neither trouble, nor haste, nor what is no JSON signs anybody out. */
function verdictOf(answer: Exchange): Verdict {
  if (answer.kind === "lost") return { kind: "unknown" };
  const { status, text } = answer;
  if (status >= 500 || status === 408 || status === 429) return { kind: "unknown" };
  if (status !== 200) return { kind: "stranger" };
  const said = objectOf(text);
  if (said === null) return { kind: "unknown" };
  const member = MEMBER.safeParse(said);
  return member.success ? { kind: "member", userId: member.data.user_id } : { kind: "stranger" };
}
