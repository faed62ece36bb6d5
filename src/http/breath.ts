import { createMiddleware } from "hono/factory";
import type { AppEnv } from "./context.ts";

/** For so long requests run without a look at the sockets. */
const BREATH_MS = 250;

let lastBreathAt = 0;

/**
 * Under `npm start`, lets workerd look at its sockets and timers now and then. Its event loop does so only when
 * nothing else is left to do: a few busy connections starved all others, which it then closed as idle. Only a timer
 * makes a request wait for that moment.
 */
export const breath = createMiddleware<AppEnv>(async (c, next) => {
  if (c.var.config.localPlatform && Date.now() - lastBreathAt > BREATH_MS) {
    await scheduler.wait(0);
    lastBreathAt = Date.now();
  }
  await next();
});
