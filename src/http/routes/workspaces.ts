import { Hono } from "hono";
import type * as z from "zod";
import { pushUrlPolicy } from "../../config.ts";
import { connectionPayload } from "../../connections/payload.ts";
import { pathInside } from "../../domain/file-path.ts";
import { modelSecrets } from "../../domain/machine-environment.ts";
import { NO_CONFIG } from "../../domain/org-node.ts";
import { jsonBytes } from "../../domain/org-template.ts";
import { Refusal } from "../../domain/refusal.ts";
import { DEFAULT_RUNTIME, defaultModel, EXTERNAL_RUNTIME, isExternal } from "../../domain/runtime.ts";
import { checkPushUrl } from "../../domain/url-guard.ts";
import { CREATE_WORKSPACE, checkCreation, workspaceAccessOf } from "../../domain/workspace-creation.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { needsRestart, readPatch, requireOwnFields } from "../../domain/workspace-patch.ts";
import type { Purged, Removed } from "../../durable-objects/directory/directory.ts";
import type { Creation } from "../../durable-objects/directory/tree.ts";
import { log } from "../../log.ts";
import { MACHINE_FILES_BYTES_MAX, machineFiles } from "../../org-import/machine-files.ts";
import { readTemplateSummary } from "../../org-import/read.ts";
import { defaultTier } from "../../provisioners/backend.ts";
import { json, jsonText, pendingMark } from "../answers.ts";
import { ask, settled } from "../ask.ts";
import { jsonBody, jsonObject } from "../body.ts";
import { adminOnly, workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";
import { mint, mintInboundSecret } from "../mint.ts";
import { platformUrl } from "../platform-url.ts";
import { templatesOf } from "../templates.ts";

const CONFIRM = "This workspace has sub-workspaces. Delete with ?confirm=true to cascade delete.";

type CreationBody = z.output<typeof CREATE_WORKSPACE>;

/** Workspaces: created, listed, looked at. */
export const workspaceRoutes = new Hono<AppEnv>()
  .post("/", adminOnly, async (c) => {
    const body = await jsonBody(c, CREATE_WORKSPACE, "workspace.invalid_payload");
    checkCreation(body);
    refuseUnsupported(body);
    const external = body.external === true || isExternal(body.runtime ?? "");
    return external ? createExternal(c, body) : createProvisioned(c, body);
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
    const access = workspaceAccess(c, id);
    await ask(c, workspaceOf(c, id).authorise({ access }));
    const patch = readPatch(await jsonObject(c));
    if (access.kind === "token") requireOwnFields(patch);
    const { pending } = await ask(c, directoryOf(c).patch({ id, patch }));
    const restart = needsRestart(patch) ? { needs_restart: true } : {};
    return json({ status: "updated", ...restart, ...pendingMark(pending) });
  })
  .delete("/:id", adminOnly, async (c) => {
    const id = workspaceIdParam(c);
    const input = { id, confirmed: c.req.query("confirm") === "true" };
    const directory = directoryOf(c);
    const ended = await ask<Removed | Purged>(
      c,
      c.req.query("purge") === "true" ? directory.purge(input) : directory.remove(input),
    );
    if (ended.kind !== "unconfirmed") {
      const { kind: status, cascade, stopsPending } = ended;
      const stops = stopsPending === 0 ? {} : { stops_pending: stopsPending };
      return json({ status, cascade_deleted: cascade, ...pendingMark(ended.pending), ...stops });
    }
    const { children } = ended;
    return json({ status: "confirmation_required", message: CONFIRM, children, children_count: children.length }, 409);
  });

/** What could not be kept is refused, not dropped without a word. */
function refuseUnsupported({ initial_memories: memories }: CreationBody): void {
  const fields = memories?.length ? ["initial_memories"] : [];
  if (fields.length > 0) throw new Refusal("workspace.unsupported_fields", { details: { fields } });
}

/** A workspace whose machine the platform runs; the answer does not wait for it. */
async function createProvisioned(c: AppContext, body: CreationBody): Promise<Response> {
  const id = crypto.randomUUID();
  const template = await templateOf(c, body.template || null);
  const runtime = body.runtime || template?.summary?.runtime || DEFAULT_RUNTIME;
  if (isExternal(runtime)) return createExternal(c, body);
  const model = body.model || template?.summary?.model || defaultModel(runtime);
  const tier = body.tier || defaultTier(c.var.config);
  const config = { ...NO_CONFIG, template: body.template || null };
  const files = machineFiles(
    { name: body.name, runtime, tier, model, config },
    { template: () => template?.files ?? null, folder: () => null },
  );
  if (jsonBytes(files) > MACHINE_FILES_BYTES_MAX) throw new Refusal("workspace.invalid_template");
  const payload = JSON.stringify({ name: body.name, tier, runtime });
  const created = await ask(
    c,
    directoryOf(c).create({
      ...rowOf(id, { ...body, model: body.model || template?.summary?.model }),
      tier,
      runtime,
      url: null,
      status: "provisioning",
      token: null,
      events: [{ event: "WORKSPACE_PROVISIONING", payload }],
      provision: { platformUrl: platformUrl(c), files },
    }),
  );
  return json(
    {
      id,
      ...(created.name === body.name ? {} : { name: created.name }),
      status: "provisioning",
      awareness_namespace: `workspace:${id}`,
      workspace_access: body.workspace_access || "none",
      ...(created.confirmed ? {} : { pending: true }),
    },
    201,
  );
}

/** The template that a creation names: its files and what its config.yaml says. One that is missing is no error. */
async function templateOf(c: AppContext, name: string | null) {
  if (name === null) return null;
  if (pathInside("", name) !== name) throw new Refusal("workspace.invalid_template");
  const files = await templatesOf(c).read("workspace", name);
  if (files === null) return null;
  return { files, summary: readTemplateSummary(name, files) };
}

/** What every creation takes from its body. */
function rowOf(
  id: string,
  body: CreationBody,
): Omit<Creation, "tier" | "runtime" | "url" | "status" | "token" | "events"> {
  const parentId = body.parent_id ?? null;
  if (parentId !== null && canonicalWorkspaceId(parentId) === null) throw new Refusal("workspace.invalid_parent");
  const mode = body.delivery_mode;
  return {
    id,
    name: body.name,
    role: body.role || null,
    parentId,
    workspaceDir: body.workspace_dir || null,
    workspaceAccess: workspaceAccessOf(body.workspace_access) ?? "none",
    x: body.canvas?.x ?? 0,
    y: body.canvas?.y ?? 0,
    maxConcurrentTasks: Math.max(1, body.max_concurrent_tasks ?? 1),
    budgetLimit: body.budget_limit ?? null,
    deliveryMode: mode === "push" || mode === "poll" ? mode : null,
    agentCard: null,
    inboundSecret: mintInboundSecret(),
    suffixTakenName: true,
    secrets: { ...(body.model ? modelSecrets(body.model) : {}), ...body.secrets },
  };
}

/** The token that a creation shows once; null where none can be minted, which rotating makes up for. */
function firstToken(c: AppContext, id: string): ReturnType<typeof mint> | null {
  try {
    return mint(c, id);
  } catch (error) {
    const reason = error instanceof Refusal ? error.code : "unknown";
    log.error("external.mint_failed", {
      workspace_id: id,
      reason,
      retry_with: `POST /workspaces/${id}/external/rotate`,
    });
    return null;
  }
}

/** An external workspace waits for its agent, its token is shown once; one with a URL is online already. */
async function createExternal(c: AppContext, body: CreationBody): Promise<Response> {
  const id = crypto.randomUUID();
  const url = body.url || null;
  if (url !== null) {
    const check = checkPushUrl(url, pushUrlPolicy(c.var.config));
    if (!check.ok) throw check.refusal;
  }
  const status = url === null ? "awaiting_agent" : "online";
  const first = url === null ? firstToken(c, id) : null;
  const tier = body.tier || defaultTier(c.var.config);
  const named = JSON.stringify({ name: body.name, external: true });
  const created = await ask(
    c,
    directoryOf(c).create({
      ...rowOf(id, body),
      tier,
      runtime: EXTERNAL_RUNTIME,
      url,
      status,
      token: first && { ...first.minted, registration: null },
      events: [
        {
          event: "WORKSPACE_PROVISIONING",
          payload: JSON.stringify({ name: body.name, tier, runtime: EXTERNAL_RUNTIME }),
        },
        { event: url === null ? "WORKSPACE_AWAITING_AGENT" : "WORKSPACE_ONLINE", payload: named },
      ],
    }),
  );
  return json(
    {
      id,
      ...(created.name === body.name ? {} : { name: created.name }),
      external: true,
      status,
      ...(created.confirmed ? {} : { pending: true }),
      ...(url === null
        ? { connection: connectionPayload({ id, platformUrl: platformUrl(c), token: first?.token ?? "" }) }
        : {}),
    },
    201,
  );
}
