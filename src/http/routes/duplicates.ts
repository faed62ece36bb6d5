import { Hono } from "hono";
import * as z from "zod";
import type { DuplicateGroup, Sibling } from "../../domain/duplicate.ts";
import { Refusal } from "../../domain/refusal.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { json, pendingMark } from "../answers.ts";
import { ask, settled } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { adminOnly } from "../caller.ts";
import { type AppEnv, directoryOf } from "../context.ts";

const REMOVE = z.object({
  ids: z.array(z.string()).max(1_000).nullish(),
  all: z.boolean().nullish(),
  dry_run: z.boolean().nullish(),
});

/** Workspaces that were made several times, mostly by other systems. */
export const duplicateRoutes = new Hono<AppEnv>()
  .get("/admin/workspaces/duplicates", adminOnly, async (c) => {
    const groups = await settled(directoryOf(c).duplicates());
    return json({
      groups: groups.map((group) => ({
        name: group.name,
        parent_id: group.parentId,
        kept: keptOf(group),
        duplicates: group.duplicates.map(shown),
      })),
      count: groups.reduce((sum, { duplicates }) => sum + duplicates.length, 0),
    });
  })
  .post("/admin/workspaces/duplicates/remove", adminOnly, async (c) => {
    const { ids, all, dry_run: dryRun } = await jsonBody(c, REMOVE);
    if (!ids && all !== true) throw new Refusal("request.invalid", { hint: "Name ids, or send all:true." });
    const order = { ids: all === true ? null : (ids ?? []).map(canonical), dryRun: dryRun ?? false };
    // A Directory of an older release does not tell whom the removed ones were duplicates of.
    const { removed, kept = [], pending } = await ask(c, directoryOf(c).removeDuplicates(order));
    return json({
      dry_run: order.dryRun,
      removed,
      count: removed.length,
      kept: kept.map(keptOf),
      ...pendingMark(pending),
    });
  });

function canonical(given: string): string {
  const id = canonicalWorkspaceId(given);
  if (id === null) throw new Refusal("workspace.invalid_id");
  return id;
}

function shown({ id, name, status, createdAt, hasChildren }: Sibling) {
  return { id, name, status, created_at: new Date(createdAt).toISOString(), sub_workspaces: hasChildren };
}

function keptOf({ kept, keptFor }: DuplicateGroup) {
  return { ...shown(kept), kept_for: keptFor };
}
