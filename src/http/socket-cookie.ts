import { getCookie } from "hono/cookie";
import { createMiddleware } from "hono/factory";
import { digestOf } from "../domain/credential.ts";
import {
  COOKIE_LIFETIME_MS,
  issuePass,
  type PassScope,
  readPass,
  type SocketPass,
  standsForToken,
} from "../domain/socket-pass.ts";
import { type AppContext, type AppEnv, organisationOf } from "./context.ts";
import { isLiveOrganisationToken } from "./organisation-tokens.ts";
import { pageOrigin } from "./page.ts";

export const SOCKET_COOKIE = "__Host-posthouse-ws";
/** What a ticket stands for where nobody has to show anything. */
export const OPEN_CREDENTIAL = "open";
/** What a user's ticket stands for. There is no such cookie: a user's page shows its own on sockets too. */
export const SESSION_CREDENTIAL = "session";

/**
 * A page cannot put a bearer on a WebSocket. So an operator's call from an allowed page is answered with a cookie
 * that does, for ten minutes, and that nothing but `/ws` and the event stream accepts. Browsers take `Secure` cookies
 * on plain http from localhost only.
 */
export const socketCookie = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  const credential = operatorPassCredential(c);
  if (credential === null || c.res.status === 101) return;
  const [key] = c.var.config.tokenKeys;
  const origin = pageOrigin(c);
  if (key === undefined || origin === null) return;
  const pass = { credential, expiresAt: Date.now() + COOKIE_LIFETIME_MS, nonce: "" };
  const cookie = `${SOCKET_COOKIE}=${issuePass(cookieScope(c, origin), pass, key)}`;
  const lifetime = `Max-Age=${COOKIE_LIFETIME_MS / 1000}`;
  c.res.headers.append("Set-Cookie", `${cookie}; Path=/; ${lifetime}; HttpOnly; Secure; SameSite=None; Partitioned`);
});

/** The pass in the request's cookie, as good as the credential that it stands for; null when there is none. */
export async function cookiePass(c: AppContext): Promise<SocketPass | null> {
  const origin = pageOrigin(c);
  const cookie = getCookie(c, SOCKET_COOKIE);
  if (origin === null || cookie === undefined) return null;
  return livePass(c, readPass(cookie, cookieScope(c, origin), acceptedCredentials(c), Date.now()));
}

/** The pass, unless it stands for a token of the organisation that is no longer live. */
export async function livePass(c: AppContext, pass: SocketPass | null): Promise<SocketPass | null> {
  if (pass === null || !standsForToken(pass.credential)) return pass;
  return (await isLiveOrganisationToken(c, { id: pass.credential, digest: null })) ? pass : null;
}

/** What a pass of this operator stands for; null when nobody of the kind calls. */
export function operatorPassCredential(c: AppContext): string | null {
  const { credential } = c.var;
  if (credential.kind === "organisation") return credential.id;
  return credential.kind === "admin" ? bearerDigest(c) : null;
}

/** What a pass may have been made for and under. */
export function acceptedCredentials(c: AppContext): { credentials: string[]; keys: readonly string[] } {
  const { adminTokens, tokenKeys, devMode, upstream } = c.var.config;
  const closed = [...adminTokens.map(digestOf), ...(upstream?.organisationSlug ? [SESSION_CREDENTIAL] : [])];
  return { credentials: devMode ? [OPEN_CREDENTIAL] : closed, keys: tokenKeys };
}

/** Digest of the bearer in the Authorization header. */
export function bearerDigest(c: AppContext): string {
  return digestOf((c.req.header("Authorization") ?? "").slice("Bearer ".length).trim());
}

/** Whether a page of a foreign origin makes this request. */
export function isForeignPage(c: AppContext): boolean {
  return c.req.header("Origin") !== undefined && pageOrigin(c) === null;
}

function cookieScope(c: AppContext, origin: string): PassScope {
  return { purpose: "cookie", organisation: organisationOf(c.var.config), origin };
}
