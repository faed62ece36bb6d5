import type { AppContext } from "./context.ts";

/** Host names that no name server can point anywhere else. */
const LOOPBACK_HOST = /^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/;
/** Types of a body that a page may send to any site without a preflight; so it may a body without a type. */
const SIMPLE_TYPES = new Set(["", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"]);
/** Where pages listen: they can set no header there, and the route judges what they show instead. */
export const LISTENING_PATH = /^\/ws$|^\/workspaces\/[^/]+\/events\/stream$/;
/** All spellings of the platform's own origin are one: a proxy may change the scheme between two requests. */
export const OWN_ORIGIN = "own";
/** Where reading does something: no foreign page may even link there. */
const OPERATOR_PATH = /^\/(?:admin|cdn-cgi)(?:\/|$)/;

/**
 * Whether a web page makes this request that may not: one of a foreign origin, or one that reached the open local
 * platform under a name of its own by DNS rebinding. Programs send whatever Host and Origin they like.
 */
export function isRefusedPage(c: AppContext): boolean {
  const origin = c.req.header("Origin");
  if (origin !== undefined && c.var.config.corsOrigins.has(origin)) return false;
  if (!isOwnHost(c) && isBrowser(c) && !hasBearer(c)) return true;
  if (origin === undefined) return isFromOtherSite(c) && !isHarmlessLink(c);
  if (isOwnOrigin(c, origin)) return false;
  return isPreflight(c) || isFromOtherSite(c) || (c.var.config.devMode && isDrivable(c));
}

/** Origin equal to the scheme and host of the request, as agents send it; a trailing slash is forgiven. */
export function isOwnOrigin(c: AppContext, origin: string): boolean {
  const { externalPlatformUrl } = c.var.config;
  const bare = origin.replace(/\/$/, "");
  if (externalPlatformUrl !== "" && bare === externalPlatformUrl) return true;
  const host = c.req.header("Host") ?? "";
  return (
    isOwnHost(c) && (bare === `https://${host}` || bare === `http://${host}` || bare === new URL(c.req.url).origin)
  );
}

/** The page that makes this request; null when it is none that may. */
export function pageOrigin(c: AppContext): string | null {
  const origin = c.req.header("Origin");
  // Browsers leave Origin out of same-origin reads; no page can set Sec-Fetch-Site.
  if (origin === undefined) return c.req.header("Sec-Fetch-Site") === "same-origin" ? OWN_ORIGIN : null;
  if (isOwnOrigin(c, origin)) return OWN_ORIGIN;
  return c.var.config.corsOrigins.has(origin) ? origin : null;
}

export function isPreflight(c: AppContext): boolean {
  return c.req.method === "OPTIONS" && c.req.header("Access-Control-Request-Method") !== undefined;
}

/**
 * Whether the request came under a name that is surely the platform's. Only the open local platform has to ask: a
 * deployment is reached under its own names, and a closed one wants a credential, which no foreign page has.
 */
function isOwnHost(c: AppContext): boolean {
  const { localPlatform, devMode, externalPlatformUrl } = c.var.config;
  const host = c.req.header("Host");
  // Browsers always name a host.
  if (!localPlatform || !devMode || host === undefined) return true;
  return LOOPBACK_HOST.test(host) || host === URL.parse(externalPlatformUrl)?.host;
}

/**
 * Whether a browser made the request. A page can take none of these headers away; reads carry no Origin, though, and
 * nothing that goes to a name over plain http carries Sec-Fetch-Site.
 */
function isBrowser(c: AppContext): boolean {
  const marks = isRead(c) ? ["Origin", "Sec-Fetch-Site", "Accept-Language"] : ["Origin", "Sec-Fetch-Site"];
  return marks.some((name) => c.req.header(name) !== undefined);
}

/** Sec-Fetch-Site cannot be set by a page. */
function isFromOtherSite(c: AppContext): boolean {
  const site = c.req.header("Sec-Fetch-Site");
  return site !== undefined && site !== "none" && site !== "same-origin";
}

/** A link that somebody follows shows its answer to nobody but that person. */
function isHarmlessLink(c: AppContext): boolean {
  const isFollowed = c.req.header("Sec-Fetch-Mode") === "navigate" && c.req.header("Sec-Fetch-Dest") === "document";
  return isFollowed && isRead(c) && !OPERATOR_PATH.test(c.req.path);
}

/** What an old browser, without Sec-Fetch-Site, would do for any page without asking, and what has an effect. */
function isDrivable(c: AppContext): boolean {
  if (hasBearer(c)) return false;
  if (isRead(c)) return OPERATOR_PATH.test(c.req.path);
  const [type = ""] = (c.req.header("Content-Type") ?? "").split(";");
  return SIMPLE_TYPES.has(type.trim().toLowerCase());
}

/** Browsers send Origin with everything else. */
export function isRead(c: AppContext): boolean {
  return c.req.method === "GET" || c.req.method === "HEAD";
}

/** A wrong bearer is 401 in every mode, so a page wins nothing with one. */
function hasBearer(c: AppContext): boolean {
  return /^Bearer +[^ ]/.test(c.req.header("Authorization") ?? "");
}
