import { Hono } from "hono";
import * as z from "zod";
import { json, jsonText } from "../answers.ts";
import { ask, settled } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { requireAdmin } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";

const VIEWPORT = z.object({ x: z.number().nullish(), y: z.number().nullish(), zoom: z.number().nullish() });

/** What the canvas keeps for everybody who looks at it. */
export const canvasRoutes = new Hono<AppEnv>()
  .get("/canvas/viewport", async (c) => jsonText(await settled(directoryOf(c).viewport())))
  .put("/canvas/viewport", async (c) => {
    await requireMember(c);
    const { x, y, zoom } = await jsonBody(c, VIEWPORT, "viewport.invalid");
    await ask(c, directoryOf(c).setViewport({ x: x ?? 0, y: y ?? 0, zoom: zoom ?? 0 }));
    return json({ status: "saved" });
  });

/** An operator, or any workspace with a live token. */
async function requireMember(c: AppContext): Promise<void> {
  const { credential } = c.var;
  if (credential.kind !== "workspace") return requireAdmin(c);
  await ask(c, workspaceOf(c, credential.id).authorise({ access: { kind: "token", digest: credential.digest } }));
}
