import { Refusal } from "../domain/refusal.ts";
import type { VerifiedCaller } from "../durable-objects/workspace/workspace.ts";
import { ask } from "./ask.ts";
import { type AppContext, workspaceOf } from "./context.ts";

const PLATFORM_PREFIX = /^(?:webhook|system|test|channel):/;

/**
 * Who sends a message: the workspace of the bearer, whose object verifies it; null for a person at the canvas or an
 * operator. The two caller headers may repeat what the bearer says; they never decide anything.
 */
export async function senderOf(c: AppContext): Promise<VerifiedCaller | null> {
  const claims = [c.req.header("X-Workspace-ID"), c.req.header("X-Source-Workspace-Id")].filter(
    (claim): claim is string => claim !== undefined && claim !== "",
  );
  if (claims.some((claim) => PLATFORM_PREFIX.test(claim))) throw new Refusal("a2a.invalid_caller");
  const { credential, config } = c.var;
  switch (credential.kind) {
    case "invalid":
      throw new Refusal("auth.invalid_caller_token");
    case "none":
      if (claims.length > 0 || !config.devMode) throw new Refusal("auth.missing_caller_token");
      return null;
    case "admin":
    case "organisation":
    case "session":
      if (claims.length > 0) throw new Refusal("auth.invalid_caller_token");
      return null;
    case "workspace":
      if (claims.some((claim) => claim !== credential.id)) throw new Refusal("auth.caller_mismatch");
      return verified(c, credential.id, credential.digest);
  }
}

async function verified(c: AppContext, id: string, digest: string): Promise<VerifiedCaller> {
  try {
    return await ask(c, workspaceOf(c, id).verify({ access: { kind: "token", digest }, sending: true }));
  } catch (error) {
    if (error instanceof Refusal && error.code === "auth.invalid_token") throw new Refusal("auth.invalid_caller_token");
    throw error;
  }
}
