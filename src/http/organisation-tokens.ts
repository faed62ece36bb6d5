import type { ShownOrganisationToken } from "../durable-objects/directory/organisation-token-store.ts";
import { ask } from "./ask.ts";
import { type AppContext, directoryOf, organisationOf } from "./context.ts";

/** For so long a live token of the organisation is not asked about again: a revoked one is good until then. */
export const VERIFIED_MS = 30_000;
const VERIFIED_MAX = 2_000;

/** When the Directory was asked about those that it knew, the one asked about first in front. */
const verifiedAt = new Map<string, number>();

/** Whether a token of the organisation is live: the Directory knows, and this isolate for a while after it. */
export async function isLiveOrganisationToken(c: AppContext, { id, digest }: ShownOrganisationToken): Promise<boolean> {
  const key = `${organisationOf(c.var.config)} ${id} ${digest ?? ""}`;
  const now = Date.now();
  if (now - (verifiedAt.get(key) ?? Number.NEGATIVE_INFINITY) < VERIFIED_MS) return true;
  verifiedAt.delete(key);
  if (!(await ask(c, directoryOf(c).verifyOrganisationToken({ id, digest })))) return false;
  if (verifiedAt.size >= VERIFIED_MAX) verifiedAt.delete(verifiedAt.keys().next().value ?? "");
  verifiedAt.set(key, now);
  return true;
}

/** After a revocation this isolate asks about each of them again; others do within `VERIFIED_MS`. */
export function forgetVerifiedTokens(): void {
  verifiedAt.clear();
}
