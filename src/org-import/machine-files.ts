import type { TemplateFiles } from "../domain/file-path.ts";
import type { OrgNode, OrgTree } from "../domain/org-node.ts";
import { invalidTemplate, jsonBytes } from "../domain/org-template.ts";
import { renderedRuntime } from "../domain/runtime.ts";

/** What a machine is brought when it first starts. It travels in one row of its workspace. */
export const MACHINE_FILES_BYTES_MAX = 1024 * 1024;
/** The files of all machines of one tree: it reaches the directory in one call, where a character may take two bytes. */
export const TREE_FILES_BYTES_MAX = 6 * 1024 * 1024;

const CONFIG_FILE = "config.yaml";
const SYSTEM_PROMPT_FILE = "system-prompt.md";

/** Finds the files of a workspace template, and of a folder inside the org template that is imported. */
export interface FileSources {
  readonly template: (name: string) => TemplateFiles | null;
  readonly folder: (path: string) => TemplateFiles | null;
}

/** The tree with the files that each machine starts with; they replace those that travelled with the tree. */
export function withMachineFiles(tree: OrgTree, sources: FileSources): OrgTree {
  let total = 0;
  const visit = (node: OrgNode): OrgNode => {
    const files = node.external ? {} : machineFiles(node, sources);
    const bytes = jsonBytes(files);
    total += bytes;
    if (bytes > MACHINE_FILES_BYTES_MAX) throw invalidTemplate(`the files of workspace ${node.name} are too large`);
    if (total > TREE_FILES_BYTES_MAX) throw invalidTemplate("the files of the workspaces are too large together");
    return { ...node, config: { ...node.config, files }, children: node.children.map(visit) };
  };
  return { ...tree, roots: tree.roots.map(visit) };
}

/** What the files of a machine are made of. */
export type MachineNode = Pick<OrgNode, "name" | "runtime" | "tier" | "model" | "config">;

/** The files of one machine: a folder of its own replaces its template; its config.yaml ends with what was asked for. */
export function machineFiles(node: MachineNode, { template, folder }: FileSources): Record<string, string> {
  const { config } = node;
  const base =
    (config.orgFiles === null ? null : folder(config.orgFiles.folder)) ??
    (config.template === null ? null : template(config.template)) ??
    new Map<string, string>();
  const files = { ...Object.fromEntries(base), ...config.files };
  return {
    ...files,
    [CONFIG_FILE]: configText(files[CONFIG_FILE] ?? generatedConfig(node), node),
    ...(config.systemPrompt === null ? {} : { [SYSTEM_PROMPT_FILE]: config.systemPrompt }),
  };
}

function generatedConfig({ name, runtime, tier, model }: MachineNode): string {
  return [
    // A JSON text is a YAML text too, whatever the name holds.
    `name: ${JSON.stringify(name)}`,
    `runtime: ${renderedRuntime(runtime)}`,
    `tier: ${tier}`,
    `model: ${JSON.stringify(model)}`,
    "",
  ].join("\n");
}

function configText(base: string, { config }: MachineNode): string {
  const { categoryRouting, initialPrompt, idlePrompt, idleIntervalSeconds, plugins } = config;
  const added = {
    ...(Object.keys(categoryRouting).length === 0 ? {} : { category_routing: categoryRouting }),
    ...(plugins.length === 0 ? {} : { plugins }),
    ...(initialPrompt === null ? {} : { initial_prompt: initialPrompt }),
    ...(idlePrompt === null ? {} : { idle_prompt: idlePrompt, idle_interval_seconds: idleIntervalSeconds }),
  };
  // What the configuration says itself stands: a key may not come twice.
  const own = new Set([...base.matchAll(/^([A-Za-z_][\w-]*)[ \t]*:/gm)].map(([, key]) => key));
  const lines = Object.entries(added).flatMap(([key, value]) =>
    own.has(key) ? [] : [`${key}: ${JSON.stringify(value)}`],
  );
  return lines.length === 0 ? base : `${base.replace(/\n*$/, "\n")}${lines.join("\n")}\n`;
}
