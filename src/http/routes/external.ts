import { Hono } from "hono";
import { connectionPayload } from "../../connections/payload.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { WorkspaceId } from "../../domain/workspace-id.ts";
import type { MintedToken } from "../../durable-objects/workspace/token-store.ts";
import { log } from "../../log.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, workspaceOf } from "../context.ts";
import { mint } from "../mint.ts";
import { platformUrl } from "../platform-url.ts";

/** How an external agent connects: shown again without its token, or with a new one in place of all others. */
export const externalRoutes = new Hono<AppEnv>()
  .get("/workspaces/:id{[^/]*}/external/connection", async (c) => {
    const id = requiredId(c);
    await ask(c, workspaceOf(c, id).requireExternal({ access: workspaceAccess(c, id) }));
    return json({ connection: connectionPayload({ id, platformUrl: platformUrl(c), token: "" }) });
  })
  .post("/workspaces/:id{[^/]*}/external/rotate", async (c) => {
    const id = requiredId(c);
    const access = workspaceAccess(c, id);
    const { token, minted } = mintReplacement(c, id);
    await ask(c, workspaceOf(c, id).rotateCredentials({ access, minted }));
    return json({ connection: connectionPayload({ id, platformUrl: platformUrl(c), token }) });
  });

/** An empty id has words of its own, so the pattern lets it reach the handler. */
function requiredId(c: AppContext): WorkspaceId {
  if (c.req.param("id") === "") throw new Refusal("workspace.id_required");
  return workspaceIdParam(c);
}

/** Minted before anything is revoked: a platform that cannot mint leaves the agent connected. */
function mintReplacement(c: AppContext, id: WorkspaceId): { token: string; minted: MintedToken } {
  try {
    return mint(c, id);
  } catch (error) {
    log.error("external.mint_failed", {
      workspace_id: id,
      reason: error instanceof Refusal ? error.code : String(error),
      retry_with: `POST /workspaces/${id}/external/rotate`,
    });
    throw new Refusal("external.mint_failed");
  }
}
