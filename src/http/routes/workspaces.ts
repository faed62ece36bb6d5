import { Hono } from "hono";
import type * as z from "zod";
import { pushUrlPolicy } from "../../config.ts";
import { connectionPayload } from "../../connections/payload.ts";
import { Refusal } from "../../domain/refusal.ts";
import { checkPushUrl } from "../../domain/url-guard.ts";
import { CREATE_WORKSPACE, checkCreation } from "../../domain/workspace-creation.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { readPatch } from "../../domain/workspace-patch.ts";
import { json, jsonText } from "../answers.ts";
import { ask, settled } from "../ask.ts";
import { jsonBody, jsonObject } from "../body.ts";
import { adminOnly, workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";
import { mint, mintInboundSecret } from "../mint.ts";
import { platformUrl } from "../platform-url.ts";

/** The tier of a workspace that nobody gave one, where no control plane runs machines. */
const DEFAULT_TIER = 3;
const CONFIRM = "This workspace has sub-workspaces. Delete with ?confirm=true to cascade delete.";

/** Workspaces: created, listed, looked at. */
export const workspaceRoutes = new Hono<AppEnv>()
  .post("/", adminOnly, async (c) => {
    const body = await jsonBody(c, CREATE_WORKSPACE, "workspace.invalid_payload");
    checkCreation(body);
    refuseUnsupported(body);
    if (body.external !== true && body.runtime !== "external") throw new Refusal("workspace.no_backend");
    return createExternal(c, body);
  })
  .get("/", adminOnly, async (c) => jsonText(await settled(directoryOf(c).list())))
  .get("/:id", async (c) => {
    const includeRemoved = c.req.query("include_removed") === "true";
    return jsonText(await ask(c, directoryOf(c).view({ id: workspaceIdParam(c), includeRemoved })));
  })
  .get("/:id/state", async (c) => {
    const id = workspaceIdParam(c);
    const status = await ask(c, workspaceOf(c, id).state({ access: workspaceAccess(c, id) }));
    if (status === null) return json({ workspace_id: id, deleted: true }, 404);
    if (status === "removed") return json({ workspace_id: id, status, deleted: true }, 404);
    return json({ workspace_id: id, status, paused: status === "paused", deleted: false });
  })
  .patch("/:id", async (c) => {
    const id = workspaceIdParam(c);
    await ask(c, workspaceOf(c, id).authorise({ access: workspaceAccess(c, id) }));
    const patch = readPatch(await jsonObject(c));
    await ask(c, directoryOf(c).patch({ id, patch }));
    return json({ status: "updated", ...(patch.workspaceDir === undefined ? {} : { needs_restart: true }) });
  })
  .delete("/:id", adminOnly, async (c) => {
    const id = workspaceIdParam(c);
    if (c.req.query("purge") === "true") throw new Refusal("workspace.purge_unsupported");
    const removed = await ask(c, directoryOf(c).remove({ id, confirmed: c.req.query("confirm") === "true" }));
    if (removed.kind === "removed") return json({ status: "removed", cascade_deleted: removed.cascade });
    const { children } = removed;
    return json({ status: "confirmation_required", message: CONFIRM, children, children_count: children.length }, 409);
  });

/** What could not be kept is refused, not dropped without a word. */
function refuseUnsupported({ initial_memories: memories }: z.output<typeof CREATE_WORKSPACE>): void {
  const fields = memories?.length ? ["initial_memories"] : [];
  if (fields.length > 0) throw new Refusal("workspace.unsupported_fields", { details: { fields } });
}

/** An external workspace waits for its agent, its token is shown once; one with a URL is online already. */
async function createExternal(c: AppContext, body: z.output<typeof CREATE_WORKSPACE>): Promise<Response> {
  const id = crypto.randomUUID();
  const url = body.url || null;
  const parentId = body.parent_id ?? null;
  if (parentId !== null && canonicalWorkspaceId(parentId) === null) throw new Refusal("workspace.invalid_parent");
  if (url !== null) {
    const check = checkPushUrl(url, pushUrlPolicy(c.var.config));
    if (!check.ok) throw check.refusal;
  }
  const status = url === null ? "awaiting_agent" : "online";
  const { token, minted } = mint(c, id);
  const tier = body.tier ?? DEFAULT_TIER;
  const named = JSON.stringify({ name: body.name, external: true });
  const created = await ask(
    c,
    directoryOf(c).create({
      id,
      name: body.name,
      role: body.role || null,
      tier,
      runtime: "external",
      parentId,
      workspaceDir: body.workspace_dir || null,
      x: body.canvas?.x ?? 0,
      y: body.canvas?.y ?? 0,
      maxConcurrentTasks: Math.max(1, body.max_concurrent_tasks ?? 1),
      budgetLimit: body.budget_limit ?? null,
      deliveryMode: body.delivery_mode === "push" || body.delivery_mode === "poll" ? body.delivery_mode : null,
      url,
      agentCard: null,
      status,
      token: url === null ? { ...minted, registration: null } : null,
      events: [
        { event: "WORKSPACE_PROVISIONING", payload: JSON.stringify({ name: body.name, tier, runtime: "external" }) },
        { event: url === null ? "WORKSPACE_AWAITING_AGENT" : "WORKSPACE_ONLINE", payload: named },
      ],
      inboundSecret: mintInboundSecret(),
      suffixTakenName: true,
      secrets: body.secrets ?? {},
    }),
  );
  return json(
    {
      id,
      ...(created.name === body.name ? {} : { name: created.name }),
      external: true,
      status,
      ...(created.confirmed ? {} : { pending: true }),
      ...(url === null ? { connection: connectionPayload({ id, platformUrl: platformUrl(c), token }) } : {}),
    },
    201,
  );
}
