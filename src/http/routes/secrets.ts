import { Hono } from "hono";
import * as z from "zod";
import {
  checkSecret,
  requireSecretKey,
  SET_SECRET,
  type Setting,
  secretView,
  workspaceSecretViews,
} from "../../domain/secret.ts";
import { checkSetting } from "../../domain/workspace-creation.ts";
import type { WorkspaceId } from "../../domain/workspace-id.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { adminOnly, workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";

const SET_MODEL = z.object({ model: z.string() });
const SET_PROVIDER = z.object({ provider: z.string() });

/** Secrets of a workspace and of the organisation. Values come in, and never out; model and provider are no secrets. */
export const secretRoutes = new Hono<AppEnv>()
  .get("/workspaces/:id/secrets", async (c) => {
    const workspaceId = await authorised(c);
    return json(workspaceSecretViews(await ask(c, directoryOf(c).listSecrets({ workspaceId }))));
  })
  .on(["PUT", "POST"], "/workspaces/:id/secrets", async (c) => {
    const workspaceId = await authorised(c);
    return json({ status: "saved", key: await set(c, workspaceId) });
  })
  .delete("/workspaces/:id/secrets/:key", async (c) => {
    const workspaceId = await authorised(c);
    return json({ status: "deleted", key: await remove(c, workspaceId, c.req.param("key")) });
  })
  .get("/workspaces/:id/model", async (c) => showSetting(c, "model"))
  .put("/workspaces/:id/model", async (c) => {
    const workspaceId = await authorised(c);
    return choose(c, workspaceId, "model", (await jsonBody(c, SET_MODEL)).model);
  })
  .get("/workspaces/:id/provider", async (c) => showSetting(c, "provider"))
  .put("/workspaces/:id/provider", async (c) => {
    const workspaceId = await authorised(c);
    return choose(c, workspaceId, "provider", (await jsonBody(c, SET_PROVIDER)).provider);
  })
  .get("/settings/secrets", adminOnly, listGlobal)
  .on(["PUT", "POST"], "/settings/secrets", adminOnly, setGlobal)
  .delete("/settings/secrets/:key", adminOnly, deleteGlobal)
  .get("/admin/secrets", adminOnly, listGlobal)
  .post("/admin/secrets", adminOnly, setGlobal)
  .delete("/admin/secrets/:key", adminOnly, deleteGlobal);

async function listGlobal(c: AppContext): Promise<Response> {
  const { global } = await ask(c, directoryOf(c).listSecrets({ workspaceId: null }));
  return json(global.map((entry) => secretView(entry, "global")));
}

async function setGlobal(c: AppContext): Promise<Response> {
  return json({ status: "saved", key: await set(c, null), scope: "global" });
}

async function deleteGlobal(c: AppContext): Promise<Response> {
  return json({ status: "deleted", key: await remove(c, null, c.req.param("key") ?? ""), scope: "global" });
}

/** The workspace's object says whether this bearer is good for it; the Directory keeps the secrets. */
async function authorised(c: AppContext): Promise<WorkspaceId> {
  const id = workspaceIdParam(c);
  await ask(c, workspaceOf(c, id).authorise({ access: workspaceAccess(c, id) }));
  return id;
}

async function set(c: AppContext, workspaceId: string | null): Promise<string> {
  const { key, value } = await jsonBody(c, SET_SECRET);
  checkSecret(key, value);
  await ask(c, directoryOf(c).setSecret({ workspaceId, key, value }));
  return key;
}

async function remove(c: AppContext, workspaceId: string | null, key: string): Promise<string> {
  requireSecretKey(key);
  await ask(c, directoryOf(c).deleteSecret({ workspaceId, key }));
  return key;
}

async function showSetting(c: AppContext, setting: Setting): Promise<Response> {
  const workspaceId = await authorised(c);
  const value = await ask(c, directoryOf(c).setting({ workspaceId, setting }));
  return json({ [setting]: value ?? "", source: value === null ? "default" : "workspace_secrets" });
}

async function choose(c: AppContext, workspaceId: string, setting: Setting, value: string): Promise<Response> {
  checkSetting(setting, value);
  if (value === "") {
    await ask(c, directoryOf(c).choose({ workspaceId, setting, value: null }));
    return json({ status: "cleared" });
  }
  await ask(c, directoryOf(c).choose({ workspaceId, setting, value }));
  return json({ status: "saved", [setting]: value });
}
