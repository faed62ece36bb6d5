import * as z from "zod";
import { isFilePath } from "./file-path.ts";
import { matchKeys } from "./json-keys.ts";
import { NO_CONFIG, type OrgNode } from "./org-node.ts";
import { excessOf, jsonBytes, NODE_BYTES_MAX, TREE_BYTES_MAX } from "./org-template.ts";
import { Refusal } from "./refusal.ts";
import { DEFAULT_RUNTIME, defaultModel, isExternal } from "./runtime.ts";
import { isStorableText } from "./text.ts";
import { isAllowedDirectory, type WorkspaceAccess, workspaceAccessOf } from "./workspace-creation.ts";

const text = z.string().refine(isStorableText);
const files = z.record(z.string().refine(isFilePath), text);

const SKILL = z.object({
  id: z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$/),
  name: text.nullish(),
  description: text.nullish(),
  files: files.nullish(),
});

const BUNDLE_FIELDS = z.object({
  schema: text.nullish(),
  id: text.max(255).nullish(),
  name: text.min(1).max(255),
  description: text.nullish(),
  tier: z.int32().nullish(),
  model: text.max(100).nullish(),
  system_prompt: text.nullish(),
  skills: z.array(SKILL).nullish(),
  tools: z.array(z.unknown()).nullish(),
  prompts: files.nullish(),
  workspace_dir: text.refine((path) => path === "" || isAllowedDirectory(path)).nullish(),
  workspace_access: text.refine((access) => workspaceAccessOf(access) !== null).nullish(),
  agent_card: z.record(z.string(), z.unknown()).nullish(),
  author: text.nullish(),
  version: text.nullish(),
});

export type Bundle = z.output<typeof BUNDLE_FIELDS> & {
  readonly sub_workspaces?: readonly Bundle[] | null | undefined;
};

/** A workspace with everything in it, as it travels between platforms; unknown keys are ignored, null is absent. */
export const BUNDLE: z.ZodType<Bundle> = BUNDLE_FIELDS.extend({
  sub_workspaces: z.lazy(() => z.array(BUNDLE)).nullish(),
});

/** What the platform knows of a live workspace that is exported. */
export interface BundleSource {
  readonly id: string;
  readonly name: string;
  readonly role: string | null;
  readonly tier: number;
  readonly runtime: string;
  /** The model of the workspace where one is known. */
  readonly model: string | null;
  readonly workspaceDir: string | null;
  readonly workspaceAccess: WorkspaceAccess;
  readonly systemPrompt: string | null;
  /** The registered card; null where there is none. */
  readonly agentCard: Readonly<Record<string, unknown>> | null;
  /** Further files of its configuration, by path; a config.yaml among them goes before the generated one. */
  readonly files: Readonly<Record<string, string>>;
  readonly children: readonly BundleSource[];
}

/** A bundle exactly as it is exported. */
export interface ExportedBundle {
  readonly schema: "1.0";
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly tier: number;
  readonly model: "";
  readonly system_prompt: string;
  readonly skills: readonly {
    readonly id: string;
    readonly name: string;
    readonly description: string;
    readonly files: Readonly<Record<string, string>>;
  }[];
  readonly tools: readonly [];
  readonly prompts: Readonly<Record<string, string>>;
  /** Ours; there where the workspace has a directory of its host. */
  readonly workspace_dir?: string;
  readonly workspace_access?: WorkspaceAccess;
  readonly sub_workspaces: readonly ExportedBundle[];
  readonly agent_card: Readonly<Record<string, unknown>> | null;
  readonly author: string;
  readonly version: "1.0.0";
}

const CONFIG_FILE = "config.yaml";
const SKILL_FILE = /^skills\/([^/]+)\/(.+)$/;
const QUOTED = /^(["'])(.*?)\1\s*(?:#.*)?$/;
const CONFIG_LINE = /^(runtime|model)[ \t]*:(?:[ \t]+(.*))?$/;

/** Reads the body of an import within the bounds of a tree; throws `bundle.invalid`. */
export function readBundle(body: unknown): Bundle {
  const result = BUNDLE.safeParse(matchKeys(body, BUNDLE));
  if (!result.success) {
    throw new Refusal("bundle.invalid", { details: { field: String(result.error.issues[0]?.path.join(".")) } });
  }
  const excess = excessOf([result.data], ({ sub_workspaces }) => sub_workspaces ?? []);
  if (excess !== null) throw new Refusal("bundle.invalid", { details: { reason: excess } });
  return result.data;
}

/** The bundle of a workspace with all its children. Its config.yaml tells the runtime, so that a copy keeps it. */
export function bundleOf(source: BundleSource): ExportedBundle {
  const files = Object.entries(source.files);
  return {
    schema: "1.0",
    id: source.id,
    name: source.name,
    description: source.role ?? "",
    tier: source.tier,
    model: "",
    system_prompt: source.systemPrompt ?? "",
    skills: skillsOf(files),
    tools: [],
    prompts: {
      [CONFIG_FILE]: configText(source),
      ...Object.fromEntries(files.filter(([path]) => !SKILL_FILE.test(path))),
    },
    ...(source.workspaceDir === null
      ? {}
      : { workspace_dir: source.workspaceDir, workspace_access: source.workspaceAccess }),
    sub_workspaces: source.children.map(bundleOf),
    agent_card: source.agentCard,
    author: "",
    version: "1.0.0",
  };
}

/** The workspaces of a bundle, ready to be planned; `defaultTier` is for those that name none. */
export function treeOfBundle(bundle: Bundle, defaultTier: number): OrgNode {
  let total = 0;
  const visit = (given: Bundle): OrgNode => {
    const node = nodeOf(given, defaultTier);
    const bytes = jsonBytes(node);
    total += bytes;
    if (bytes > NODE_BYTES_MAX || total > TREE_BYTES_MAX) {
      throw new Refusal("bundle.invalid", { details: { reason: `workspace ${node.name} is too large` } });
    }
    return { ...node, children: (given.sub_workspaces ?? []).map(visit) };
  };
  return visit(bundle);
}

function nodeOf(bundle: Bundle, defaultTier: number): OrgNode {
  const config = bundle.prompts?.[CONFIG_FILE] ?? "";
  const runtime = configValue(config, "runtime") || DEFAULT_RUNTIME;
  return {
    name: bundle.name,
    role: bundle.description || null,
    tier: bundle.tier || defaultTier,
    runtime,
    model: bundle.model || configValue(config, "model") || defaultModel(runtime),
    external: isExternal(runtime),
    url: null,
    ...mountOf(bundle),
    canvas: { x: 0, y: 0 },
    maxConcurrentTasks: 1,
    memories: [],
    schedules: [],
    channels: [],
    skippedChannels: [],
    secrets: {},
    config: { ...NO_CONFIG, files: filesOf(bundle), systemPrompt: bundle.system_prompt || null },
    agentCard: bundle.agent_card ? JSON.stringify(bundle.agent_card) : null,
    sourceBundleId: bundle.id || null,
    children: [],
  };
}

/** An access needs a directory to go with. */
function mountOf({ workspace_dir, workspace_access }: Bundle): Pick<OrgNode, "workspaceDir" | "workspaceAccess"> {
  const [workspaceDir, workspaceAccess] = [workspace_dir || null, workspace_access || "none"];
  if (workspaceDir === null && workspaceAccess !== "none") {
    throw new Refusal("bundle.invalid", { details: { field: "workspace_access" } });
  }
  return { workspaceDir, workspaceAccess };
}

/** The files of a bundle as a workspace has them: prompts as named, skills in folders of their own. */
function filesOf({ prompts, skills }: Bundle): Record<string, string> {
  const inSkills = (skills ?? []).flatMap((skill) =>
    Object.entries(skill.files ?? {}).map(([path, content]) => [`skills/${skill.id}/${path}`, content] as const),
  );
  return Object.fromEntries([...Object.entries(prompts ?? {}), ...inSkills]);
}

function skillsOf(files: readonly (readonly [path: string, content: string])[]): ExportedBundle["skills"] {
  const skills = new Map<string, Record<string, string>>();
  for (const [path, content] of files) {
    const [, id, inside] = SKILL_FILE.exec(path) ?? [];
    if (id !== undefined && inside !== undefined) skills.set(id, { ...skills.get(id), [inside]: content });
  }
  return [...skills].map(([id, contents]) => ({ id, name: id, description: "", files: contents }));
}

function configText({ name, tier, runtime, model }: BundleSource): string {
  const lines = [`name: ${JSON.stringify(name)}`, `tier: ${tier}`, `runtime: ${JSON.stringify(runtime)}`];
  return `${[...lines, ...(model === null ? [] : [`model: ${JSON.stringify(model)}`])].join("\n")}\n`;
}

/** Longer lines hold no name of a runtime or model. */
const CONFIG_LINE_CHARACTERS_MAX = 200;

/** The scalar of a top-level line of a YAML text, without its quotes and comment; empty when there is none. */
export function configValue(config: string, key: "runtime" | "model"): string {
  for (const line of config.split(/\r?\n/)) {
    if (line.length > CONFIG_LINE_CHARACTERS_MAX) continue;
    const [, found, rest = ""] = CONFIG_LINE.exec(line) ?? [];
    if (found === key) return scalarOf(rest.trim());
  }
  return "";
}

function scalarOf(value: string): string {
  return QUOTED.test(value) ? value.replace(QUOTED, "$2") : value.replace(/(?:^|\s)#.*$/, "").trim();
}
