import { createMiddleware } from "hono/factory";
import { limitBadCredentials } from "./caller.ts";
import type { AppContext, AppEnv } from "./context.ts";

/** For so long an object that refused a token is not asked about it again. */
export const REFUSED_MS = 3_000;
export const REFUSED_TOKENS_MAX = 2_000;
/** Where a removed workspace tells its revoked token why. */
const STATE_PATH = /^\/workspaces\/[^/]+\/state$/;

/** When their objects refused them, by digest; the one refused first comes first. */
const refusedAt = new Map<string, number>();

/** Notes that an object did not know the bearer, and counts it by address like any other bad credential. */
export async function refuseToken(c: AppContext): Promise<void> {
  const { credential } = c.var;
  if (credential.kind !== "workspace") return;
  noteRefused(credential.digest);
  await limitBadCredentials(c);
}

/** Notes that whoever knows live tokens did not know this one. */
export function noteRefused(digest: string): void {
  if (refusedAt.size >= REFUSED_TOKENS_MAX) refusedAt.delete(refusedAt.keys().next().value ?? "");
  refusedAt.set(digest, Date.now());
}

/** A token that was refused a moment ago is a bad one without asking: whoever repeats it wakes nobody. */
export const refusedTokens = createMiddleware<AppEnv>(async (c, next) => {
  const { credential } = c.var;
  if (credential.kind === "workspace" && wasRefused(credential.digest) && !STATE_PATH.test(c.req.path)) {
    c.set("credential", { kind: "invalid" });
    await limitBadCredentials(c);
  }
  await next();
});

/** Whether this token was refused a moment ago. */
export function wasRefused(digest: string): boolean {
  const at = refusedAt.get(digest);
  if (at === undefined) return false;
  if (Date.now() - at < REFUSED_MS) return true;
  refusedAt.delete(digest);
  return false;
}
