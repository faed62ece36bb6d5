import { digestOf } from "../domain/credential.ts";
import type { HubListener, ListenerCredential, ListenRequest } from "../domain/hub-listener.ts";
import { Refusal } from "../domain/refusal.ts";
import {
  COOKIE_LIFETIME_MS,
  issuePass,
  type PassScope,
  readPass,
  type SocketPass,
  standsForToken,
  TICKET_LIFETIME_MS,
} from "../domain/socket-pass.ts";
import { canonicalWorkspaceId } from "../domain/workspace-id.ts";
import { ask } from "./ask.ts";
import { type Credential, limitBadCredentials, workspaceAccess } from "./caller.ts";
import { type AppContext, organisationOf, workspaceOf } from "./context.ts";
import { identify } from "./identify.ts";
import { verifySession } from "./session.ts";
import {
  acceptedCredentials,
  bearerDigest,
  cookiePass,
  isForeignPage,
  livePass,
  OPEN_CREDENTIAL,
  operatorPassCredential,
  SESSION_CREDENTIAL,
} from "./socket-cookie.ts";

/** The subprotocol of a socket whose credential travels as another one, because pages cannot set headers. */
const EVENTS_PROTOCOL = "posthouse.events";
const BEARER_PROTOCOL = "posthouse.bearer.";

/** Who may listen on `/ws`, and the subprotocol to confirm. */
export interface Admission extends Pick<ListenRequest, "listener" | "ticket"> {
  readonly protocol: string | null;
}

/**
 * Judges a handshake: an agent by its own token, an operator by bearer, ticket or cookie, and in open dev mode a
 * page that shows nothing. A page of a foreign origin is refused first, whatever it shows.
 */
export async function admit(c: AppContext): Promise<Admission> {
  if (c.req.header("Authorization") === undefined && isForeignPage(c)) throw new Refusal("hub.foreign_origin");
  const { credential, digest, protocol } = await presented(c);
  if (c.req.header("X-Workspace-ID") || credential.kind === "workspace") {
    return { listener: await agentListener(c, credential), ticket: null, protocol };
  }
  const ticket = credential.kind === "none" ? await ticketPass(c) : null;
  const pass = ticket ?? (credential.kind === "none" ? await cookiePass(c) : null);
  // A ticket lets in once; a cookie must be renewed.
  const cookieEnd = ticket === null && pass !== null ? pass.expiresAt : null;
  const shown = pass ? listenerCredential(pass.credential) : await operator(c, credential, digest);
  const until = shown.kind === "session" ? sessionEnd() : cookieEnd;
  return { listener: { filter: { kind: "all" }, format: "frame", credential: shown, until }, ticket, protocol };
}

/** Nobody tells the hub that somebody has signed out, so a session is shown again as often as a cookie. */
function sessionEnd(): number {
  return Date.now() + COOKIE_LIFETIME_MS;
}

/** Who may read a workspace's event stream: whoever passes WorkspaceAuth, or a page with the cookie. */
export async function streamListener(c: AppContext, workspaceId: string): Promise<HubListener> {
  const pass = c.var.credential.kind === "none" ? await cookiePass(c) : null;
  if (pass === null) await verifySession(c);
  const access = pass ? ({ kind: "admin" } as const) : workspaceAccess(c, workspaceId);
  await ask(c, workspaceOf(c, workspaceId).verify({ access }));
  const filter = { kind: "one", workspaceId } as const;
  const listener = (credential: ListenerCredential, until = pass?.expiresAt ?? null): HubListener => {
    return { filter, format: "stream", credential, until };
  };
  switch (access.kind) {
    case "token":
      return listener({ kind: "workspace", id: workspaceId, digest: access.digest });
    case "admin":
      return listener(listenerCredential(pass?.credential ?? bearerDigest(c)));
    case "organisation":
      return listener(access);
    case "canvas":
      return access.userId === undefined ? listener({ kind: "open" }) : listener({ kind: "session" }, sessionEnd());
  }
}

/** A ticket for one socket, in the name of the operator who asks. */
export function issueTicket(c: AppContext): string {
  const [key] = c.var.config.tokenKeys;
  if (key === undefined) throw new Refusal("token.key_missing");
  const expiresAt = Date.now() + TICKET_LIFETIME_MS;
  const holder = c.var.credential.kind === "session" ? SESSION_CREDENTIAL : OPEN_CREDENTIAL;
  const credential = operatorPassCredential(c) ?? holder;
  return issuePass(ticketScope(c), { credential, expiresAt, nonce: crypto.randomUUID() }, key);
}

interface Presented {
  readonly credential: Credential;
  /** Digest of the bearer. */
  readonly digest: string;
  readonly protocol: string | null;
}

/** The bearer of the header, else the one among the subprotocols. */
async function presented(c: AppContext): Promise<Presented> {
  const { credential } = c.var;
  const offered = await fromProtocols(c);
  if (credential.kind !== "none") return { credential, digest: bearerDigest(c), protocol: offered.protocol };
  if (offered.credential.kind === "invalid") await limitBadCredentials(c);
  return offered;
}

async function fromProtocols(c: AppContext): Promise<Presented> {
  const offered = (c.req.header("Sec-WebSocket-Protocol") ?? "").split(",").map((name) => name.trim());
  const carrier = offered.find((name) => name.startsWith(BEARER_PROTOCOL));
  // A browser gives up when none of what it offered is confirmed; the secret is only where nothing else was offered.
  const protocol = offered.includes(EVENTS_PROTOCOL) ? EVENTS_PROTOCOL : (carrier ?? null);
  if (carrier === undefined) return { credential: { kind: "none" }, digest: "", protocol };
  const bearer = Buffer.from(carrier.slice(BEARER_PROTOCOL.length), "base64url").toString().trim();
  const credential = bearer === "" ? ({ kind: "invalid" } as const) : await identify(c, `Bearer ${bearer}`);
  return { credential, digest: digestOf(bearer), protocol };
}

async function agentListener(c: AppContext, credential: Credential): Promise<HubListener> {
  const claimed = c.req.header("X-Workspace-ID");
  if (claimed && canonicalWorkspaceId(claimed) === null) throw new Refusal("workspace.invalid_id");
  if (credential.kind === "none") throw new Refusal("auth.missing_token");
  if (credential.kind !== "workspace" || (claimed && claimed !== credential.id))
    throw new Refusal("auth.invalid_token");
  const { id, digest } = credential;
  const { path } = await ask(c, workspaceOf(c, id).verify({ access: { kind: "token", digest } }));
  return {
    filter: { kind: "kin", path },
    format: "frame",
    credential: { kind: "workspace", id, digest },
    until: null,
  };
}

/** What a pass stands for. */
function listenerCredential(credential: string): ListenerCredential {
  if (standsForToken(credential)) return { kind: "organisation", id: credential };
  if (credential === SESSION_CREDENTIAL) return { kind: "session" };
  return credential === OPEN_CREDENTIAL ? { kind: "open" } : { kind: "admin", digest: credential };
}

async function operator(c: AppContext, credential: Credential, digest: string): Promise<ListenerCredential> {
  if (credential.kind === "admin") return { kind: "admin", digest };
  if (credential.kind === "organisation") return credential;
  if (credential.kind === "none") await verifySession(c);
  if (c.var.credential.kind === "session") return { kind: "session" };
  if (credential.kind !== "none") throw new Refusal("auth.invalid_admin_token");
  if (!c.var.config.devMode) throw new Refusal("auth.admin_required");
  return { kind: "open" };
}

async function ticketPass(c: AppContext): Promise<SocketPass | null> {
  const ticket = c.req.query("ticket");
  if (ticket === undefined) return null;
  const pass = await livePass(c, readTicket(c, ticket));
  if (pass !== null) return pass;
  await limitBadCredentials(c);
  throw new Refusal("hub.invalid_ticket");
}

function readTicket(c: AppContext, ticket: string): SocketPass | null {
  return readPass(ticket, ticketScope(c), acceptedCredentials(c), Date.now());
}

function ticketScope(c: AppContext): PassScope {
  return { purpose: "ticket", organisation: organisationOf(c.var.config), origin: "" };
}
