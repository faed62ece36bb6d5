import { createMiddleware } from "hono/factory";
import type { Config } from "../config.ts";
import type { Access } from "../domain/access.ts";
import { digestOf, equalSecret, readToken, type Token } from "../domain/credential.ts";
import { Refusal } from "../domain/refusal.ts";
import { canonicalWorkspaceId, type WorkspaceId } from "../domain/workspace-id.ts";
import type { AppContext, AppEnv } from "./context.ts";

/**
 * Who calls. A workspace's token is only well-formed here, its object knows if it lives; one of the organisation is
 * live. `formed`: a bearer with the right checksum, but no longer a good one. A session is that of a user for whom the
 * control plane has vouched.
 */
export type Credential =
  | { readonly kind: "none" }
  | { readonly kind: "invalid"; readonly formed?: true }
  | { readonly kind: "admin" }
  | { readonly kind: "organisation"; readonly id: string }
  | { readonly kind: "session"; readonly userId: string }
  | { readonly kind: "workspace"; readonly id: WorkspaceId; readonly digest: string };

/** A well-formed token of the organisation, which the Directory has yet to know. */
export interface OrganisationClaim {
  readonly kind: "claim";
  readonly id: string;
  readonly digest: string;
}

const BEARER = "Bearer ";
/** Tokens remembered for one set of keys; beyond it the one that was met first goes. */
const KNOWN_TOKENS_MAX = 2_000;

/** Reads the bearer: exact scheme, rest trimmed, nothing looked up anywhere. */
export function readCredential(header: string | undefined, config: Config): Credential | OrganisationClaim {
  if (!header?.startsWith(BEARER)) return { kind: "none" };
  const bearer = header.slice(BEARER.length).trim();
  if (bearer === "") return { kind: "none" };
  if (config.adminTokens.some((token) => equalSecret(token, bearer))) return { kind: "admin" };
  // Agents take a 401 for a revocation, so a platform that lost its key must not answer with one.
  if (config.tokenKeys.length === 0) throw new Refusal("token.key_missing");
  const digest = digestOf(bearer);
  const token = knownToken(bearer, digest, config.tokenKeys);
  if (token === null) return { kind: "invalid" };
  if (token.kind === "org") return { kind: "claim", id: token.id, digest };
  return { kind: "workspace", id: token.id, digest };
}

const knownTokens = new WeakMap<readonly string[], Map<string, Token>>();

/** Checks a token's form once and then knows it by its digest; that the token is live still only its object says. */
function knownToken(bearer: string, digest: string, keys: readonly string[]): Token | null {
  const known = knownTokens.get(keys) ?? new Map<string, Token>();
  knownTokens.set(keys, known);
  const before = known.get(digest);
  if (before) return before;
  const token = readToken(bearer, keys);
  if (!token) return null;
  if (known.size >= KNOWN_TOKENS_MAX) known.delete(known.keys().next().value ?? "");
  known.set(digest, token);
  return token;
}

/** Refuses an address that has shown too many bad credentials; called for each of them. */
export async function limitBadCredentials(c: AppContext): Promise<void> {
  if (await withinBadCredentialLimit(c)) return;
  throw new Refusal("request.rate_limited", { details: { retry_after: 60 }, retryAfter: 60 });
}

async function withinBadCredentialLimit(c: AppContext): Promise<boolean> {
  const limiter = c.env.BAD_CREDENTIALS;
  if (!limiter || c.var.config.devMode) return true;
  return (await limiter.limit({ key: addressKey(c.req.header("CF-Connecting-IP") ?? "unknown") })).success;
}

/** One key for an IPv4 address, one for an IPv6 /64: the least that one party surely shares. */
export function addressKey(address: string): string {
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const missing = tail === undefined ? 0 : Math.max(0, 8 - left.length - right.length);
  return [...left, ...Array<string>(missing).fill("0"), ...right].slice(0, 4).join(":");
}

/** The `:id` of the path in its one spelling. */
export function workspaceIdParam(c: AppContext): WorkspaceId {
  const id = canonicalWorkspaceId(c.req.param("id") ?? "");
  if (id === null) throw new Refusal("workspace.invalid_id");
  return id;
}

/** WorkspaceAuth: the workspace's own token, an operator, a user, or in open dev mode nobody in particular. */
export function workspaceAccess(c: AppContext, id: string): Access {
  const { credential, config } = c.var;
  switch (credential.kind) {
    case "admin":
      return { kind: "admin" };
    case "organisation":
      return { kind: "organisation", id: credential.id };
    case "session":
      return { kind: "canvas", userId: credential.userId };
    case "workspace":
      if (credential.id !== id) throw new Refusal("auth.invalid_token");
      return { kind: "token", digest: credential.digest };
    case "invalid":
      throw new Refusal("auth.invalid_token");
    case "none":
      if (config.devMode) return { kind: "canvas" };
      throw new Refusal("auth.missing_token");
  }
}

/** AdminAuth: an operator, a user, or in open dev mode a call without any bearer. */
export function operatorAccess(c: AppContext): Access {
  const { credential, config } = c.var;
  switch (credential.kind) {
    case "admin":
      return { kind: "admin" };
    case "organisation":
      return { kind: "organisation", id: credential.id };
    case "session":
      return { kind: "canvas", userId: credential.userId };
    case "workspace":
    case "invalid":
      throw new Refusal("auth.invalid_admin_token");
    case "none":
      if (config.devMode) return { kind: "canvas" };
      throw new Refusal("auth.admin_required");
  }
}

/** The middleware form of `operatorAccess`. */
export const adminOnly = createMiddleware<AppEnv>(async (c, next) => {
  operatorAccess(c);
  await next();
});
