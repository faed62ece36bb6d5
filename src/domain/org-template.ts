import * as z from "zod";
import { type EnvSummary, summarizeEnv } from "./env-requirement.ts";
import { MAX_KINSHIP_LEVELS } from "./hierarchy.ts";
import { Refusal, type RefusalCode } from "./refusal.ts";
import { isStorableText } from "./text.ts";

/** The most workspaces that one template or bundle creates. */
export const TREE_NODES_MAX = 500;
/** The most that one workspace may hold, in bytes of JSON, since it travels through single rows; and a whole tree. */
export const NODE_BYTES_MAX = 512 * 1024;
export const TREE_BYTES_MAX = 8 * 1024 * 1024;

const text = z.string().refine(isStorableText);
const texts = z.array(text);
/** Identifiers of chats and users are written without quotes often enough. */
const scalarText = z.union([text, z.number().transform(String), z.boolean().transform(String)]);
const env = z.array(z.union([z.string(), z.object({ any_of: z.array(z.string()).min(1) })]));
const memory = z.object({ content: text.nullish(), scope: text.nullish() });
const categories = z.record(text, texts.nullable());

const SCHEDULE = z.object({
  name: text.nullish(),
  cron_expr: text.nullish(),
  timezone: text.nullish(),
  prompt: text.nullish(),
  prompt_file: text.nullish(),
  enabled: z.boolean().nullish(),
});

const CHANNEL = z.object({
  type: text.nullish(),
  config: z.record(text, scalarText.nullable()).nullish(),
  allowed_users: z.array(scalarText).nullish(),
  enabled: z.boolean().nullish(),
});

/** What a workspace and the defaults of all may both say. */
const SHARED = {
  runtime: text.max(100).nullish(),
  tier: z.int32().nullish(),
  model: text.max(100).nullish(),
  plugins: texts.nullish(),
  initial_prompt: text.nullish(),
  initial_prompt_file: text.nullish(),
  idle_prompt: text.nullish(),
  idle_prompt_file: text.nullish(),
  idle_interval_seconds: z.int32().nullish(),
  category_routing: categories.nullish(),
  initial_memories: z.array(memory).nullish(),
};

const WORKSPACE_FIELDS = z.object({
  ...SHARED,
  name: text.max(255).nullish(),
  role: text.nullish(),
  template: text.nullish(),
  files_dir: text.nullish(),
  system_prompt: text.nullish(),
  workspace_dir: text.nullish(),
  workspace_access: text.nullish(),
  max_concurrent_tasks: z.int32().nullish(),
  schedules: z.array(SCHEDULE).nullish(),
  channels: z.array(CHANNEL).nullish(),
  external: z.boolean().nullish(),
  url: text.max(2_048).nullish(),
  canvas: z.object({ x: z.number().nullish(), y: z.number().nullish() }).nullish(),
  required_env: env.nullish(),
  recommended_env: env.nullish(),
});

export type OrgWorkspace = z.output<typeof WORKSPACE_FIELDS> & {
  readonly children?: readonly OrgWorkspace[] | null | undefined;
};

const WORKSPACE: z.ZodType<OrgWorkspace> = WORKSPACE_FIELDS.extend({
  children: z.lazy(() => z.array(WORKSPACE)).nullish(),
});

/** The template of an organisation as YAML or JSON has it; unknown keys are ignored, null is absent. */
export const ORG_TEMPLATE = z.object({
  name: text.max(255).nullish(),
  description: text.nullish(),
  defaults: z.object(SHARED).nullish(),
  workspaces: z.array(WORKSPACE).nullish(),
  global_memories: z.array(memory).nullish(),
  required_env: env.nullish(),
  recommended_env: env.nullish(),
});

export type OrgTemplate = z.output<typeof ORG_TEMPLATE>;
export type OrgDefaults = NonNullable<OrgTemplate["defaults"]>;

/** Reads a value as a template within the bounds; `wrongShape` is the refusal of one that has another shape. */
export function parseOrgTemplate(value: unknown, wrongShape: RefusalCode = "org.invalid_template"): OrgTemplate {
  const result = ORG_TEMPLATE.safeParse(value);
  if (!result.success) {
    throw new Refusal(wrongShape, { details: { field: String(result.error.issues[0]?.path.join(".")) } });
  }
  checkBounds(result.data);
  return result.data;
}

/** All workspaces of a template, parents before their children. */
export function workspacesOf(template: OrgTemplate): OrgWorkspace[] {
  const flat = (workspaces: readonly OrgWorkspace[]): OrgWorkspace[] =>
    workspaces.flatMap((workspace) => [workspace, ...flat(workspace.children ?? [])]);
  return flat(template.workspaces ?? []);
}

export function envOf(template: OrgTemplate): EnvSummary {
  return summarizeEnv([template, ...workspacesOf(template)]);
}

/** Why a tree is too large to be created; null when it is not. */
export function excessOf<Node>(roots: readonly Node[], childrenOf: (node: Node) => readonly Node[]): string | null {
  let count = 0;
  let level = roots;
  for (let depth = 0; level.length > 0; depth += 1) {
    count += level.length;
    if (depth === MAX_KINSHIP_LEVELS) return `more than ${MAX_KINSHIP_LEVELS} levels`;
    if (count > TREE_NODES_MAX) return `more than ${TREE_NODES_MAX} workspaces`;
    level = level.flatMap(childrenOf);
  }
  return null;
}

/** The size of a value in bytes of JSON. */
export function jsonBytes(value: object): number {
  return new TextEncoder().encode(JSON.stringify(value)).length;
}

function checkBounds(template: OrgTemplate): void {
  const excess = excessOf(template.workspaces ?? [], ({ children }) => children ?? []);
  if (excess !== null) throw invalidTemplate(excess);
}

/** The refusal of a template that has the right shape and says something impossible. */
export function invalidTemplate(reason: string): Refusal {
  return new Refusal("org.invalid_template", { details: { reason } });
}
