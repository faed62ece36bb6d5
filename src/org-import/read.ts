import * as z from "zod";
import type { EnvRequirement, EnvSummary } from "../domain/env-requirement.ts";
import { pathInside, type TemplateFiles } from "../domain/file-path.ts";
import { matchKeys } from "../domain/json-keys.ts";
import { isJsonObject } from "../domain/json-text.ts";
import { type OrgSurroundings, type OrgTree, resolveOrg, type TemplateFinder } from "../domain/org-node.ts";
import {
  envOf,
  invalidTemplate,
  ORG_TEMPLATE,
  type OrgDefaults,
  type OrgTemplate,
  type OrgWorkspace,
  parseOrgTemplate,
  TREE_BYTES_MAX,
  workspacesOf,
} from "../domain/org-template.ts";
import { Refusal } from "../domain/refusal.ts";
import { isStorableText } from "../domain/text.ts";
import { summarizeTemplate, type TemplateSummary } from "../domain/workspace-template.ts";
import { parseEnvFile } from "./env-file.ts";
import { expandFile, expansionFailed } from "./expand.ts";
import { Include, parseYaml } from "./yaml.ts";

/** How an import meets what is there: it fills in what is missing, or replaces trees of the same names. */
export type ImportMode = "merge" | "replace";

/** What `POST /org/import` asks for. */
export interface ImportRequest {
  readonly source: { readonly dir: string } | { readonly template: OrgTemplate };
  readonly mode: ImportMode;
  readonly dryRun: boolean;
}

/** A template that can be imported. */
export interface Org {
  readonly name: string;
  readonly env: EnvSummary;
  /** As the template alone has it. */
  readonly tree: OrgTree;
  /** The same with what the workspace templates say that it names. */
  treeWith(templateOf: TemplateFinder): OrgTree;
}

/** One element of `GET /org/templates`. */
export interface OrgSummary {
  readonly dir: string;
  readonly name: string;
  readonly description: string;
  readonly workspaces: number;
  readonly required_env: readonly EnvRequirement[];
  readonly recommended_env: readonly EnvRequirement[];
}

export type ReadOptions = Pick<OrgSurroundings, "defaultTier" | "variables">;

const REQUEST = z.object({
  dir: z.string().nullish(),
  template: z.record(z.string(), z.unknown()).nullish(),
  mode: z.enum(["merge", "replace"]).nullish(),
  dry_run: z.boolean().nullish(),
});

/** The file that an import reads, and those that make a folder a template in the list. */
const ROOT_FILE = "org.yaml";
const LISTED_FILES = [ROOT_FILE, "org.yml"];

/** Reads the body of an import, in which keys may have any case, as in all JSON; `dir` wins over `template`. */
export function readImportRequest(body: object): ImportRequest {
  const result = REQUEST.safeParse(matchKeys(body, REQUEST));
  if (!result.success) {
    throw new Refusal("request.invalid", { details: { field: String(result.error.issues[0]?.path.join(".")) } });
  }
  const { dir, mode, dry_run } = result.data;
  const template = matchKeys(result.data.template, ORG_TEMPLATE);
  const options = { mode: mode ?? "merge", dryRun: dry_run ?? false } as const;
  if (dir) return { source: { dir: checkedDirectory(dir) }, ...options };
  if (!isJsonObject(template) || !template.name) throw new Refusal("org.source_required");
  return { source: { template: parseOrgTemplate(template, "request.invalid") }, ...options };
}

/** Reads the template in a directory; `files` is null when there is none of that name. */
export function readOrgDirectory(dir: string, files: TemplateFiles | null, options: ReadOptions): Org {
  if (!files?.has(ROOT_FILE)) throw new Refusal("org.template_not_found", { error: `org template not found: ${dir}` });
  const template = inlineFiles(parseOrgTemplate(expandFile(files, ROOT_FILE)), files);
  const secretsFor = (folder: string | null) => ({
    ...parseEnvFile(files.get(".env") ?? ""),
    ...parseEnvFile((folder && files.get(`${folder}/.env`)) || ""),
  });
  return orgOf(template, { ...options, dir, secretsFor });
}

/** Reads a template that came with the request, which has no files. */
export function readOrgInline(template: OrgTemplate, options: ReadOptions): Org {
  return orgOf(inlineFiles(template, null), options);
}

/** What the list shows of a directory; null where it has no template. Throws for a broken one. */
export function summarizeOrg(dir: string, files: TemplateFiles): OrgSummary | null {
  const root = LISTED_FILES.find((path) => files.has(path));
  if (root === undefined) return null;
  const template = parseOrgTemplate(expandFile(files, root));
  const env = envOf(template);
  return {
    dir,
    name: template.name ?? "",
    description: template.description ?? "",
    workspaces: workspacesOf(template).length,
    required_env: env.required,
    recommended_env: env.recommended,
  };
}

/** What the config.yaml of a workspace template says of it; null when it says nothing readable. */
export function readTemplateSummary(id: string, files: TemplateFiles): TemplateSummary | null {
  return summarizeTemplate(id, readYaml(files.get("config.yaml") ?? "")?.value ?? null);
}

/** The value of a YAML text that stands alone, such as a config.yaml; null when it is none. */
export function readYaml(text: string): { readonly value: unknown } | null {
  try {
    const value = parseYaml(text);
    return value instanceof Include ? null : { value };
  } catch {
    return null;
  }
}

function checkedDirectory(given: string): string {
  const dir = pathInside("", given);
  if (dir === null || !given.isWellFormed()) throw new Refusal("org.invalid_directory");
  return dir;
}

function orgOf(template: OrgTemplate, surroundings: OrgSurroundings): Org {
  return {
    name: template.name ?? "",
    env: envOf(template),
    tree: resolveOrg(template, surroundings),
    treeWith: (templateOf) => resolveOrg(template, { ...surroundings, templateOf }),
  };
}

/** The template with the texts of its `*_file` references in place; a text that stands there itself wins. */
function inlineFiles(template: OrgTemplate, files: TemplateFiles | null): OrgTemplate {
  let characters = 0;
  const read = (folder: string, field: string, inline: string | null | undefined, file: string | null | undefined) => {
    if (inline || !file) return inline;
    if (files === null) throw invalidTemplate(`${field} needs a template directory`);
    const path = pathInside(folder, file);
    if (path === null) throw expansionFailed(`${field} ${file} leaves the template`);
    const text = files.get(path);
    if (text === undefined) throw expansionFailed(`${path} is missing`);
    if (!isStorableText(text)) throw expansionFailed(`${path} is no text`);
    characters += text.length;
    if (characters > TREE_BYTES_MAX) throw invalidTemplate("the workspaces are too large together");
    return text;
  };
  const prompts = (folder: string, level: OrgDefaults | OrgWorkspace) => ({
    initial_prompt: read(folder, "initial_prompt_file", level.initial_prompt, level.initial_prompt_file),
    idle_prompt: read(folder, "idle_prompt_file", level.idle_prompt, level.idle_prompt_file),
  });
  const workspace = (given: OrgWorkspace): OrgWorkspace => {
    const folder = pathInside("", given.files_dir ?? "") ?? "";
    return {
      ...given,
      ...prompts(folder, given),
      schedules: given.schedules?.map((schedule) => ({
        ...schedule,
        prompt: read(folder, "prompt_file", schedule.prompt, schedule.prompt_file),
      })),
      children: given.children?.map(workspace),
    };
  };
  const defaults = template.defaults ?? {};
  return {
    ...template,
    defaults: { ...defaults, ...prompts("", defaults) },
    workspaces: template.workspaces?.map(workspace),
  };
}
