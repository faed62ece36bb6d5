import { layOut, type Placed } from "../domain/layout.ts";
import type { OrgNode, OrgTree, SkippedChannel } from "../domain/org-node.ts";
import { checkPushUrl, type UrlPolicy } from "../domain/url-guard.ts";
import { isAllowedDirectory, workspaceAccessOf } from "../domain/workspace-creation.ts";
import type { ImportMode } from "./read.ts";

/** A live workspace as the directory knows it. */
export interface LiveNode {
  readonly id: string;
  readonly name: string;
  readonly parentId: string | null;
}

/** A workspace to be created; `x` and `y` are absolute and stored, the relative ones go into its event. */
export interface PlannedNode extends Omit<OrgNode, "children" | "canvas" | "skippedChannels"> {
  readonly id: string;
  readonly parentId: string | null;
  readonly status: "online" | "awaiting_agent" | "provisioning";
  readonly x: number;
  readonly y: number;
  readonly relativeX: number;
  readonly relativeY: number;
}

/** One element of `workspaces` in the answer to an import. */
export interface ImportEntry {
  /** Absent in a dry run for what would be created. */
  readonly id?: string;
  readonly name: string;
  readonly tier: number;
  readonly skipped?: true;
  readonly to_create?: true;
  readonly channels?: readonly string[];
  readonly channels_skipped?: readonly SkippedChannel[];
}

export interface ImportPlan {
  /** What to remove first, parents before their children; empty in a dry run. */
  readonly removals: readonly string[];
  /** What to create then, parents before their children; empty in a dry run. */
  readonly creations: readonly PlannedNode[];
  /** Why the first workspace that cannot be created ends the import; null when all can. */
  readonly error: string | null;
  readonly entries: readonly ImportEntry[];
  readonly created: number;
  readonly skipped: number;
  /** How many a dry run would create and remove. */
  readonly toCreate: number;
  readonly toRemove: number;
}

export interface PlanOptions {
  readonly mode: ImportMode;
  readonly dryRun: boolean;
  readonly urlPolicy: UrlPolicy;
  readonly newId: () => string;
}

/**
 * Decides what an import does to the tree as it is: a workspace whose name stands under its parent already is skipped,
 * its children are looked at all the same. `replace` removes the roots that the template names first, with everything
 * under them, and does nothing at all when a workspace cannot be created. Pure, so that it can run inside one turn.
 */
export function planImport(tree: OrgTree, existing: readonly LiveNode[], options: PlanOptions): ImportPlan {
  const replaces = options.mode === "replace";
  const removals = replaces ? subtreesNamed(tree.roots, existing) : [];
  const gone = new Set(removals);
  const remaining = existing.filter(({ id }) => !gone.has(id));
  const { entries, creations, error } = decide(tree, remaining, options);
  if (error !== null && replaces) return { ...NOTHING, error };
  const skipped = entries.length - creations.length;
  return options.dryRun
    ? {
        ...NOTHING,
        error,
        entries: withoutNewIds(entries, creations),
        skipped,
        toCreate: creations.length,
        toRemove: removals.length,
      }
    : { ...NOTHING, error, entries, skipped, removals, creations, created: creations.length };
}

/** All workspaces of a tree that is created whole, such as a bundle's, under new ids. */
export function planTree(root: OrgNode, newId: () => string): PlannedNode[] {
  const visit = (placed: Placed<OrgNode>, parentId: string | null): PlannedNode[] => {
    const planned = plannedNode(placed, newId(), parentId);
    return [planned, ...placed.children.flatMap((child) => visit(child, planned.id))];
  };
  return visit(layOut(root), null);
}

const NOTHING: ImportPlan = {
  removals: [],
  creations: [],
  error: null,
  entries: [],
  created: 0,
  skipped: 0,
  toCreate: 0,
  toRemove: 0,
};

function decide(
  { roots, globalMemories }: OrgTree,
  existing: readonly LiveNode[],
  { newId, urlPolicy }: PlanOptions,
): Pick<ImportPlan, "error"> & { entries: ImportEntry[]; creations: PlannedNode[] } {
  // Of several with one name, which only other systems leave behind, the first counts.
  const known = new Map(existing.toReversed().map(({ id, name, parentId }) => [keyOf(parentId, name), id]));
  const entries: ImportEntry[] = [];
  const creations: PlannedNode[] = [];
  /** Answers why a node cannot be created, which ends the import. */
  const visit = (placed: Placed<OrgNode>, parentId: string | null): string | null => {
    const { name, tier } = placed.node;
    const key = keyOf(parentId, name);
    let id = known.get(key);
    if (id !== undefined) {
      entries.push({ id, name, tier, skipped: true });
    } else {
      const reason = reasonAgainst(placed.node, urlPolicy);
      if (reason !== null) return `workspace ${name}: ${reason}`;
      id = newId();
      known.set(key, id);
      const planned = plannedNode(placed, id, parentId);
      // They belong to the organisation, so they come once, with the first workspace that it ever had.
      const memories = entries.length === 0 ? [...planned.memories, ...globalMemories] : planned.memories;
      creations.push({ ...planned, memories });
      entries.push({ id, name, tier, ...channelsOf(placed.node) });
    }
    return visitAll(placed.children, id);
  };
  const visitAll = (nodes: readonly Placed<OrgNode>[], parentId: string | null): string | null => {
    for (const node of nodes) {
      const error = visit(node, parentId);
      if (error !== null) return error;
    }
    return null;
  };
  const error = visitAll(
    roots.map((root) => layOut(root)),
    null,
  );
  return { entries, creations, error };
}

/** A name has no U+0000, so that no two places share a key. */
function keyOf(parentId: string | null, name: string): string {
  return `${parentId ?? ""}\u0000${name}`;
}

/** The roots with the names of a template's, each with everything under it. */
function subtreesNamed(roots: readonly OrgNode[], existing: readonly LiveNode[]): string[] {
  const names = new Set(roots.map(({ name }) => name));
  const childrenOf = Map.groupBy(existing, ({ parentId }) => parentId);
  const ids = (childrenOf.get(null) ?? []).filter(({ name }) => names.has(name)).map(({ id }) => id);
  for (const id of ids) ids.push(...(childrenOf.get(id) ?? []).map((child) => child.id));
  return ids;
}

function reasonAgainst({ workspaceDir, workspaceAccess, external, url }: OrgNode, policy: UrlPolicy): string | null {
  if (workspaceDir?.includes("${")) return `workspace_dir ${workspaceDir} names an unknown variable`;
  if (workspaceDir !== null && !isAllowedDirectory(workspaceDir)) {
    return "workspace_dir must be an absolute path without .. outside the directories of the system";
  }
  const access = workspaceAccessOf(workspaceAccess);
  if (access === null) return "workspace_access must be none, read_only or read_write";
  if (access !== "none" && workspaceDir === null) {
    return `workspace_access ${workspaceAccess} needs a workspace_dir`;
  }
  if (!external || url === null) return null;
  const check = checkPushUrl(url, policy);
  return check.ok ? null : check.refusal.message;
}

function plannedNode({ node, absolute, relative }: Placed<OrgNode>, id: string, parentId: string | null): PlannedNode {
  const { children: _, canvas: __, skippedChannels: ___, ...kept } = node;
  const waiting = node.url === null ? "awaiting_agent" : "online";
  return {
    ...kept,
    url: node.external ? node.url : null,
    id,
    parentId,
    status: node.external ? waiting : "provisioning",
    x: absolute.x,
    y: absolute.y,
    relativeX: relative.x,
    relativeY: relative.y,
  };
}

function channelsOf({ channels, skippedChannels }: OrgNode): Pick<ImportEntry, "channels" | "channels_skipped"> {
  return {
    ...(channels.length === 0 ? {} : { channels: channels.map(({ type }) => type) }),
    ...(skippedChannels.length === 0 ? {} : { channels_skipped: skippedChannels }),
  };
}

/** A dry run's ids are nobody's; what would get one says so instead. */
function withoutNewIds(entries: readonly ImportEntry[], creations: readonly PlannedNode[]): ImportEntry[] {
  const fresh = new Set(creations.map(({ id }) => id));
  return entries.map((entry) => {
    const { id, ...rest } = entry;
    if (id === undefined || !fresh.has(id)) return entry;
    return rest.skipped ? rest : { ...rest, to_create: true };
  });
}
