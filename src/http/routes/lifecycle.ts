import { Hono } from "hono";
import * as z from "zod";
import { isJsonObject, parseJsonText } from "../../domain/json-text.ts";
import { Refusal } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import { isStorableText } from "../../domain/text.ts";
import { hasProvisioner } from "../../provisioners/backend.ts";
import { ConsoleFailure, provisionerOf } from "../../provisioners/dispatcher.ts";
import { json, pendingMark } from "../answers.ts";
import { ask } from "../ask.ts";
import { authorised } from "../authorised.ts";
import { bodyText, jsonBody } from "../body.ts";
import { adminOnly, workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";
import { platformUrl } from "../platform-url.ts";

const EXTERNAL_RESTART =
  "external workspaces are operator-driven — restart your local poller; platform has nothing to restart";
const BOOTSTRAP_FAILED = z.object({
  error: z.string().refine(isStorableText).nullish(),
  log_tail: z.string().refine(isStorableText).nullish(),
});

/** What is done with the machine of a workspace. Answers come before the machine has followed. */
export const lifecycleRoutes = new Hono<AppEnv>()
  .post("/workspaces/:id/restart", async (c) => {
    const id = await authorised(c);
    const resetSession = await wantsReset(c);
    const order = { id, hasBackend: hasProvisioner(c.var.config), platformUrl: platformUrl(c), resetSession };
    const { runtime, pending } = await ask(c, directoryOf(c).restart(order));
    if (isExternal(runtime)) return json({ status: "noop", runtime, message: EXTERNAL_RESTART });
    return json({
      status: "provisioning",
      config_dir: "existing-volume",
      reset_session: resetSession,
      ...pendingMark(pending),
    });
  })
  .post("/workspaces/:id/pause", async (c) => {
    const id = await authorised(c);
    const { count, pending } = await ask(c, directoryOf(c).pause({ id }));
    return json({ status: "paused", paused_count: count, ...pendingMark(pending) });
  })
  .post("/workspaces/:id/resume", async (c) => {
    const id = await authorised(c);
    const order = { id, platformUrl: platformUrl(c), hasBackend: hasProvisioner(c.var.config) };
    const { count, pending } = await ask(c, directoryOf(c).resume(order));
    return json({ status: "provisioning", resumed_count: count, ...pendingMark(pending) });
  })
  .post("/workspaces/:id/hibernate", async (c) => {
    const id = workspaceIdParam(c);
    const order = { access: workspaceAccess(c, id), force: c.req.query("force") === "true" };
    const status = await ask(c, workspaceOf(c, id).hibernate(order));
    return json({ status: "hibernated", ...pendingMark(status !== "hibernated") });
  })
  .post("/workspaces/:id/collapse", async (c) => {
    const id = await authorised(c);
    const { removed, pending } = await ask(c, directoryOf(c).collapse({ id }));
    return json({ status: "collapsed", removed, ...pendingMark(pending) });
  })
  .get("/workspaces/:id/console", adminOnly, async (c) => {
    const id = workspaceIdParam(c);
    return json({ output: await consoleOf(c, id) });
  })
  .post("/admin/workspaces/:id/bootstrap-failed", adminOnly, async (c) => {
    const id = workspaceIdParam(c);
    const { error, log_tail: logTail } = await jsonBody(c, BOOTSTRAP_FAILED);
    const changed = await ask(c, workspaceOf(c, id).bootstrapFailed({ error: error ?? "", logTail: logTail ?? "" }));
    return json({ ok: true, ...(changed ? {} : { no_change: true }) });
  });

/** `?reset=true`, or the body's `reset`; a body that is none is ignored. */
async function wantsReset(c: AppContext): Promise<boolean> {
  if (c.req.query("reset") === "true") return true;
  const body = parseJsonText(await bodyText(c))?.value;
  return isJsonObject(body) && "reset" in body && body.reset === true;
}

async function consoleOf(c: AppContext, id: string): Promise<string> {
  try {
    const output = (await provisionerOf(c.env)?.console(id)) ?? null;
    if (output === null) throw new Refusal("console.unavailable");
    return output;
  } catch (error) {
    if (error instanceof ConsoleFailure) throw new Refusal("console.failed");
    throw error;
  }
}
