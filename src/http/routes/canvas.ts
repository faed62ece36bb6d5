import { Hono } from "hono";
import * as z from "zod";
import { Refusal } from "../../domain/refusal.ts";
import { json, jsonText } from "../answers.ts";
import { ask, settled } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { operatorAccess } from "../caller.ts";
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

/** An operator, or any workspace with a live token; the organisation's tokens are for programs and refused. */
async function requireMember(c: AppContext): Promise<void> {
  const { credential } = c.var;
  if (credential.kind === "organisation") throw new Refusal("auth.invalid_admin_token");
  if (credential.kind !== "workspace") {
    operatorAccess(c);
    return;
  }
  await ask(c, workspaceOf(c, credential.id).authorise({ access: { kind: "token", digest: credential.digest } }));
}
