import { createMiddleware } from "hono/factory";
import { type Credential, limitBadCredentials, readCredential } from "./caller.ts";
import type { AppContext, AppEnv } from "./context.ts";
import { isLiveOrganisationToken } from "./organisation-tokens.ts";
import { noteRefused, wasRefused } from "./refused-tokens.ts";

/** Puts the credential on the context; bad ones are limited by address before any workspace is touched. */
export const caller = createMiddleware<AppEnv>(async (c, next) => {
  const credential = await identify(c, c.req.header("Authorization"));
  c.set("credential", credential);
  if (credential.kind === "invalid") await limitBadCredentials(c);
  await next();
});

/** The credential in a header. A token of the organisation counts only once the Directory has said that it is live. */
export async function identify(c: AppContext, header: string | undefined): Promise<Credential> {
  const shown = readCredential(header, c.var.config);
  if (shown.kind !== "claim") return shown;
  if (wasRefused(shown.digest)) return { kind: "invalid", formed: true };
  if (await isLiveOrganisationToken(c, shown)) return { kind: "organisation", id: shown.id };
  noteRefused(shown.digest);
  return { kind: "invalid", formed: true };
}
