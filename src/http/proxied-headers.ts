import { equalSecret } from "../domain/credential.ts";
import type { AppContext } from "./context.ts";
import { foreignCookies } from "./cookies.ts";

/** What holds between two neighbours only, and what says who the neighbour is. */
const HOP_BY_HOP =
  /^(?:connection|keep-alive|proxy-.*|te|trailer|transfer-encoding|upgrade|sec-websocket-.*|content-length|host)$/;
/** What a proxy says of the one before it, which anybody could have said. */
const OF_PROXIES = /^(?:cf-.*|x-forwarded-.*|forwarded|x-real-ip|true-client-ip)$/;
/** Who may read an answer is ours to say. */
const NOT_PASSED_BACK =
  /^(?:connection|keep-alive|proxy-.*|trailer|transfer-encoding|upgrade|access-control-.*|cf-.*)$/;
/** A token of ours, whatever its checksum says. */
const OWN_TOKEN = /\bmolo?_[0-9A-Za-z]{71}/;

/** What goes on to the control plane: all that the browser sent, but none of our credentials. */
export function forwardHeaders(c: AppContext): Headers {
  const sent = c.req.raw.headers;
  const named = connectionNames(sent);
  const headers = new Headers();
  for (const [name, value] of sent) {
    if (name === "cookie" || named.has(name) || HOP_BY_HOP.test(name) || OF_PROXIES.test(name)) continue;
    if (!isOurs(value, c.var.config.adminTokens)) headers.append(name, value);
  }
  const cookies = foreignCookies(sent.get("Cookie") ?? undefined);
  if (cookies !== "") headers.set("Cookie", cookies);
  const { protocol, host } = new URL(c.req.url);
  const address = sent.get("CF-Connecting-IP");
  if (address !== null) headers.set("X-Forwarded-For", address);
  headers.set("X-Forwarded-Host", sent.get("Host") ?? host);
  headers.set("X-Forwarded-Proto", protocol.slice(0, -1));
  return headers;
}

/** What comes back: all of it, each cookie by itself. */
export function backwardHeaders(answered: Headers): Headers {
  const named = connectionNames(answered);
  const headers = new Headers();
  for (const [name, value] of answered) {
    if (!named.has(name) && !NOT_PASSED_BACK.test(name)) headers.append(name, value);
  }
  return headers;
}

/** Headers that the neighbour has declared to be for us alone. */
function connectionNames(headers: Headers): Set<string> {
  const names = (headers.get("Connection") ?? "").split(",");
  return new Set(names.map((name) => name.trim().toLowerCase()));
}

/** Whether a header is an operator's secret, under whatever scheme, or has a token of ours in it. */
function isOurs(value: string, adminTokens: readonly string[]): boolean {
  const secrets = [value.trim(), value.trim().replace(/^\S+\s+/, "")];
  return OWN_TOKEN.test(value) || adminTokens.some((token) => secrets.some((secret) => equalSecret(token, secret)));
}
