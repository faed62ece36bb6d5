import * as z from "zod";
import { isFilePath, type TemplateFiles } from "./file-path.ts";
import { matchKeys } from "./json-keys.ts";
import { Refusal } from "./refusal.ts";
import { isStorableText } from "./text.ts";

/** The most files of an imported template. */
export const TEMPLATE_FILES_MAX = 200;
/** The model that a generated config.yaml names. */
const GENERATED_MODEL = "anthropic:claude-haiku-4-5-20251001";

export interface TemplateModel {
  readonly id: string;
  readonly name?: string;
  readonly required_env?: readonly string[];
}

export interface TemplateProvider {
  readonly name: string;
  readonly auth_mode?: string;
  readonly model_prefixes?: readonly string[];
  readonly model_aliases?: readonly string[];
  readonly base_url?: string;
  readonly auth_env?: readonly string[];
}

/** One element of `GET /templates`. */
export interface TemplateSummary {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly tier: number;
  readonly runtime: string;
  readonly model: string;
  readonly models?: readonly TemplateModel[];
  readonly required_env?: readonly string[];
  readonly providers?: readonly string[];
  readonly provider_registry?: readonly TemplateProvider[];
  readonly skills: readonly string[] | null;
  readonly skill_count: number;
  readonly provision_timeout_seconds?: number;
}

const text = z.string().nullish().catch(null);
const texts = z.array(z.string()).nullish().catch(null);

const MODEL = z.object({ id: z.string().min(1), name: text, required_env: texts });
const PROVIDER = z.object({
  name: z.string().min(1),
  auth_mode: text,
  model_prefixes: texts,
  model_aliases: texts,
  base_url: text,
  auth_env: texts,
});

/** Authors write what they like into a config.yaml: a field of another shape is left out, the rest is shown. */
const CONFIG = z.object({
  name: text,
  description: text,
  tier: z.int32().nullish().catch(null),
  runtime: text,
  model: text,
  skills: texts,
  required_env: texts,
  providers: z.array(PROVIDER).nullish().catch(null),
  runtime_config: z
    .object({
      model: text,
      models: z.array(MODEL).nullish().catch(null),
      required_env: texts,
      providers: texts,
      provision_timeout_seconds: z.int32().positive().nullish().catch(null),
    })
    .nullish()
    .catch(null),
});

/** What the list shows of a template whose config.yaml has this value; null when it is no mapping. */
export function summarizeTemplate(id: string, config: unknown): TemplateSummary | null {
  const result = CONFIG.safeParse(config);
  if (!result.success) return null;
  const { name, description, tier, runtime, model, skills, required_env, providers, runtime_config } = result.data;
  const { models, provision_timeout_seconds, ...own } = runtime_config ?? {};
  return {
    id,
    name: name || id,
    description: description ?? "",
    tier: tier ?? 0,
    runtime: runtime ?? "",
    model: own.model || model || "",
    ...given("models", models?.map(withoutNulls<TemplateModel>)),
    ...given("required_env", own.required_env ?? required_env),
    ...given("providers", own.providers),
    ...given("provider_registry", providers?.map(withoutNulls<TemplateProvider>)),
    skills: skills ?? null,
    skill_count: skills?.length ?? 0,
    ...(provision_timeout_seconds ? { provision_timeout_seconds } : {}),
  };
}

function given<Key extends string, Item>(key: Key, items: readonly Item[] | null | undefined) {
  return (items?.length ? { [key]: items } : {}) as { readonly [K in Key]?: readonly Item[] };
}

function withoutNulls<Shape>(value: object): Shape {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item != null)) as Shape;
}

/** The body of `POST /templates/import`. */
export const IMPORT_TEMPLATE = z.object({
  name: z.string().min(1),
  files: z.record(z.string(), z.string().refine(isStorableText)),
});

/** A template to be stored; it always has a config.yaml. */
export interface NewTemplate {
  readonly id: string;
  readonly name: string;
  readonly files: TemplateFiles;
}

/** Reads the body of a template's import as a whole, so that a bad path leaves nothing behind. */
export function readTemplateImport(body: object, defaultTier: number): NewTemplate {
  const result = IMPORT_TEMPLATE.safeParse(matchKeys(body, IMPORT_TEMPLATE));
  if (!result.success) {
    throw new Refusal("request.invalid", { details: { field: String(result.error.issues[0]?.path.join(".")) } });
  }
  const { name, files } = result.data;
  const paths = Object.keys(files);
  if (paths.length > TEMPLATE_FILES_MAX) {
    throw new Refusal("template.too_many_files", {
      error: `too many files (${paths.length}), max ${TEMPLATE_FILES_MAX}`,
    });
  }
  const bad = paths.find((path) => !isFilePath(path));
  if (bad !== undefined) throw new Refusal("request.invalid", { details: { field: "files", path: bad } });
  const generated = { "config.yaml": generatedConfig(name, paths, defaultTier) };
  return { id: templateId(name), name, files: new Map(Object.entries({ ...generated, ...files })) };
}

/** The directory of a template with this name. */
export function templateId(name: string): string {
  const id = name
    .toLowerCase()
    .replaceAll(" ", "-")
    .replaceAll(/[^a-z0-9_-]/g, "")
    .slice(0, 100);
  return id || "unnamed";
}

/** The config.yaml of a template that came without: its prompts are the documents at its root. */
export function generatedConfig(name: string, paths: readonly string[], tier: number): string {
  const prompts = paths.filter((path) => /^[^/]+\.md$/.test(path));
  const skills = new Set(paths.flatMap((path) => /^skills\/([^/]+)\//.exec(path)?.[1] ?? []));
  return [
    // A JSON text is a YAML text too, whatever the name holds.
    `name: ${JSON.stringify(name)}`,
    "description: Imported agent",
    "version: 1.0.0",
    `tier: ${tier}`,
    `model: ${GENERATED_MODEL}`,
    `prompt_files: ${JSON.stringify(prompts)}`,
    `skills: ${JSON.stringify([...skills])}`,
    "tools: []",
    "",
  ].join("\n");
}
