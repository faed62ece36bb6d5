import type { AppContext } from "./context.ts";

/** The URL under which agents reach this platform: configured, or the one of this request. No trailing slash. */
export function platformUrl(c: AppContext): string {
  const { externalPlatformUrl } = c.var.config;
  return externalPlatformUrl === "" ? new URL(c.req.url).origin : externalPlatformUrl;
}
