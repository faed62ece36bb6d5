import { Hono } from "hono";
import { Refusal } from "../../domain/refusal.ts";
import { DAILY_CRON, SWEEP_CRON, scheduled } from "../../sweeper/scheduled.ts";
import { json } from "../answers.ts";
import type { AppEnv } from "../context.ts";

const CRONS = [SWEEP_CRON, DAILY_CRON];

/** What `npm start` adds; a deployment answers 404. */
export const localRoutes = new Hono<AppEnv>().get("/cdn-cgi/handler/scheduled", async (c) => {
  if (!c.var.config.localPlatform) throw new Refusal("route.unknown");
  const cron = c.req.query("cron") || SWEEP_CRON;
  if (!CRONS.includes(cron)) {
    const details = { field: "cron", allowed: CRONS };
    throw new Refusal("request.invalid", { error: "unknown cron expression", hint: "Use one of allowed.", details });
  }
  await scheduled({ cron }, c.env, true);
  return json({ outcome: "ok", cron });
});
