import { Hono } from "hono";
import type { TemplateFiles } from "../../domain/file-path.ts";
import type { OrgNode, OrgTree } from "../../domain/org-node.ts";
import { Refusal } from "../../domain/refusal.ts";
import { log } from "../../log.ts";
import { importAnswer } from "../../org-import/answer.ts";
import { withMachineFiles } from "../../org-import/machine-files.ts";
import { checkPreflight } from "../../org-import/preflight.ts";
import {
  type ImportRequest,
  type Org,
  readImportRequest,
  readOrgDirectory,
  readOrgInline,
  readTemplateSummary,
} from "../../org-import/read.ts";
import { defaultTier } from "../../provisioners/backend.ts";
import type { TemplateStore } from "../../storage/template-store.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { jsonObject } from "../body.ts";
import { adminOnly } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf } from "../context.ts";
import { platformUrl } from "../platform-url.ts";
import { templatesOf } from "../templates.ts";

/** Whole organisations at once. */
export const orgImportRoutes = new Hono<AppEnv>().post("/org/import", adminOnly, async (c) => {
  const request = readImportRequest(await jsonObject(c));
  const store = templatesOf(c);
  const files = "dir" in request.source ? await store.read("org", request.source.dir) : null;
  const org = orgOf(c, request, files);
  const missing = await missingEnv(c, org);
  if (missing && !request.dryRun) throw missing;
  const tree = await withTemplates(org, files, store);
  const { mode, dryRun } = request;
  const { pending, notStored, ...plan } = await ask(
    c,
    directoryOf(c).importOrg({ tree, mode, dryRun, platformUrl: platformUrl(c) }),
  );
  const { status, body } = importAnswer(org.name, plan, dryRun);
  return json(
    {
      ...body,
      ...missing?.options.details,
      ...(pending.length === 0 ? {} : { pending }),
      ...(Object.values(notStored).some((count) => count > 0) ? { not_stored: notStored } : {}),
    },
    status,
  );
});

function orgOf(c: AppContext, { source }: ImportRequest, files: TemplateFiles | null): Org {
  const options = { defaultTier: defaultTier(c.var.config) };
  return "dir" in source ? readOrgDirectory(source.dir, files, options) : readOrgInline(source.template, options);
}

/** The refusal of an import whose variables are missing; a dry run only tells of them. */
async function missingEnv(c: AppContext, org: Org): Promise<Refusal | null> {
  const available = await globalKeys(c);
  try {
    checkPreflight(org.name, org.env, available);
    return null;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

async function globalKeys(c: AppContext): Promise<ReadonlySet<string>> {
  try {
    return new Set(await directoryOf(c).secretKeys());
  } catch (error) {
    log.error("org.preflight_failed", { reason: error instanceof Error ? error.name : "unknown" });
    throw new Refusal("org.preflight_failed");
  }
}

/** The tree with what its machines start with, from its own folders and the workspace templates that it names. */
async function withTemplates(org: Org, files: TemplateFiles | null, store: TemplateStore): Promise<OrgTree> {
  const templates = new Map<string, TemplateFiles>();
  for (const name of templatesIn(org.tree.roots)) {
    const found = await store.read("workspace", name);
    if (found !== null) templates.set(name, found);
  }
  const summaries = new Map([...templates].map(([name, found]) => [name, readTemplateSummary(name, found)]));
  const tree = org.treeWith((name) => summaries.get(name) ?? null);
  return withMachineFiles(tree, {
    template: (name) => templates.get(name) ?? null,
    folder: (path) => (files === null ? null : under(path, files)),
  });
}

function templatesIn(nodes: readonly OrgNode[]): Set<string> {
  const names = nodes.flatMap(({ config, children }) => [config.template ?? [], [...templatesIn(children)]].flat());
  return new Set(names);
}

function under(folder: string, files: TemplateFiles): TemplateFiles {
  const prefix = `${folder}/`;
  return new Map(
    // Secrets of the template are sealed apart from its files.
    [...files]
      .filter(([path]) => path.startsWith(prefix) && path !== `${prefix}.env`)
      .map(([path, text]) => [path.slice(prefix.length), text]),
  );
}
