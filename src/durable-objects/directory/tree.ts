import { BOARD_CARD_BYTES_MAX } from "../../domain/board.ts";
import { MAX_KINSHIP_LEVELS } from "../../domain/hierarchy.ts";
import { Refusal } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import type { Placement, WorkspacePatch } from "../../domain/workspace-patch.ts";
import type { WorkspaceSeed } from "../../domain/workspace-seed.ts";
import type { Effect, Effects } from "../shared/effects.ts";
import type { Schema } from "../shared/schema.ts";
import { LIFECYCLE_NET_MS } from "../workspace/telling.ts";
import type { Agents } from "./agents.ts";
import type { NodeChange, NodeRow, NodeStore } from "./node-store.ts";
import type { SecretStore } from "./secret-store.ts";

/** What a creation asks for, checked by the Worker. Everything that the object needs comes along. */
export type Creation = Omit<WorkspaceSeed, "path" | "treeVersion" | "name" | "createdAt"> & {
  readonly name: string;
  readonly parentId: string | null;
  readonly workspaceDir: string | null;
  readonly x: number;
  readonly y: number;
  /** A taken name gets ` (2)` … instead of being refused. */
  readonly suffixTakenName: boolean;
  /** The bundle that it was made of. */
  readonly sourceBundleId?: string | null;
  /** The workspace's own secrets; its object never hears of them. */
  readonly secrets?: Readonly<Record<string, string>>;
};

/** What a removed workspace's object is told; `cascade` for the one that was asked for. */
export interface Removal {
  readonly removedAt: number;
  readonly cascade: number | null;
}

/** What a purged workspace's object is told; it may never have heard of its creation, or of its removal. */
export interface Purging extends Removal {
  readonly workspaceId: string;
}

/** What the parent of a collapsed subtree is told; names. */
export interface Collapse {
  readonly removed: readonly string[];
}

/** An operator's mark, as a workspace's object is told of it. */
export interface Mark {
  readonly treeVersion: number;
  /** Where the machine that starts finds the platform; "" as before. */
  readonly platformUrl: string;
  /** Of a restart that somebody asked for: it wakes the workspace, too. */
  readonly restart?: { readonly resetSession: boolean };
}

const NAME_ATTEMPTS = 20;

/** What the tree is changed with. */
export interface TreeParts {
  readonly sql: SqlStorage;
  readonly schema: Schema;
  readonly nodes: NodeStore;
  readonly secrets: SecretStore;
  readonly agents: Agents;
  readonly effects: Effects;
}

/**
 * Changes of the tree: each writes rows together with the effects by which the objects concerned hear of it, inside
 * the caller's turn.
 */
export class Tree {
  readonly #sql: SqlStorage;
  readonly #schema: Schema;
  readonly #nodes: NodeStore;
  readonly #secrets: SecretStore;
  readonly #agents: Agents;
  readonly #effects: Effects;

  constructor({ sql, schema, nodes, secrets, agents, effects }: TreeParts) {
    this.#sql = sql;
    this.#schema = schema;
    this.#nodes = nodes;
    this.#secrets = secrets;
    this.#agents = agents;
    this.#effects = effects;
  }

  /** Inserts one workspace; its object is told. Refuses a known id, and a place or a name that cannot be had. */
  insert(creation: Creation, now: number): { id: string; name: string; effect: Effect } {
    const { parentId, x, y, suffixTakenName, secrets = {}, sourceBundleId = null, ...seed } = creation;
    const known = this.#nodes.find(seed.id);
    if (known) {
      const refusal = known.removed_at === null ? "workspace.exists" : "workspace.removed";
      throw new Refusal(refusal, { details: { id: seed.id } });
    }
    const path = this.#parentPath(parentId);
    const name = this.#freeName(parentId, seed.name, suffixTakenName);
    const treeVersion = this.nextTreeVersion();
    const large = seed.agentCard !== null && seed.agentCard.length > BOARD_CARD_BYTES_MAX;
    this.#nodes.insert({
      id: seed.id,
      name,
      role: seed.role,
      tier: seed.tier,
      runtime: seed.runtime,
      parent_id: parentId,
      workspace_dir: seed.workspaceDir,
      workspace_access: seed.workspaceAccess ?? "none",
      budget_limit: seed.budgetLimit,
      max_concurrent_tasks: seed.maxConcurrentTasks,
      x,
      y,
      created_at: now,
      status: seed.status,
      url: seed.url,
      delivery_mode: seed.deliveryMode,
      agent_card: large ? null : seed.agentCard,
      card_in_object: large ? 1 : 0,
      source_bundle_id: sourceBundleId,
    });
    for (const [key, value] of Object.entries(secrets)) this.#storeFirst(seed.id, key, value, now);
    if (seed.provision) this.#nodes.lookAgain(seed.id, now + LIFECYCLE_NET_MS);
    const events = name === seed.name ? seed.events : seed.events.map((event) => named(event, name));
    const told: WorkspaceSeed = { ...seed, name, events, path: [...path, seed.id], treeVersion, createdAt: now };
    return { id: seed.id, name, effect: this.#effects.add(seed.id, "created", told, now) };
  }

  /** The columns in which a node differs from what is wanted, where the tree allows it. */
  changeOf(node: NodeRow, patch: WorkspacePatch): NodeChange {
    const { parentId = node.parent_id, name = node.name, position } = patch;
    if (parentId !== node.parent_id) {
      const path = this.#parentPath(parentId);
      if (path.includes(node.id)) throw new Refusal("workspace.cycle");
      if (path.length + this.#height(node.id) > MAX_KINSHIP_LEVELS) throw new Refusal("workspace.too_deep");
    }
    const { runtime = node.runtime } = patch;
    if (runtime !== node.runtime && (isExternal(runtime) || isExternal(node.runtime))) {
      throw new Refusal("workspace.invalid_fields", { error: "runtime cannot become or cease to be external" });
    }
    const moved = parentId !== node.parent_id || name !== node.name;
    if (moved && this.#nodes.isNameTaken(parentId, name)) throw new Refusal("workspace.name_taken");
    const { workspaceDir = node.workspace_dir, workspaceAccess = "none" } = patch;
    if (workspaceAccess !== "none" && workspaceDir === null) throw new Refusal("workspace.invalid_access");
    const wanted: NodeChange = {
      name,
      parent_id: parentId,
      ...(patch.role === undefined ? {} : { role: patch.role }),
      ...(patch.tier === undefined ? {} : { tier: patch.tier }),
      ...(patch.runtime === undefined ? {} : { runtime: patch.runtime }),
      ...(patch.workspaceDir === undefined ? {} : { workspace_dir: patch.workspaceDir }),
      ...(patch.workspaceAccess === undefined ? {} : { workspace_access: patch.workspaceAccess }),
      ...(patch.collapsed === undefined ? {} : { collapsed: patch.collapsed ? 1 : 0 }),
      ...position,
    };
    return Object.fromEntries(Object.entries(wanted).filter(([column, value]) => node[column] !== value));
  }

  /** Writes a change; the object hears of it, and so do all that move along. */
  change(node: NodeRow, change: NodeChange, now: number): Effect[] {
    this.#nodes.change(node.id, change, now);
    const treeVersion = this.nextTreeVersion();
    const { workspace_dir: _, workspace_access: __, collapsed, ...shown } = change;
    const changed = { ...shown, ...(collapsed === undefined ? {} : { collapsed: collapsed === 1 }) };
    const along = change.parent_id === undefined ? [] : this.#nodes.descendants(node.id);
    // Objects of an older release do not know these fields. A word that was not heard yet is overtaken by this one.
    const [dirOwed, accessOwed] = [
      this.#effects.owed("placed", "workspaceDir"),
      this.#effects.owed("placed", "workspaceAccess"),
    ];
    const place = (row: NodeRow, told: Placement["changed"]) => {
      const { name, role, tier, runtime, workspace_dir: workspaceDir, workspace_access: workspaceAccess, id } = row;
      const isChanged = (column: keyof NodeChange) => id === node.id && change[column] !== undefined;
      const placement: Placement = {
        name,
        role,
        tier,
        runtime,
        ...((isChanged("workspace_dir") || dirOwed.has(id)) && { workspaceDir }),
        ...((isChanged("workspace_access") || accessOwed.has(id)) && { workspaceAccess }),
        path: this.#nodes.path(id),
        treeVersion,
        changed: told,
      };
      return this.#effects.add(id, "placed", placement, now);
    };
    return [place({ ...node, ...change }, changed), ...along.map((descendant) => place(descendant, {}))];
  }

  /** Marks workspaces removed and deletes their secrets and agents; `root` is the one that was asked for. */
  remove(nodes: readonly NodeRow[], root: { id: string; cascade: number } | null, now: number): Effect[] {
    return nodes.map(({ id, runtime }) => {
      this.#nodes.remove(id, now);
      this.#secrets.deleteScope(id);
      this.#agents.forget(id);
      if (!isExternal(runtime)) this.#nodes.lookAgain(id, now + LIFECYCLE_NET_MS);
      const removal: Removal = { removedAt: now, cascade: id === root?.id ? root.cascade : null };
      return this.#effects.add(id, "removed", removal, now);
    });
  }

  /** Turns workspaces into tombstones; `rootId` is the one that was asked for. */
  purge(nodes: readonly NodeRow[], rootId: string, now: number): Effect[] {
    const cascade = nodes.length - 1;
    return nodes.map((node) => {
      const { id } = node;
      this.#nodes.purge(id, now);
      this.#secrets.deleteScope(id);
      this.#agents.forget(id);
      this.#nodes.lookAgain(id, now + LIFECYCLE_NET_MS);
      // Whatever else its object has not heard yet it need not hear any more.
      this.#effects.withdraw(id);
      const told = purgingOf({ ...node, removed_at: node.removed_at ?? now }, id === rootId ? cascade : null);
      return this.#effects.add(id, "purged", told, now);
    });
  }

  /** Pauses workspaces, or ends that. */
  mark(
    nodes: readonly NodeRow[],
    kind: "paused" | "resumed",
    pausedAt: number | null,
    platformUrl: string,
    now: number,
  ): Effect[] {
    const mark: Mark = { treeVersion: this.nextTreeVersion(), platformUrl };
    return nodes.map(({ id }) => {
      this.#nodes.pause(id, pausedAt, now);
      return this.#effects.add(id, kind, mark, now);
    });
  }

  /** Refuses what is unknown or removed. */
  requireLive(id: string): NodeRow {
    const node = this.require(id);
    if (node.removed_at !== null) throw new Refusal("workspace.removed", { details: { id } });
    return node;
  }

  /** Refuses what is unknown, or no more than a tombstone. */
  require(id: string): NodeRow {
    const node = this.#schema.state === "absent" ? null : this.#nodes.find(id);
    if (!node) throw new Refusal("workspace.not_found");
    if (node.purged_at !== null) throw removedRefusal(node);
    return node;
  }

  requireNoPausedAncestor(node: NodeRow): void {
    const paused = this.pausedAncestor(node);
    if (paused === null) return;
    const error = `parent workspace "${paused.name}" is paused — resume it first`;
    throw new Refusal("workspace.parent_paused", { error });
  }

  /** The nearest to the root of the workspaces above this one that are paused. */
  pausedAncestor({ id }: NodeRow): NodeRow | null {
    for (const ancestor of this.#nodes.path(id).slice(0, -1)) {
      const node = this.#nodes.find(ancestor);
      if (node?.paused_at != null) return node;
    }
    return null;
  }

  /** The version of the next change of the tree. */
  nextTreeVersion(): number {
    return this.#sql
      .exec<{ tree_version: number }>("UPDATE directory SET tree_version = tree_version + 1 RETURNING tree_version")
      .one().tree_version;
  }

  treeVersion(): number {
    return this.#sql.exec<{ tree_version: number }>("SELECT tree_version FROM directory").one().tree_version;
  }

  /** A secret that comes with its workspace; one that cannot be stored undoes the creation, in the contract's words. */
  #storeFirst(workspaceId: string, key: string, value: string, now: number): void {
    try {
      this.#secrets.set(workspaceId, key, value, now);
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const failed = error.code === "secret.key_missing" ? "encrypt" : "save";
      throw new Refusal(error.code, { error: `failed to ${failed} secret: ${key}` });
    }
  }

  /** Levels from a workspace down to its deepest live descendant, itself included. */
  #height(id: string): number {
    const depths = this.#nodes.descendants(id).map((descendant) => this.#nodes.path(descendant.id).length);
    return depths.length === 0 ? 1 : Math.max(...depths) - this.#nodes.path(id).length + 1;
  }

  #parentPath(parentId: string | null): readonly string[] {
    if (parentId === null) return [];
    const parent = this.#nodes.find(parentId);
    if (!parent || parent.removed_at !== null) throw new Refusal("workspace.invalid_parent");
    const path = this.#nodes.path(parentId);
    if (path.length === 0 || path.length >= MAX_KINSHIP_LEVELS) throw new Refusal("workspace.too_deep");
    return path;
  }

  #freeName(parentId: string | null, name: string, suffixTakenName: boolean): string {
    if (!this.#nodes.isNameTaken(parentId, name)) return name;
    for (let number = 2; suffixTakenName && number <= NAME_ATTEMPTS; number += 1) {
      const candidate = `${name} (${number})`;
      if (!this.#nodes.isNameTaken(parentId, candidate)) return candidate;
    }
    throw new Refusal("workspace.name_taken");
  }
}

/** The refusal of a removed workspace, with the time of its removal. */
export function removedRefusal({ id, removed_at }: NodeRow): Refusal {
  const removedAt = removed_at === null ? null : new Date(removed_at).toISOString();
  return new Refusal("workspace.removed", { details: { id, removed_at: removedAt } });
}

/** What the object of a purged workspace is told. */
export function purgingOf({ id, removed_at }: Pick<NodeRow, "id" | "removed_at">, cascade: number | null): Purging {
  return { workspaceId: id, removedAt: removed_at ?? 0, cascade };
}

/** An event of a creation under the name that the workspace got. */
function named<Event extends { readonly payload: string }>(event: Event, name: string): Event {
  const payload = JSON.parse(event.payload) as Record<string, unknown>;
  return "name" in payload ? { ...event, payload: JSON.stringify({ ...payload, name }) } : event;
}
