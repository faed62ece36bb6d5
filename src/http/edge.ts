import { createMiddleware } from "hono/factory";
import { configOf } from "../config.ts";
import { drainBody } from "./body.ts";
import type { AppContext, AppEnv } from "./context.ts";
import { isOwnOrigin, isPreflight, isRefusedPage, LISTENING_PATH, OWN_ORIGIN, pageOrigin } from "./page.ts";
import { verifySession } from "./session.ts";

const ALLOW_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS";
const ALLOW_HEADERS =
  "Origin, Content-Type, X-Workspace-ID, Authorization, X-Molecule-Org-Id, X-Molecule-Org-Slug, X-Confirm-Name, Prefer";
const EXPOSE_HEADERS = "X-Request-Id, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, Retry-After";
const API_PREFIX =
  /^\/(workspaces|registry|health|admin|metrics|settings|bundles|org|orgs|templates|plugins|webhooks|channels|ws|events|approvals)(\/|$)/;

const SECURITY_HEADERS = [
  ["X-Content-Type-Options", "nosniff"],
  ["X-Frame-Options", "DENY"],
  ["Strict-Transport-Security", "max-age=31536000; includeSubDomains"],
  ["Referrer-Policy", "strict-origin-when-cross-origin"],
  ["Permissions-Policy", "camera=(), microphone=(), geolocation=()"],
] as const;
const CSP_API = "default-src 'self'";
const CSP_PAGE =
  "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' ws: wss:; font-src 'self' data:";

/** Paths that TenantGuard lets pass: probes, and what an agent calls before it knows anything. */
const GUARD_ALLOWED = new Set(["/health", "/buildinfo", "/metrics", "/registry/register", "/registry/heartbeat"]);

/** Configuration and request id, and the headers that every answer carries, errors included. */
export const edge = createMiddleware<AppEnv>(async (c, next) => {
  c.set("config", configOf(c.env));
  c.set("requestId", crypto.randomUUID());
  c.set("session", "unasked");
  c.set("rate", null);
  await next();
  if (c.res.status === 101) return;
  if (c.res.status >= 400) await drainBody(c.req.raw);
  const { headers } = c.res;
  for (const [name, value] of SECURITY_HEADERS) headers.set(name, value);
  // What comes from an agent has a stricter policy already.
  if (!headers.has("Content-Security-Policy"))
    headers.set("Content-Security-Policy", API_PREFIX.test(c.req.path) ? CSP_API : CSP_PAGE);
  headers.set("X-Request-Id", c.var.requestId);
  rateHeaders(c, headers);
});

/**
 * CORS by `CORS_ORIGINS` and the platform's own origin, with credentials, on errors too. A page that may not call is
 * refused with an empty 403; agents send whatever Origin they like and are let through.
 */
export const cors = createMiddleware<AppEnv>(async (c, next) => {
  if (isRefusedPage(c)) return new Response(null, { status: 403 });
  const origin = c.req.header("Origin");
  if (origin === undefined) return next();
  if (!c.var.config.corsOrigins.has(origin) && !isOwnOrigin(c, origin)) return next();
  if (isPreflight(c)) {
    return new Response(null, {
      status: 204,
      headers: { ...corsHeaders(origin), ...PREFLIGHT_HEADERS, Vary: "Origin" },
    });
  }
  await next();
  if (c.res.status === 101) return;
  for (const [name, value] of Object.entries(corsHeaders(origin))) c.res.headers.set(name, value);
  c.res.headers.append("Vary", "Origin");
});

function corsHeaders(origin: string): Record<string, string> {
  return {
    "Access-Control-Allow-Origin": origin,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": EXPOSE_HEADERS,
  };
}

const PREFLIGHT_HEADERS = {
  "Access-Control-Allow-Methods": ALLOW_METHODS,
  "Access-Control-Allow-Headers": ALLOW_HEADERS,
  "Access-Control-Max-Age": "600",
};

/**
 * With `MOLECULE_ORG_ID`, who does not show that it belongs here gets a 404 with an empty body. Showing is: an
 * allowed path, the organisation header, the own origin, a token of valid form, or a session. It is routing, not
 * authentication.
 */
export const tenantGuard = createMiddleware<AppEnv>(async (c, next) => {
  const { organisationId } = c.var.config;
  if (organisationId === "" || (await passesGuard(c, organisationId))) return next();
  return new Response(null, { status: 404 });
});

async function passesGuard(c: AppContext, organisationId: string): Promise<boolean> {
  const { path } = c.req;
  if (GUARD_ALLOWED.has(path) || LISTENING_PATH.test(path) || path.startsWith("/cp/")) return true;
  if (c.req.header("X-Molecule-Org-Id") === organisationId) return true;
  if ((c.req.header("Fly-Replay-Src") ?? "").split(";").includes(`state=${organisationId}`)) return true;
  if (pageOrigin(c) === OWN_ORIGIN) return true;
  await verifySession(c);
  const { credential, session } = c.var;
  if (credential.kind === "none") return session === "unknown";
  return credential.kind !== "invalid" || credential.formed === true;
}

function rateHeaders(c: AppContext, headers: Headers): void {
  if (c.var.config.devMode) headers.set("X-RateLimit-Limit", "unlimited");
  const { rate } = c.var;
  if (!rate) return;
  headers.set("X-RateLimit-Limit", String(rate.limit));
  headers.set("X-RateLimit-Remaining", String(rate.remaining));
  headers.set("X-RateLimit-Reset", String(rate.reset));
}
