import { Hono } from "hono";
import { type BundleSource, bundleOf, readBundle, treeOfBundle } from "../../domain/bundle.ts";
import { parseJsonText } from "../../domain/json-text.ts";
import { Refusal } from "../../domain/refusal.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import type { Imported, ImportedNode } from "../../durable-objects/directory/directory.ts";
import type { NodeRow } from "../../durable-objects/directory/node-store.ts";
import { withMachineFiles } from "../../org-import/machine-files.ts";
import { defaultTier, hasProvisioner, NO_BACKEND } from "../../provisioners/backend.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { bodyText } from "../body.ts";
import { adminOnly } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf } from "../context.ts";
import { platformUrl } from "../platform-url.ts";

const NO_FILES = { template: () => null, folder: () => null };

/** Workspaces with everything below them, as one JSON text that another platform can take. */
export const bundleRoutes = new Hono<AppEnv>()
  .get("/bundles/export/:id", adminOnly, async (c) => json(bundleOf(await sourceOf(c))))
  .post("/bundles/import", adminOnly, async (c) => {
    const bundle = readBundle(parseJsonText(await bodyText(c))?.value);
    const root = treeOfBundle(bundle, defaultTier(c.var.config));
    const { roots } = withMachineFiles({ name: root.name, roots: [root], globalMemories: [] }, NO_FILES);
    const order = { root: roots[0] ?? root, platformUrl: platformUrl(c), once: c.req.query("idempotent") === "true" };
    return json(importedJson(c, await ask(c, directoryOf(c).importBundle(order))), 201);
  });

/** Whatever is wrong with the id, there is no bundle of it. */
async function sourceOf(c: AppContext): Promise<BundleSource> {
  const id = canonicalWorkspaceId(c.req.param("id") ?? "");
  if (id === null) throw new Refusal("bundle.not_found");
  const nodes = await ask(c, directoryOf(c).subtree({ id })).catch((error: unknown) => {
    throw error instanceof Refusal ? new Refusal("bundle.not_found") : error;
  });
  const models = new Map<string, string | null>();
  for (const node of nodes) {
    models.set(node.id, await ask(c, directoryOf(c).setting({ workspaceId: node.id, setting: "model" })));
  }
  const childrenOf = Map.groupBy(nodes, ({ parent_id }) => parent_id);
  const visit = (node: NodeRow): BundleSource => ({
    id: node.id,
    name: node.name,
    role: node.role,
    tier: node.tier,
    runtime: node.runtime,
    model: models.get(node.id) ?? null,
    workspaceDir: node.workspace_dir,
    workspaceAccess: node.workspace_access,
    systemPrompt: null,
    agentCard: node.agent_card === null ? null : (JSON.parse(node.agent_card) as Record<string, unknown>),
    files: {},
    children: (childrenOf.get(node.id) ?? []).map(visit),
  });
  const [root] = nodes;
  if (!root) throw new Refusal("bundle.not_found");
  return visit(root);
}

/** The tree of what was made, each with what becomes of it. */
function importedJson(c: AppContext, { nodes, skipped }: Imported): Record<string, unknown> {
  const childrenOf = Map.groupBy(nodes, ({ parentId }) => parentId);
  const visit = ({ id, name, status, error }: ImportedNode): Record<string, unknown> => {
    const fails = !skipped && status === "provisioning" && !hasProvisioner(c.var.config);
    const children = (childrenOf.get(id) ?? []).map(visit);
    return {
      workspace_id: id,
      name,
      status: fails ? "failed" : status,
      ...(fails ? { error: NO_BACKEND } : {}),
      ...(error === undefined ? {} : { error }),
      ...(skipped ? { skipped: true } : {}),
      ...(children.length === 0 ? {} : { children }),
    };
  };
  const [root] = nodes;
  return root ? visit(root) : {};
}
