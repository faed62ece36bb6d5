import { Hono } from "hono";
import { Refusal } from "../../domain/refusal.ts";
import { scheduled } from "../../sweeper/scheduled.ts";
import { json } from "../answers.ts";
import type { AppEnv } from "../context.ts";

/** What `npm start` adds; a deployment answers 404. */
export const localRoutes = new Hono<AppEnv>().get("/cdn-cgi/handler/scheduled", async (c) => {
  if (!c.var.config.localPlatform) throw new Refusal("route.unknown");
  const cron = c.req.query("cron") ?? "* * * * *";
  await scheduled({ cron }, c.env, true);
  return json({ outcome: "ok", cron });
});
