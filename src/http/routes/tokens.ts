import { Hono } from "hono";
import { microsToTimestamp } from "../../domain/activity.ts";
import { Refusal } from "../../domain/refusal.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, workspaceOf } from "../context.ts";
import { mint } from "../mint.ts";

const LIST_DEFAULT = 50;
const LIST_MAX = 200;
const SAVE_NOW = "Save this token now — it cannot be retrieved again.";

/** Workspace tokens: live ones listed, a new one shown once. */
export const tokenRoutes = new Hono<AppEnv>()
  .get("/workspaces/:id/tokens", async (c) => {
    const id = workspaceIdParam(c);
    const limit = whole(c.req.query("limit"), 1, LIST_MAX) ?? LIST_DEFAULT;
    const offset = whole(c.req.query("offset"), 0, Number.MAX_SAFE_INTEGER) ?? 0;
    const tokens = await ask(c, workspaceOf(c, id).listTokens({ access: workspaceAccess(c, id), limit, offset }));
    const shown = tokens.map((token) => ({
      id: token.id,
      prefix: token.prefix,
      created_at: microsToTimestamp(token.createdAt),
      last_used_at: token.lastUsedAt === null ? null : microsToTimestamp(token.lastUsedAt),
    }));
    return json({ tokens: shown, count: shown.length });
  })
  .post("/workspaces/:id/tokens", async (c) => {
    const id = workspaceIdParam(c);
    const { token, minted } = mint(c, id);
    await ask(c, workspaceOf(c, id).addToken({ access: workspaceAccess(c, id), minted }));
    return json({ auth_token: token, workspace_id: id, message: SAVE_NOW }, 201);
  })
  .delete("/workspaces/:id/tokens/:tokenId", async (c) => {
    const id = workspaceIdParam(c);
    const tokenId = c.req.param("tokenId");
    await ask(c, workspaceOf(c, id).revokeToken({ access: workspaceAccess(c, id), tokenId }));
    return json({ status: "revoked" });
  })
  .get("/admin/workspaces/:id/test-token", async (c) => {
    requireTestTokens(c);
    const id = workspaceIdParam(c);
    const { token, minted } = mint(c, id);
    await ask(c, workspaceOf(c, id).addToken({ access: { kind: "admin" }, minted }));
    return json({ auth_token: token, workspace_id: id });
  });

/** Never in production; where an operator has a bearer, only with it; else only in open dev mode. */
function requireTestTokens(c: AppContext): void {
  const { config, credential } = c.var;
  if (config.production && !config.testTokens) throw new Refusal("route.not_found");
  const open = credential.kind === "none" && config.devMode;
  if (!open && credential.kind !== "admin") throw new Refusal("auth.admin_required");
}

function whole(text: string | undefined, min: number, max: number): number | null {
  const number = text !== undefined && /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return number >= min && number <= max ? number : null;
}
