import { pathInside } from "./file-path.ts";
import type { Point } from "./layout.ts";
import {
  invalidTemplate,
  jsonBytes,
  NODE_BYTES_MAX,
  type OrgDefaults,
  type OrgTemplate,
  type OrgWorkspace,
  TREE_BYTES_MAX,
} from "./org-template.ts";
import { DEFAULT_RUNTIME, defaultModel, EXTERNAL_RUNTIME, isExternal } from "./runtime.ts";

/** A memory to be seeded, as the template has it. */
export interface SeedMemory {
  readonly content: string;
  readonly scope: string;
}

export interface SeedSchedule {
  readonly name: string;
  readonly cronExpr: string;
  readonly timezone: string;
  readonly prompt: string;
  readonly enabled: boolean;
}

/** A channel with its `${VARIABLES}` as written: their values are secrets, which the workspace has under these names. */
export interface SeedChannel {
  readonly type: string;
  readonly config: Readonly<Record<string, string>>;
  readonly allowedUsers: readonly string[];
  readonly enabled: boolean;
}

export interface SkippedChannel {
  readonly workspace: string;
  readonly type: string;
  readonly reason: string;
}

/** What starting the workspace needs beyond its row. */
export interface NodeConfig {
  /** The workspace template to start from. */
  readonly template: string | null;
  /** The folder of an org template whose files replace those of `template`. */
  readonly orgFiles: { readonly dir: string; readonly folder: string } | null;
  /** Files that travel with the tree itself, by their paths. */
  readonly files: Readonly<Record<string, string>>;
  readonly systemPrompt: string | null;
  readonly initialPrompt: string | null;
  readonly idlePrompt: string | null;
  readonly idleIntervalSeconds: number;
  readonly plugins: readonly string[];
  readonly categoryRouting: Readonly<Record<string, readonly string[]>>;
}

/** One workspace of a tree that is to be created, with everything inherited filled in. */
export interface OrgNode {
  readonly name: string;
  readonly role: string | null;
  readonly tier: number;
  readonly runtime: string;
  readonly model: string;
  readonly external: boolean;
  readonly url: string | null;
  readonly workspaceDir: string | null;
  readonly workspaceAccess: string;
  readonly canvas: Point;
  readonly maxConcurrentTasks: number;
  readonly memories: readonly SeedMemory[];
  readonly schedules: readonly SeedSchedule[];
  readonly channels: readonly SeedChannel[];
  readonly skippedChannels: readonly SkippedChannel[];
  /** Secrets of the workspace, in plain text. */
  readonly secrets: Readonly<Record<string, string>>;
  readonly config: NodeConfig;
  /** JSON text. */
  readonly agentCard: string | null;
  readonly sourceBundleId: string | null;
  readonly children: readonly OrgNode[];
}

/** The trees of a template, and what is seeded with the first of them. */
export interface OrgTree {
  readonly name: string;
  readonly roots: readonly OrgNode[];
  readonly globalMemories: readonly SeedMemory[];
}

export interface OrgSurroundings {
  /** The directory of the template; absent for one that came with the request. */
  readonly dir?: string;
  /** The tier of a workspace for which nobody gives one. */
  readonly defaultTier: number;
  /** What the template's `.env` files give a workspace with this `files_dir`. */
  readonly secretsFor?: (folder: string | null) => Readonly<Record<string, string>>;
  /** Further values for `${NAME}`, which the `.env` files go before. */
  readonly variables?: Readonly<Record<string, string>>;
  /** What a workspace template says of itself, "" where it says nothing; null for one that does not exist. */
  readonly templateOf?: TemplateFinder;
}

export type TemplateFinder = (name: string) => { readonly runtime: string; readonly model: string } | null;

export const NO_CONFIG: NodeConfig = {
  template: null,
  orgFiles: null,
  files: {},
  systemPrompt: null,
  initialPrompt: null,
  idlePrompt: null,
  idleIntervalSeconds: 600,
  plugins: [],
  categoryRouting: {},
};

/** A plugin is a folder of the registry; a name with a way out of it is none. */
const PLUGIN_NAME = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/;
const REFERENCE = /\$\{([A-Za-z_][A-Za-z0-9_]{0,127})\}/g;

/** Fills in what each workspace inherits. Throws `org.invalid_template` for what could never be created. */
export function resolveOrg(template: OrgTemplate, surroundings: OrgSurroundings): OrgTree {
  const defaults = template.defaults ?? {};
  let total = 0;
  const resolve = (workspace: OrgWorkspace): OrgNode => {
    const node = resolveWorkspace(workspace, defaults, surroundings);
    const bytes = jsonBytes(node);
    total += bytes;
    if (bytes > NODE_BYTES_MAX) throw invalidTemplate(`workspace ${node.name} is too large`);
    if (total > TREE_BYTES_MAX) throw invalidTemplate("the workspaces are too large together");
    return { ...node, children: (workspace.children ?? []).map(resolve) };
  };
  const memories = (template.global_memories ?? []).map(({ content }) => ({ content: content ?? "", scope: "GLOBAL" }));
  if (jsonBytes(memories) > NODE_BYTES_MAX) throw invalidTemplate("global_memories are too large");
  return { name: template.name ?? "", roots: (template.workspaces ?? []).map(resolve), globalMemories: memories };
}

function resolveWorkspace(
  workspace: OrgWorkspace,
  defaults: OrgDefaults,
  { dir, defaultTier, secretsFor = () => ({}), variables = {}, templateOf = () => null }: OrgSurroundings,
): OrgNode {
  const name = workspace.name ?? "";
  const config = configOf(workspace, defaults);
  const template = config.template === null ? null : templateOf(config.template);
  const named = workspace.runtime || defaults.runtime || template?.runtime || DEFAULT_RUNTIME;
  const runtime = workspace.external === true ? EXTERNAL_RUNTIME : named;
  const folder = folderIn("files_dir", workspace.files_dir);
  const secrets = secretsFor(folder);
  const known = new Map(Object.entries({ ...variables, ...secrets }));
  const channels = (workspace.channels ?? []).map(readChannel);
  const isUsable = (channel: SeedChannel) => missingFor(channel, known).length === 0;
  return {
    name,
    role: workspace.role || null,
    tier: workspace.tier || defaults.tier || defaultTier,
    runtime,
    model: workspace.model || defaults.model || template?.model || defaultModel(runtime),
    external: isExternal(runtime),
    url: workspace.url || null,
    workspaceDir: expanded(workspace.workspace_dir ?? "", known) || null,
    workspaceAccess: workspace.workspace_access || "none",
    canvas: { x: workspace.canvas?.x ?? 0, y: workspace.canvas?.y ?? 0 },
    maxConcurrentTasks: Math.max(1, workspace.max_concurrent_tasks ?? 1),
    memories: readMemories(workspace.initial_memories ?? [], defaults.initial_memories ?? []),
    schedules: readSchedules(workspace),
    channels: channels.filter(isUsable),
    skippedChannels: channels
      .filter((channel) => !isUsable(channel))
      .map((channel) => ({
        workspace: name,
        type: channel.type,
        reason: `missing variables: ${missingFor(channel, known).join(", ")}`,
      })),
    secrets,
    config: { ...config, orgFiles: dir === undefined || folder === null ? null : { dir, folder } },
    agentCard: null,
    sourceBundleId: null,
    children: [],
  };
}

function configOf(workspace: OrgWorkspace, defaults: OrgDefaults): NodeConfig {
  const interval = workspace.idle_interval_seconds || defaults.idle_interval_seconds || 0;
  return {
    ...NO_CONFIG,
    template: folderIn("template", workspace.template),
    systemPrompt: workspace.system_prompt || null,
    initialPrompt: workspace.initial_prompt || defaults.initial_prompt || null,
    idlePrompt: workspace.idle_prompt || defaults.idle_prompt || null,
    idleIntervalSeconds: interval > 0 ? interval : NO_CONFIG.idleIntervalSeconds,
    plugins: mergePlugins(defaults.plugins ?? [], workspace.plugins ?? []),
    categoryRouting: mergeRouting(defaults.category_routing ?? {}, workspace.category_routing ?? {}),
  };
}

function folderIn(field: string, given: string | null | undefined): string | null {
  if (!given) return null;
  const path = pathInside("", given);
  if (path === null) throw invalidTemplate(`${field} ${given} leaves its folder`);
  return path || null;
}

/** The defaults and the workspace's own, each once, without those that the workspace takes away with `!` or `-`. */
function mergePlugins(defaults: readonly string[], own: readonly string[]): string[] {
  const plugins = new Set<string>();
  for (const entry of [...defaults, ...own]) {
    const removes = /^[!-]/.test(entry);
    const plugin = removes ? entry.slice(1) : entry;
    if (!PLUGIN_NAME.test(plugin)) throw invalidTemplate(`${JSON.stringify(entry)} is no plugin`);
    if (removes) plugins.delete(plugin);
    else plugins.add(plugin);
  }
  return [...plugins];
}

type Routing = Readonly<Record<string, readonly string[] | null>>;

/** A workspace's categories replace the defaults'; an empty list drops a category. */
function mergeRouting(defaults: Routing, own: Routing): Record<string, readonly string[]> {
  const merged = new Map([...Object.entries(defaults), ...Object.entries(own)]);
  return Object.fromEntries([...merged].flatMap(([category, roles]) => (roles?.length ? [[category, roles]] : [])));
}

type Memories = NonNullable<OrgWorkspace["initial_memories"]>;

function readMemories(own: Memories, defaults: Memories): SeedMemory[] {
  return (own.length > 0 ? own : defaults).map(({ content, scope }) => ({
    content: content ?? "",
    scope: scope ?? "",
  }));
}

/** Without a time or a prompt nothing could ever run. */
function readSchedules({ schedules }: OrgWorkspace): SeedSchedule[] {
  return (schedules ?? []).flatMap(({ name, cron_expr, timezone, prompt, enabled }) =>
    cron_expr && prompt
      ? [{ name: name ?? "", cronExpr: cron_expr, timezone: timezone || "UTC", prompt, enabled: enabled ?? true }]
      : [],
  );
}

function readChannel(channel: NonNullable<OrgWorkspace["channels"]>[number]): SeedChannel {
  const config = Object.entries(channel.config ?? {}).map(([key, value]) => [key, value ?? ""] as const);
  return {
    type: channel.type ?? "",
    config: Object.fromEntries(config),
    allowedUsers: channel.allowed_users ?? [],
    enabled: channel.enabled ?? true,
  };
}

function missingFor({ config }: SeedChannel, known: ReadonlyMap<string, string>): string[] {
  const references = Object.values(config).flatMap((value) => [...value.matchAll(REFERENCE)]);
  return [...new Set(references.map(([reference]) => reference.slice(2, -1)).filter((name) => !known.has(name)))];
}

/** What nobody knows stays as it is written, so that the check of the result can name it. */
function expanded(value: string, known: ReadonlyMap<string, string>): string {
  return value.replaceAll(REFERENCE, (reference, name: string) => known.get(name) ?? reference);
}
