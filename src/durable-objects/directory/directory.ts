import { DurableObject } from "cloudflare:workers";
import { configOf, pushUrlPolicy } from "../../config.ts";
import type { AgentOrder, Note } from "../../domain/agent.ts";
import type { BoardEntry } from "../../domain/board.ts";
import { type DuplicateGroup, duplicatesAmong, type Sibling } from "../../domain/duplicate.ts";
import { canCommunicate } from "../../domain/hierarchy.ts";
import type { OrgNode, OrgTree } from "../../domain/org-node.ts";
import type { OrganisationTokenView } from "../../domain/organisation-token.ts";
import { Refusal } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import { GLOBAL_SCOPE, type ListedSecrets, SETTING_KEYS, type Setting } from "../../domain/secret.ts";
import { SecretBox } from "../../domain/secret-box.ts";
import type { Placement, WorkspacePatch } from "../../domain/workspace-patch.ts";
import type { RebuildSeed, WorkspaceSeed } from "../../domain/workspace-seed.ts";
import type { WorkspaceStatus } from "../../domain/workspace-status.ts";
import { listEntryJson, type ProvisionLimit, peerJson, publicViewJson } from "../../domain/workspace-view.ts";
import { openDatabase } from "../../ledgers/database.ts";
import { writeLedger } from "../../ledgers/ledger-write.ts";
import { log } from "../../log.ts";
import { creationOf } from "../../org-import/creation.ts";
import { type ImportPlan, type LiveNode, planImport, planTree } from "../../org-import/plan.ts";
import type { ImportMode } from "../../org-import/read.ts";
import { hasProvisioner, provisionTimeoutMs } from "../../provisioners/backend.ts";
import { AlarmScheduler } from "../shared/alarm.ts";
import { type Delivery, type Effect, Effects } from "../shared/effects.ts";
import { Flush } from "../shared/flush.ts";
import { FlushPace } from "../shared/flush-pace.ts";
import { type Reply, reply } from "../shared/reply.ts";
import { Schema } from "../shared/schema.ts";
import { workspaceStub } from "../shared/stubs.ts";
import { type AgentChanged, Agents } from "./agents.ts";
import { createBundle } from "./bundle-creation.ts";
import { type NodeRow, NodeStore, shownStatus } from "./node-store.ts";
import {
  type MintedOrganisationToken,
  OrganisationTokenStore,
  type ShownOrganisationToken,
} from "./organisation-token-store.ts";
import { rebuildSeed } from "./rebuild-seed.ts";
import { DIRECTORY_SCHEMA } from "./schema.ts";
import { SecretStore } from "./secret-store.ts";
import { type BegunSweep, type SweepEnd, type SweepName, SweepPlan } from "./sweep-plan.ts";
import {
  type Collapse,
  type Creation,
  type Mark,
  type Purging,
  purgingOf,
  type Removal,
  removedRefusal,
  Tree,
} from "./tree.ts";

/** `confirmed`: the workspace's object has it; otherwise it will, and until then only the directory knows it. */
export interface Created {
  readonly id: string;
  readonly name: string;
  readonly confirmed: boolean;
}

/** How a removal ended; `cascade` counts the descendants that went along, `stopsPending` machines that still run. */
export type Removed =
  | { readonly kind: "removed"; readonly cascade: number; readonly stopsPending: number; readonly pending: boolean }
  | { readonly kind: "unconfirmed"; readonly children: readonly { id: string; name: string }[] };

/** How a purge began; `pending`: some of its objects have still something to delete, and will. */
export type Purged =
  | { readonly kind: "purged"; readonly cascade: number; readonly stopsPending: number; readonly pending: boolean }
  | Extract<Removed, { kind: "unconfirmed" }>;

/** What an import asks for, checked by the Worker; the files of machines stand in the tree. */
export interface OrgImport {
  readonly tree: OrgTree;
  readonly mode: ImportMode;
  readonly dryRun: boolean;
  readonly platformUrl: string;
}

export interface ImportedNode {
  readonly id: string;
  readonly name: string;
  readonly parentId: string | null;
  readonly status: WorkspaceStatus;
  /** Why it could not be created. */
  readonly error?: string;
}

/** The plan as it was carried out, without its creations. `notStored`: what came along and is not kept yet. */
export interface OrgImported extends ImportPlan {
  readonly pending: readonly string[];
  readonly notStored: Readonly<Record<"memories" | "schedules" | "channels", number>>;
}

/** Ids that go, and the groups that they belong to. */
export interface RemovedDuplicates {
  readonly removed: readonly string[];
  readonly kept?: readonly DuplicateGroup[];
  readonly pending: boolean;
}

/** What an import has made, parents before children. `pending`: ids whose objects have not confirmed it yet. */
export interface Imported {
  readonly nodes: readonly ImportedNode[];
  readonly skipped: boolean;
  readonly pending: readonly string[];
}

/** Workspaces whose machines should be looked after, in case their own alarms were lost. */
export interface MachineSweep {
  readonly name: "machines";
  readonly ids: readonly string[];
}

/** Purges that should have ended, in case an alarm or an object was lost. */
export interface PurgeSweep {
  readonly name: "purges";
  readonly purges: readonly Purging[];
}

/** What operators watch of all objects together. Times in ms since 1970. */
export interface Gauges {
  readonly workspaces: number;
  readonly setAside: number;
  readonly unflushedSince: number | null;
  readonly flushLag: number;
  readonly blockedReason: string | null;
  readonly counters: Readonly<Record<string, number>>;
  /** What went wrong in sweeps, by their name. */
  readonly sweepErrors: Readonly<Record<string, number>>;
  /** Secrets that no key of this deployment opens. */
  readonly lockedSecrets: number;
}

/** Whose secret; null is the organisation. */
export interface SecretOwner {
  readonly workspaceId: string | null;
}

const CONFIRMATION_WAIT_MS = 2_000;
const NO_VIEWPORT = '{"x":0,"y":0,"zoom":1}';
/** Large cards read at once. */
const CARD_CONCURRENCY = 6;
const SCRUB_SLICE = 500;
const MACHINE_SWEEP_LIMIT = 500;

/** The tree and the board. Single-threaded, so names and cycles need no lock. */
export class Directory extends DurableObject<Env> {
  readonly #schema: Schema;
  readonly #nodes: NodeStore;
  readonly #secrets: SecretStore;
  readonly #organisationTokens: OrganisationTokenStore;
  readonly #effects: Effects;
  readonly #agents: Agents;
  readonly #tree: Tree;
  readonly #flush: Flush;
  readonly #pace: FlushPace;
  readonly #sweeps: SweepPlan;
  readonly #provisionLimit: ProvisionLimit = (runtime) => provisionTimeoutMs(configOf(this.env), runtime);
  /** What the objects of a removal that is being answered said of their machines. */
  readonly #stopsPending = new Map<string, number>();
  #alarm: AlarmScheduler;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const { sql } = ctx.storage;
    const database = openDatabase(env);
    this.#schema = new Schema(ctx.storage, DIRECTORY_SCHEMA);
    this.#nodes = new NodeStore(sql, () => this.#flush.nextVersion());
    this.#secrets = new SecretStore(sql, new SecretBox(configOf(env).secretsKeys));
    this.#organisationTokens = new OrganisationTokenStore(sql);
    this.#effects = new Effects(sql, (effect) => this.#deliver(effect));
    this.#agents = new Agents(sql, this.#effects);
    this.#tree = new Tree({
      sql,
      schema: this.#schema,
      nodes: this.#nodes,
      secrets: this.#secrets,
      agents: this.#agents,
      effects: this.#effects,
    });
    this.#flush = new Flush({
      storage: ctx.storage,
      objectId: () => `directory:${sql.exec<{ object_id: string }>("SELECT object_id FROM directory").one().object_id}`,
      epoch: () => sql.exec<{ epoch: number }>("SELECT epoch FROM directory").one().epoch,
      tables: [this.#nodes.mirror()],
      write: (batch) => writeLedger(database, batch),
    });
    this.#pace = new FlushPace(this.#flush);
    this.#sweeps = new SweepPlan(sql);
    this.#alarm = this.#scheduler(null);
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarm = this.#scheduler(await ctx.storage.getAlarm());
    });
  }

  /** Inserts one workspace and tells its object. A known id is not created again. */
  create(creation: Creation): Promise<Reply<Created>> {
    return reply(async () => {
      const now = Date.now();
      this.#open();
      const { effect, id, name } = this.ctx.storage.transactionSync(() => this.#tree.insert(creation, now));
      log.info("directory.created", { workspace_id: id });
      const told = this.#effects.tell(effect, now);
      this.#afterCommit(now);
      const confirmed = await Promise.race([told, scheduler.wait(CONFIRMATION_WAIT_MS).then(() => false)]);
      return { id, name, confirmed };
    });
  }

  /**
   * Imports a tree: what is there is skipped, what is missing is created, all in one turn, so that two imports at the
   * same moment make one tree. A dry run only tells.
   */
  importOrg(input: OrgImport): Promise<Reply<OrgImported>> {
    return reply(async () => {
      const now = Date.now();
      const { tree, mode, dryRun, platformUrl } = input;
      const urlPolicy = pushUrlPolicy(configOf(this.env));
      const newId = () => crypto.randomUUID();
      const live = this.#schema.state === "ready" ? this.#nodes.live() : [];
      const plan = planImport(tree, live.map(liveNode), { mode, dryRun, urlPolicy, newId });
      // Neither files nor secrets travel back.
      const told = { ...plan, creations: [], notStored: notStored(plan.creations) };
      if (dryRun || plan.creations.length + plan.removals.length === 0) return { ...told, pending: [] };
      this.#open();
      const gone = new Set(plan.removals);
      const effects = this.ctx.storage.transactionSync(() => [
        ...this.#tree.remove(
          live.filter(({ id }) => gone.has(id)),
          null,
          now,
        ),
        ...plan.creations.map((node) => this.#tree.insert(creationOf(node, platformUrl), now).effect),
      ]);
      log.info("directory.imported", { created: plan.created, skipped: plan.skipped, removed: gone.size });
      return { ...told, pending: await this.#tellAll(effects, now) };
    });
  }

  /** Makes the workspaces of a bundle; with `once`, one that was made of it already stays the only one. */
  importBundle(input: { root: OrgNode; platformUrl: string; once: boolean }): Promise<Reply<Imported>> {
    return reply(async () => {
      const now = Date.now();
      const { root, platformUrl, once } = input;
      this.#open();
      const known = once && root.sourceBundleId !== null ? this.#nodes.ofBundle(root.sourceBundleId) : null;
      if (known) {
        const nodes = [known, ...this.#nodes.descendants(known.id)];
        return { nodes: nodes.map(importedNode), skipped: true, pending: [] };
      }
      const planned = planTree(root, () => crypto.randomUUID());
      const { effects, nodes } = this.ctx.storage.transactionSync(() =>
        createBundle(this.#tree, planned, platformUrl, now),
      );
      log.info("directory.bundle_imported", { created: effects.length });
      return { nodes, skipped: false, pending: await this.#tellAll(effects, now) };
    });
  }

  /** Siblings whose names differ by a number only, each group with the best of them, which is kept. */
  async duplicates(): Promise<DuplicateGroup[]> {
    return this.#schema.state === "ready" ? duplicatesAmong(siblingsIn(this.#nodes.live())) : [];
  }

  /**
   * Removes duplicates with everything below them; the best of each group stays. Null stands for all of them, an id
   * that is no duplicate refuses the whole. A dry run only tells. `kept`: whom the removed ones were duplicates of, as
   * far as they do not go along with another one.
   */
  removeDuplicates(input: { ids: readonly string[] | null; dryRun: boolean }): Promise<Reply<RemovedDuplicates>> {
    return reply(async () => {
      const now = Date.now();
      const live = this.#schema.state === "ready" ? this.#nodes.live() : [];
      const groups = duplicatesAmong(siblingsIn(live));
      const found = groups.flatMap(({ duplicates }) => duplicates);
      const wanted = new Set(input.ids ?? found.map(({ id }) => id));
      const stranger = [...wanted].find((id) => !found.some((duplicate) => duplicate.id === id));
      if (stranger !== undefined) throw new Refusal("workspace.not_duplicate", { details: { id: stranger } });
      const gone = new Map<string, NodeRow>();
      for (const node of live.filter(({ id }) => wanted.has(id))) {
        for (const each of [node, ...this.#nodes.descendants(node.id)]) gone.set(each.id, each);
      }
      const removed = [...gone.keys()];
      const kept = groups.filter(
        (group) => !gone.has(group.kept.id) && group.duplicates.some(({ id }) => wanted.has(id)),
      );
      if (input.dryRun || removed.length === 0) return { removed, kept, pending: false };
      this.#open();
      const effects = this.ctx.storage.transactionSync(() => this.#tree.remove([...gone.values()], null, now));
      log.info("directory.duplicates_removed", { removed: removed.length });
      return { removed, kept, pending: await this.#isPending(effects, now) };
    });
  }

  /** A live workspace with everything below it, as the board shows it; parents before children. */
  subtree(input: { id: string }): Promise<Reply<NodeRow[]>> {
    return reply(async () => {
      const node = this.#tree.requireLive(input.id);
      return this.#shown([node, ...this.#nodes.descendants(node.id)]);
    });
  }

  /**
   * Marks a workspace and all its descendants removed and tells their objects. One with live children wants
   * `confirmed`; an unknown or removed one is removed already.
   */
  remove(input: { id: string; confirmed: boolean }): Promise<Reply<Removed>> {
    return reply(async () => {
      const now = Date.now();
      const node = this.#schema.state === "absent" ? null : this.#nodes.find(input.id);
      if (!node || node.removed_at !== null) return { kind: "removed", cascade: 0, stopsPending: 0, pending: false };
      this.#open();
      const descendants = this.#nodes.descendants(input.id);
      const children = descendants.filter((child) => child.parent_id === input.id);
      if (children.length > 0 && !input.confirmed) {
        return { kind: "unconfirmed", children: children.map(({ id, name }) => ({ id, name })) };
      }
      const effects = this.ctx.storage.transactionSync(() =>
        this.#tree.remove([node, ...descendants], { id: input.id, cascade: descendants.length }, now),
      );
      log.info("directory.removed", { workspace_id: input.id, cascade: descendants.length });
      const { stopsPending, pending } = await this.#tellAndCountStops(effects, now);
      return { kind: "removed", cascade: descendants.length, stopsPending, pending };
    });
  }

  /**
   * Purges a workspace with everything that hangs below it, removed before or not, as far as anything is left of it.
   * One with live children wants `confirmed`; an unknown one is purged already, and so is one that this was asked for
   * before, though its objects may still have to end it.
   */
  purge(input: { id: string; confirmed: boolean }): Promise<Reply<Purged>> {
    return reply(async () => {
      const now = Date.now();
      const node = this.#schema.state === "absent" ? null : this.#nodes.find(input.id);
      if (!node) return { kind: "purged", cascade: 0, stopsPending: 0, pending: false };
      this.#open();
      const children = this.#nodes.descendants(node.id).filter(({ parent_id }) => parent_id === node.id);
      if (children.length > 0 && !input.confirmed) {
        return { kind: "unconfirmed", children: children.map(({ id, name }) => ({ id, name })) };
      }
      const below = this.#nodes.unpurgedDescendants(node.id);
      const purged = node.purged_at === null ? [node, ...below] : below;
      const effects = this.ctx.storage.transactionSync(() => this.#tree.purge(purged, node.id, now));
      log.info("directory.purged", { workspace_id: node.id, cascade: below.length });
      const { stopsPending } = await this.#tellAndCountStops(effects, now);
      const pending = [node, ...below].some(({ id }) => this.#nodes.find(id)?.lifecycle_due != null);
      return { kind: "purged", cascade: below.length, stopsPending, pending };
    });
  }

  /** Removes all descendants of a workspace and keeps itself; answers their names. */
  collapse(input: { id: string }): Promise<Reply<{ removed: string[]; pending: boolean }>> {
    return reply(async () => {
      const now = Date.now();
      const node = this.#tree.requireLive(input.id);
      this.#open();
      const descendants = this.#nodes.descendants(node.id);
      const removed = descendants.map(({ name }) => name);
      const effects = this.ctx.storage.transactionSync(() => [
        ...this.#tree.remove(descendants, null, now),
        ...(removed.length === 0 ? [] : [this.#effects.add(node.id, "collapsed", { removed } satisfies Collapse, now)]),
      ]);
      log.info("directory.collapsed", { workspace_id: node.id, removed: removed.length });
      return { removed, pending: await this.#isPending(effects, now) };
    });
  }

  /** Pauses a workspace with all of its descendants that are not paused; answers how many. */
  pause(input: { id: string }): Promise<Reply<{ count: number; pending: boolean }>> {
    return reply(async () => {
      const now = Date.now();
      const node = this.#schema.state === "absent" ? null : this.#nodes.find(input.id);
      if (!node || node.removed_at !== null || node.paused_at !== null) throw new Refusal("workspace.not_pausable");
      this.#open();
      const paused = [node, ...this.#nodes.descendants(node.id)].filter(({ paused_at }) => paused_at === null);
      const effects = this.ctx.storage.transactionSync(() => this.#tree.mark(paused, "paused", now, "", now));
      log.info("directory.paused", { workspace_id: node.id, count: paused.length });
      return { count: paused.length, pending: await this.#isPending(effects, now) };
    });
  }

  /** Ends the pause of a workspace and of its descendants, unless an ancestor is paused; answers how many. */
  resume(input: {
    id: string;
    platformUrl: string;
    hasBackend: boolean;
  }): Promise<Reply<{ count: number; pending: boolean }>> {
    return reply(async () => {
      const now = Date.now();
      const node = this.#schema.state === "absent" ? null : this.#nodes.find(input.id);
      if (!node || node.removed_at !== null || node.paused_at === null) throw new Refusal("workspace.not_paused");
      if (!input.hasBackend && !isExternal(node.runtime)) throw new Refusal("workspace.no_backend");
      this.#tree.requireNoPausedAncestor(node);
      this.#open();
      const resumed = [node, ...this.#nodes.descendants(node.id)].filter(({ paused_at }) => paused_at !== null);
      const { platformUrl } = input;
      const effects = this.ctx.storage.transactionSync(() =>
        this.#tree.mark(resumed, "resumed", null, platformUrl, now),
      );
      log.info("directory.resumed", { workspace_id: node.id, count: resumed.length });
      return { count: resumed.length, pending: await this.#isPending(effects, now) };
    });
  }

  /** Wishes a new machine for a workspace and ends its own pause. An external one has none; below a paused one, refused. */
  restart(input: {
    id: string;
    hasBackend: boolean;
    platformUrl: string;
    resetSession: boolean;
  }): Promise<Reply<{ runtime: string; pending: boolean }>> {
    return reply(async () => {
      const { id, hasBackend, platformUrl, resetSession } = input;
      const node = this.#schema.state === "absent" ? null : this.#nodes.find(id);
      if (!node || node.removed_at !== null) throw new Refusal("workspace.not_found");
      this.#tree.requireNoPausedAncestor(node);
      if (isExternal(node.runtime)) return { runtime: node.runtime, pending: false };
      if (!hasBackend) throw new Refusal("workspace.no_backend");
      const now = Date.now();
      this.#open();
      const effect = this.ctx.storage.transactionSync(() => {
        if (node.paused_at !== null) this.#nodes.pause(node.id, null, now);
        const mark: Mark = { treeVersion: this.#tree.nextTreeVersion(), platformUrl, restart: { resetSession } };
        return this.#effects.add(node.id, "restarted", mark, now);
      });
      return { runtime: node.runtime, pending: await this.#isPending([effect], now) };
    });
  }

  /**
   * Begins a new epoch for the object of a live workspace, and answers what the directory knows for it. From then on
   * nothing of a lower one counts. `above`: what somebody else knows of epochs of this object.
   */
  raiseEpoch(input: { id: string; above?: number }): Promise<Reply<RebuildSeed>> {
    return reply(() => {
      this.#tree.requireLive(input.id);
      this.#open();
      const seed = this.ctx.storage.transactionSync(() => {
        const epoch = this.#nodes.raiseEpoch(input.id, input.above ?? 0);
        return rebuildSeed(
          { ...this.#tree.requireLive(input.id), epoch },
          this.#nodes.path(input.id),
          this.#tree.treeVersion(),
        );
      });
      log.info("directory.epoch_raised", { workspace_id: input.id, epoch: seed.epoch });
      return seed;
    });
  }

  /** What a look after a workspace's machines, or its purge, found: when to look again. */
  async lookedAfter(input: { id: string; due: number | null; purge?: boolean }): Promise<void> {
    if (this.#schema.state !== "ready") return;
    // A look after machines that began before the purge says nothing of it.
    const isPurged = this.#nodes.find(input.id)?.purged_at != null;
    if (isPurged === (input.purge ?? false)) this.#nodes.lookAgain(input.id, input.due);
  }

  /** The canvas's viewport, one for everybody, as JSON. */
  async viewport(): Promise<string> {
    if (this.#schema.state !== "ready") return NO_VIEWPORT;
    return this.ctx.storage.sql.exec<{ viewport: string }>("SELECT viewport FROM directory").one().viewport;
  }

  setViewport(viewport: { x: number; y: number; zoom: number }): Promise<Reply<true>> {
    return reply(() => {
      this.#open();
      this.ctx.storage.sql.exec("UPDATE directory SET viewport = ?", JSON.stringify(viewport));
      return true as const;
    });
  }

  /**
   * Changes one workspace, all of it or nothing: a taken name, a cycle, a tree too deep or a parent that is not live
   * refuses the whole. Its object hears of it, and so do all that move along.
   */
  patch(input: { id: string; patch: WorkspacePatch }): Promise<Reply<{ pending: boolean }>> {
    return reply(async () => {
      const now = Date.now();
      const node = this.#tree.requireLive(input.id);
      const change = this.#tree.changeOf(node, input.patch);
      if (Object.keys(change).length === 0) return { pending: false };
      this.#open();
      const effects = this.ctx.storage.transactionSync(() => this.#tree.change(node, change, now));
      log.info("directory.changed", { workspace_id: node.id, fields: Object.keys(change).join() });
      return { pending: await this.#isPending(effects, now) };
    });
  }

  /** Gives a live workspace an agent, or changes, takes away or moves the one that it has. */
  changeAgent(order: AgentOrder): Promise<Reply<AgentChanged>> {
    return reply(async () => {
      const now = Date.now();
      this.#tree.requireLive(order.workspaceId);
      if (order.kind === "move") this.#tree.requireLive(order.targetId);
      this.#open();
      const { effects, ...changed } = this.ctx.storage.transactionSync(() => this.#agents.change(order, now));
      log.info("directory.agent_changed", { workspace_id: order.workspaceId, kind: order.kind });
      await this.#tellAll(effects, now);
      return changed;
    });
  }

  /** A workspace's word of itself. */
  async board(input: { workspaceId: string; entry: BoardEntry }): Promise<void> {
    this.#open();
    const now = Date.now();
    this.#nodes.tell(input.workspaceId, input.entry, now);
    if (input.entry.openDelegations > 0) {
      this.#sweeps.pull("delegations", configOf(this.env).delegations.sweeperIntervalMs, now);
    }
    this.#afterCommit(now);
  }

  /** All live workspaces as one JSON array. */
  async list(): Promise<string> {
    if (this.#schema.state === "absent") return "[]";
    const now = Date.now();
    const nodes = await this.#shown(this.#nodes.live());
    return `[${nodes.map((node) => listEntryJson(node, now, this.#provisionLimit)).join(",")}]`;
  }

  /** The public view of one workspace as JSON; 410 for a removed one unless that is wanted. */
  view(input: { id: string; includeRemoved: boolean }): Promise<Reply<string>> {
    return reply(async () => {
      const node = this.#tree.require(input.id);
      if (node.removed_at !== null && !input.includeRemoved) throw removedRefusal(node);
      const [complete = node] = await this.#shown([node]);
      return publicViewJson(complete, Date.now(), this.#provisionLimit);
    });
  }

  /** Siblings, children and parent of a workspace as a JSON array. */
  peers(input: { id: string; query: string }): Promise<Reply<string>> {
    return reply(async () => {
      const self = this.#tree.require(input.id);
      const wanted = input.query.trim().toLowerCase();
      const live = this.#nodes.live();
      const siblings = live.filter((node) => node.id !== self.id && node.parent_id === self.parent_id);
      const children = live.filter((node) => node.parent_id === self.id);
      const parent = live.filter((node) => node.id === self.parent_id);
      const peers = [...siblings, ...children, ...parent].filter((node) =>
        `${node.name}\n${node.role ?? ""}`.toLowerCase().includes(wanted),
      );
      return `[${(await this.#shown(peers)).map(peerJson).join(",")}]`;
    });
  }

  /** Whether two workspaces may exchange messages; false for an unknown or removed one. */
  async checkAccess(input: { callerId: string; targetId: string }): Promise<boolean> {
    if (this.#schema.state !== "ready") return false;
    const live = (id: string) => (this.#nodes.find(id)?.removed_at === null ? this.#nodes.path(id) : []);
    return canCommunicate(live(input.callerId), live(input.targetId));
  }

  /** Names and roles of senders, for a reader who asks who they are. */
  async names(ids: readonly string[]): Promise<{ id: string; name: string; role: string | null }[]> {
    if (this.#schema.state !== "ready") return [];
    return ids.flatMap((id) => {
      const node = this.#nodes.find(id);
      return node && node.purged_at === null ? [{ id, name: node.name, role: node.role }] : [];
    });
  }

  /** The keys that a workspace's agent gets, or with the organisation as owner those of everybody; never values. */
  listSecrets({ workspaceId }: SecretOwner): Promise<Reply<ListedSecrets>> {
    return reply(() => {
      if (workspaceId !== null) this.#tree.requireLive(workspaceId);
      if (this.#schema.state === "absent") return { own: [], global: [] };
      const own = workspaceId === null ? [] : this.#secrets.list(workspaceId);
      return { own, global: this.#secrets.list(GLOBAL_SCOPE) };
    });
  }

  setSecret({ workspaceId, key, value }: SecretOwner & { key: string; value: string }): Promise<Reply<true>> {
    return reply(() => {
      this.#openFor(workspaceId);
      this.#withNewEnvironment(workspaceId, key, (now) =>
        this.#secrets.set(workspaceId ?? GLOBAL_SCOPE, key, value, now),
      );
      log.info("secret.set", { workspace_id: workspaceId, key });
      return true as const;
    });
  }

  deleteSecret({ workspaceId, key }: SecretOwner & { key: string }): Promise<Reply<true>> {
    return reply(() => {
      this.#openFor(workspaceId);
      this.#withNewEnvironment(workspaceId, key, () => {
        if (!this.#secrets.delete(workspaceId ?? GLOBAL_SCOPE, key)) throw new Refusal("secret.not_found");
      });
      log.info("secret.deleted", { workspace_id: workspaceId, key });
      return true as const;
    });
  }

  /** The organisation's keys, against which an import checks what its workspaces require. */
  async secretKeys(): Promise<string[]> {
    return this.#schema.state === "absent" ? [] : this.#secrets.list(GLOBAL_SCOPE).map(({ key }) => key);
  }

  /** The model or provider that was chosen for a workspace; null when nobody chose one. */
  setting(input: { workspaceId: string; setting: Setting }): Promise<Reply<string | null>> {
    return reply(() => {
      this.#tree.requireLive(input.workspaceId);
      return this.#secrets.read(input.workspaceId, SETTING_KEYS[input.setting]);
    });
  }

  /** Chooses a model or provider; null takes the choice back. */
  choose(input: { workspaceId: string; setting: Setting; value: string | null }): Promise<Reply<true>> {
    return reply(() => {
      const { workspaceId, setting, value } = input;
      this.#openFor(workspaceId);
      const key = SETTING_KEYS[setting];
      this.#withNewEnvironment(workspaceId, key, (now) => {
        if (value === null) this.#secrets.delete(workspaceId, key);
        else this.#secrets.set(workspaceId, key, value, now);
      });
      log.info("setting.chosen", { workspace_id: workspaceId, setting, cleared: value === null });
      return true as const;
    });
  }

  /**
   * Every secret of a workspace's environment in plain text, for whoever starts its machine. Nobody else asks, and
   * nobody writes it down.
   */
  environmentOf(workspaceId: string): Promise<Reply<Record<string, string>>> {
    return reply(() => {
      this.#tree.requireLive(workspaceId);
      return this.#secrets.environment(workspaceId);
    });
  }

  /** Live tokens of the organisation, newest first. */
  listOrganisationTokens(): Promise<Reply<OrganisationTokenView[]>> {
    return reply(() => (this.#schema.state === "absent" ? [] : this.#organisationTokens.list()));
  }

  addOrganisationToken(minted: MintedOrganisationToken): Promise<Reply<true>> {
    return reply(() => {
      const now = Date.now();
      this.#open();
      if (!configOf(this.env).devMode) this.#organisationTokens.requirePace(minted.createdBy, now);
      this.#organisationTokens.add(minted, now);
      log.info("organisation_token.minted", { token_id: minted.id, by: minted.createdBy });
      return true as const;
    });
  }

  revokeOrganisationToken({ id }: { id: string }): Promise<Reply<true>> {
    return reply(() => {
      this.#open();
      if (!this.#organisationTokens.revoke(id, Date.now())) throw new Refusal("org_token.not_found");
      log.info("organisation_token.revoked", { token_id: id });
      return true as const;
    });
  }

  /** Whether a token of the organisation is live. */
  verifyOrganisationToken(shown: ShownOrganisationToken): Promise<Reply<boolean>> {
    return reply(() => {
      if (this.#schema.state === "absent") return false;
      this.#open();
      return this.#organisationTokens.verify(shown, Date.now());
    });
  }

  async gauges(): Promise<Gauges> {
    if (this.#schema.state !== "ready") {
      const nothing = { workspaces: 0, setAside: 0, unflushedSince: null, flushLag: 0, blockedReason: null };
      return { ...nothing, counters: {}, sweepErrors: {}, lockedSecrets: 0 };
    }
    const live = this.#nodes.live();
    const own = this.#flush.status();
    const since = live.map((node) => node.unflushed_since).filter((at) => at !== null);
    return {
      workspaces: live.length,
      setAside: live.reduce((sum, node) => sum + node.set_aside, own.set_aside + this.#effects.setAside()),
      unflushedSince: since.length === 0 ? null : Math.min(...since),
      flushLag: own.lag_versions,
      blockedReason: own.blocked_reason,
      counters: sumCounters(live.map((node) => node.counters)),
      sweepErrors: this.#sweeps.errors(),
      lockedSecrets: this.#secrets.locked(),
    };
  }

  /**
   * The sweeps that a tick should make now, or with `all` whichever are asked about; each is planned anew, `againInMs`
   * from now. An idle deployment lets Postgres sleep.
   */
  async beginSweeps(input: {
    againInMs: Partial<Record<SweepName, number>>;
    all: boolean;
  }): Promise<(BegunSweep | MachineSweep | PurgeSweep)[]> {
    if (this.#schema.state !== "ready") return [];
    const now = Date.now();
    const due = this.#nodes.lifecycleDue(now, MACHINE_SWEEP_LIMIT);
    const ids = due.filter(({ purged_at }) => purged_at === null).map(({ id }) => id);
    const purges = due.filter(({ purged_at }) => purged_at !== null).map((node) => purgingOf(node, null));
    const machines: MachineSweep[] = ids.length === 0 ? [] : [{ name: "machines", ids }];
    const purging: PurgeSweep[] = purges.length === 0 ? [] : [{ name: "purges", purges }];
    return [...this.#sweeps.begin(input.againInMs, input.all, now), ...machines, ...purging];
  }

  /** Workspaces whose machines are not settled, removed ones too, those first that have been due for longest. */
  async unsettled(input: { limit: number }): Promise<Reply<{ id: string; name: string }[]>> {
    return reply(() => {
      if (this.#schema.state !== "ready") return [];
      const due = this.#nodes.lifecycleDue(Number.MAX_SAFE_INTEGER, input.limit);
      return due.map(({ id, name }) => ({ id, name }));
    });
  }

  /** How a sweep went. */
  async endSweep(end: SweepEnd): Promise<void> {
    if (this.#schema.state !== "ready") return;
    this.#sweeps.end(end, Date.now());
  }

  /** The directory's own part of the daily scrub: what the ledger refused is tried again, secrets get the new key. */
  async scrub(): Promise<void> {
    if (this.#schema.state !== "ready") return;
    this.ctx.storage.transactionSync(() => this.#secrets.reseal());
    this.#effects.retrySetAside(Date.now());
    await this.#flush.retrySetAside();
    await this.alarm();
  }

  /** The next slice of live workspaces for the daily scrub; starts over after the last one. */
  async scrubSlice(cursor: number): Promise<{ ids: string[]; next: number | null }> {
    if (this.#schema.state !== "ready") return { ids: [], next: null };
    const slice = this.#nodes.slice(cursor, SCRUB_SLICE);
    const last = slice.at(-1);
    return { ids: slice.map(({ id }) => id), next: slice.length === SCRUB_SLICE && last ? last.seq : null };
  }

  override async alarm(): Promise<void> {
    if (this.#schema.state !== "ready") return;
    await this.#alarm.run(Date.now());
  }

  /**
   * Tells objects what has been committed, and answers which of them have not confirmed it in time: they hear of it by
   * alarm.
   */
  async #tellAll(effects: readonly Effect[], now: number): Promise<string[]> {
    const untold = new Set(effects.map(({ receiver }) => receiver));
    const told = Promise.all(
      effects.map(async (effect) => {
        if (await this.#effects.tell(effect, now)) untold.delete(effect.receiver);
      }),
    );
    this.#afterCommit(now);
    await Promise.race([told, scheduler.wait(CONFIRMATION_WAIT_MS)]);
    return [...untold];
  }

  async #isPending(effects: readonly Effect[], now: number): Promise<boolean> {
    return (await this.#tellAll(effects, now)).length > 0;
  }

  /**
   * The same for objects that lose their machines; answers how many of those still run. One that has not confirmed may
   * have a machine where the platform runs it.
   */
  async #tellAndCountStops(
    effects: readonly Effect[],
    now: number,
  ): Promise<{ stopsPending: number; pending: boolean }> {
    for (const { receiver } of effects) this.#stopsPending.set(receiver, 0);
    const untold = new Set(await this.#tellAll(effects, now));
    const mayRun = (id: string) => untold.has(id) && !isExternal(this.#nodes.find(id)?.runtime ?? "");
    const stopsPending = effects.reduce((sum, { receiver }) => {
      const count = this.#stopsPending.get(receiver) ?? 0;
      this.#stopsPending.delete(receiver);
      return sum + (mayRun(receiver) ? 1 : count);
    }, 0);
    return { stopsPending, pending: untold.size > 0 };
  }

  /** Nobody waits any more for one that is told by alarm. */
  #noteStops(id: string, count: number): void {
    if (this.#stopsPending.has(id)) this.#stopsPending.set(id, count);
  }

  /** Changes a secret and, in the same turn, wishes new machines for all whose environment it changes. */
  #withNewEnvironment(workspaceId: string | null, key: string, change: (now: number) => void): void {
    const now = Date.now();
    const effects = this.ctx.storage.transactionSync(() => {
      change(now);
      const concerned = this.#concernedBy(workspaceId, key);
      if (concerned.length === 0) return [];
      const mark: Mark = { treeVersion: this.#tree.nextTreeVersion(), platformUrl: "" };
      return concerned.map(({ id }) => this.#effects.add(id, "restarted", mark, now));
    });
    if (effects.length > 0) this.ctx.waitUntil(this.#tellAll(effects, now));
  }

  /** Workspaces with a machine that reads this secret: a global one yields to the workspace's own. */
  #concernedBy(workspaceId: string | null, key: string): NodeRow[] {
    if (!hasProvisioner(configOf(this.env))) return [];
    const nodes = workspaceId === null ? this.#nodes.live() : [this.#tree.requireLive(workspaceId)];
    return nodes.filter(
      (node) =>
        !isExternal(node.runtime) &&
        node.paused_at === null &&
        (workspaceId !== null || this.#secrets.list(node.id).every((own) => own.key !== key)) &&
        this.#tree.pausedAncestor(node) === null,
    );
  }

  /** Before a secret is written: its workspace lives, or the organisation has a directory from now on. */
  #openFor(workspaceId: string | null): void {
    if (workspaceId !== null) this.#tree.requireLive(workspaceId);
    this.#open();
  }

  /** As people see them. Cards over the board's limit are read from their objects; one that does not answer is shown without. */
  async #shown(nodes: NodeRow[]): Promise<NodeRow[]> {
    const cards = new Map<string, string | null>();
    const large = nodes.filter((node) => node.card_in_object === 1);
    for (let at = 0; at < large.length; at += CARD_CONCURRENCY) {
      await Promise.all(
        large.slice(at, at + CARD_CONCURRENCY).map(async ({ id }) => {
          const reply = await workspaceStub(this.env, id)
            .agentCard()
            .catch(() => null);
          cards.set(id, reply?.outcome.ok ? reply.outcome.value : null);
        }),
      );
    }
    return nodes.map((node) => {
      const shown = { ...node, status: shownStatus(node) };
      return cards.has(node.id) ? { ...shown, agent_card: cards.get(node.id) ?? null } : shown;
    });
  }

  async #deliver(effect: Effect): Promise<Delivery> {
    const workspace = workspaceStub(this.env, effect.receiver);
    if (effect.kind === "created") await workspace.created(JSON.parse(effect.payload) as WorkspaceSeed);
    else if (effect.kind === "removed")
      this.#noteStops(effect.receiver, await workspace.removed(JSON.parse(effect.payload) as Removal));
    else if (effect.kind === "purged") await this.#tellPurged(JSON.parse(effect.payload) as Purging);
    else if (effect.kind === "paused") await workspace.paused(JSON.parse(effect.payload) as Mark);
    else if (effect.kind === "resumed") await workspace.resumed(JSON.parse(effect.payload) as Mark);
    else if (effect.kind === "restarted") await workspace.restarted(JSON.parse(effect.payload) as Mark);
    else if (effect.kind === "collapsed") await workspace.collapsed(JSON.parse(effect.payload) as Collapse);
    else if (effect.kind === "noted") await workspace.noted(JSON.parse(effect.payload) as Note);
    else if (effect.kind === "placed") await workspace.placed(JSON.parse(effect.payload) as Placement);
    else throw new Error(`unknown effect ${effect.kind}`);
    return "told";
  }

  /** The minute cron tells it again until it is done: an object that was lost on the way must have its tombstone. */
  async #tellPurged(purging: Purging): Promise<void> {
    const { workspaceId } = purging;
    const { done, stopsPending } = await workspaceStub(this.env, workspaceId).purged(purging);
    this.#noteStops(workspaceId, stopsPending);
    if (done) this.#nodes.lookAgain(workspaceId, null);
  }

  #open(): void {
    if (this.#schema.state === "ahead") throw new Refusal("schema.ahead", { retryAfter: 10 });
    this.#schema.create();
  }

  #afterCommit(now: number): void {
    if (this.#flush.isDirty()) this.ctx.waitUntil(this.#flushAndRearm());
    this.#alarm.arm(now);
  }

  async #flushAndRearm(): Promise<void> {
    await this.#pace.run();
    this.#alarm.arm(Date.now());
  }

  #scheduler(current: number | null): AlarmScheduler {
    const flush = this.#flush;
    const flushClock = {
      name: "flush",
      dueAt: (now: number) => flush.dueAt(now),
      run: (now: number) => flush.run(now),
    };
    return new AlarmScheduler(this.ctx.storage, [this.#effects, flushClock], current);
  }
}

function notStored(created: ImportPlan["creations"]): OrgImported["notStored"] {
  const count = (key: "memories" | "schedules" | "channels") =>
    created.reduce((sum, node) => sum + node[key].length, 0);
  return { memories: count("memories"), schedules: count("schedules"), channels: count("channels") };
}

function siblingsIn(live: readonly NodeRow[]): Sibling[] {
  const parents = new Set(live.map(({ parent_id }) => parent_id));
  return live.map((node) => ({
    ...importedNode(node),
    createdAt: node.created_at,
    hasChildren: parents.has(node.id),
  }));
}

function liveNode({ id, name, parent_id }: NodeRow): LiveNode {
  return { id, name, parentId: parent_id };
}

function importedNode(node: NodeRow): ImportedNode {
  return { ...liveNode(node), status: shownStatus(node) };
}

function sumCounters(texts: readonly string[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const text of texts) {
    for (const [name, value] of Object.entries(JSON.parse(text) as Record<string, number>)) {
      sums[name] = (sums[name] ?? 0) + value;
    }
  }
  return sums;
}
