import { Hono } from "hono";
import * as z from "zod";
import { connectionPayload } from "../../connections/payload.ts";
import { actorOf } from "../../domain/access.ts";
import { Refusal, unwrap } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import type { RebuildSeed } from "../../domain/workspace-seed.ts";
import type { Standing } from "../../durable-objects/workspace/rebuild.ts";
import { json } from "../answers.ts";
import { ask, settled } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { adminOnly, operatorAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";
import { mint } from "../mint.ts";
import { platformUrl } from "../platform-url.ts";
import { REASON } from "../reason.ts";
import {
  beginEpoch,
  countsOf,
  planRebuild,
  type RebuildPlan,
  rebuildFromLedger,
  restoreFromBookmark,
} from "../rebuild.ts";

const ORDER = z.object({
  from: z.enum(["ledger", "bookmark"]).default("ledger"),
  at: z.iso.datetime({ offset: true }).nullish(),
  bookmark: z.string().min(1).max(200).nullish(),
  dry_run: z.boolean().default(false),
  force: z.boolean().default(false),
  reason: REASON,
});
type Order = z.output<typeof ORDER>;

const RESTART_HINT = "its old token is revoked: POST /workspaces/:id/restart gives it a machine with a new one";

/** Brings a workspace's object back: from directory and ledger, or as it was at an earlier moment. */
export const rebuildRoutes = new Hono<AppEnv>().post("/admin/workspaces/:id/rebuild", adminOnly, async (c) => {
  const id = workspaceIdParam(c);
  const order = await orderOf(c);
  unwrap((await settled(directoryOf(c).view({ id, includeRemoved: false }))).outcome);
  const standing = await ask(c, workspaceOf(c, id).rebuildStanding());
  const { from, dry_run: isRehearsal, force } = order;
  if (standing.state === "alive" && !force && !isRehearsal) throw new Refusal("rebuild.alive");
  const bookmark = from === "bookmark" ? await bookmarkOf(c, id, order, standing) : null;
  const planned = () => (bookmark === null ? planRebuild(c, id) : NOTHING);
  if (isRehearsal) {
    const counts = countsOf(await planned());
    return json({ dry_run: true, workspace_id: id, from, object: standing, bookmark, would_restore: counts });
  }
  const { token, minted } = mint(c, id);
  const seed = { ...(await beginEpoch(c, id)), platformUrl: platformUrl(c) };
  // Read only now: what an earlier object wrote until its epoch ended is in it, and nothing comes after.
  const plan = await planned();
  const counts = countsOf(plan);
  const { epoch, runtime } = seed;
  const actor = actorOf(operatorAccess(c), id);
  const done = { epoch, actor, reason: order.reason, from, counts, minted: isExternal(runtime) ? minted : null };
  if (bookmark === null) await rebuildFromLedger(c, standing, seed, plan, done);
  else await restoreFromBookmark(c, seed, bookmark, done);
  return json({ workspace_id: id, epoch, from, restored: counts, ...wayBack(c, seed, token) });
});

const NOTHING: RebuildPlan = { slices: [], sent: [], received: [], files: 0 };

/** A body is optional. */
async function orderOf(c: AppContext): Promise<Order> {
  const isBare = c.req.raw.body === null || c.req.header("Content-Length") === "0";
  return isBare ? ORDER.parse({}) : jsonBody(c, ORDER);
}

/**
 * That of a moment, or one that the object has kept itself. A good one is known before anything is changed: an object
 * whose epoch was raised in vain could not flush any more.
 */
async function bookmarkOf(
  c: AppContext,
  id: string,
  { at, bookmark }: Order,
  { bookmarks }: Standing,
): Promise<string> {
  if (at) return ask(c, workspaceOf(c, id).bookmarkAt({ at: Date.parse(at) }));
  const kept = bookmarks.find((known) => known.bookmark === bookmark);
  if (!kept) throw new Refusal("request.invalid", { details: { field: bookmark ? "bookmark" : "at" } });
  return kept.bookmark;
}

/** How the agent comes back, now that none of its tokens is good. */
function wayBack(c: AppContext, { id, runtime }: RebuildSeed, token: string) {
  if (!isExternal(runtime)) return { hint: RESTART_HINT };
  return { connection: connectionPayload({ id, platformUrl: platformUrl(c), token }) };
}
