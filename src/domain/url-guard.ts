import { type BlockedClass, blockedClassOf4, blockedClassOf6 } from "./ip-address.ts";
import { Refusal } from "./refusal.ts";

export interface UrlPolicy {
  /** Open dev mode: loopback and private addresses may be called; link-local and metadata ones never. */
  readonly allowPrivate: boolean;
  /** A deployed Worker cannot fetch a bare IP address. */
  readonly requireHostname: boolean;
}

/** For the URL of a machine that the platform's own backend started: nobody else has named it. */
export const MACHINE_URL_POLICY: UrlPolicy = { allowPrivate: true, requireHostname: false };

export type UrlCheck = { readonly ok: true } | { readonly ok: false; readonly refusal: Refusal };

const SCHEME = /^([a-z][a-z0-9+.-]*):/i;
const IPV4 = /^\d+\.\d+\.\d+\.\d+$/;
const METADATA_NAMES: ReadonlySet<string> = new Set([
  "metadata",
  "metadata.goog",
  "metadata.google.internal",
  "instance-data",
  "instance-data.ec2.internal",
]);
const LOOPBACK_NAME = /^(?:(?:.*\.)?localhost|localhost\.localdomain|ip6-localhost|ip6-loopback)$/;
const PRIVATE_NAME = /^(?:[^.]+|.*\.(?:internal|local|localdomain|lan|home\.arpa))$/;

/**
 * Whether the platform may call an agent under this URL: at registration and again before each call. The URL parser
 * that `fetch` uses undoes every disguise first (decimal, octal, hexadecimal, short and full-width forms, percent
 * escapes), so what is judged is what would be called. What a public name resolves to is not known here; that a call
 * never leaves the public internet is the runtime's promise.
 */
export function checkPushUrl(url: string, policy: UrlPolicy): UrlCheck {
  if (url === "") return refused(new Refusal("registry.url_required"));
  const scheme = SCHEME.exec(url.trim())?.[1]?.toLowerCase() ?? "";
  if (scheme !== "http" && scheme !== "https") {
    const error = `url scheme must be http or https, got ${JSON.stringify(scheme)}`;
    return refused(new Refusal("registry.url_scheme", { error }));
  }
  const parsed = URL.parse(url);
  if (parsed === null) return invalid("cannot be parsed");
  if (parsed.username !== "" || parsed.password !== "") return invalid("must not carry a user name or password");

  const host = parsed.hostname.replace(/\.+$/, "");
  if (host === "") return invalid("has no host");
  const blocked = classOfHost(host);
  if (blocked !== null && !(policy.allowPrivate && (blocked === "loopback" || blocked === "private"))) {
    return refused(new Refusal("registry.url_blocked", { error: `url targets a blocked address: ${blocked}` }));
  }
  if (policy.requireHostname && isAddress(host)) {
    return invalid("must name a host, not an IP address", "Give the agent a host name, for example through a tunnel.");
  }
  return { ok: true };
}

function classOfHost(host: string): BlockedClass | null {
  if (host.startsWith("[")) return blockedClassOf6(host.slice(1, -1));
  if (IPV4.test(host)) return blockedClassOf4(host);
  if (METADATA_NAMES.has(host)) return "cloud metadata";
  if (LOOPBACK_NAME.test(host)) return "loopback";
  return PRIVATE_NAME.test(host) ? "private" : null;
}

function isAddress(host: string): boolean {
  return host.startsWith("[") || IPV4.test(host);
}

function invalid(reason: string, hint?: string): UrlCheck {
  const error = `url is not valid: ${reason}`;
  return refused(new Refusal("registry.url_invalid", hint === undefined ? { error } : { error, hint }));
}

function refused(refusal: Refusal): UrlCheck {
  return { ok: false, refusal };
}
