import { Hono } from "hono";
import { readTemplateImport, type TemplateSummary } from "../../domain/workspace-template.ts";
import { log } from "../../log.ts";
import { type OrgSummary, readTemplateSummary, summarizeOrg } from "../../org-import/read.ts";
import { defaultTier } from "../../provisioners/backend.ts";
import type { TemplateStore } from "../../storage/template-store.ts";
import { json } from "../answers.ts";
import { jsonObject } from "../body.ts";
import { adminOnly } from "../caller.ts";
import type { AppEnv } from "../context.ts";
import { templatesOf } from "../templates.ts";

/** Templates of workspaces and of whole organisations. A broken one is left out, and said so in the log. */
export const templateRoutes = new Hono<AppEnv>()
  .get("/templates", adminOnly, async (c) => json(await workspaceTemplates(templatesOf(c))))
  .post("/templates/import", adminOnly, async (c) => {
    const { id, name, files } = readTemplateImport(await jsonObject(c), defaultTier(c.var.config));
    await templatesOf(c).create("workspace", id, files);
    log.info("template.imported", { template: id, files: files.size });
    return json({ status: "imported", id, name }, 201);
  })
  .get("/org/templates", adminOnly, async (c) => json(await orgTemplates(templatesOf(c))));

async function workspaceTemplates(store: TemplateStore): Promise<TemplateSummary[]> {
  const summaries: TemplateSummary[] = [];
  for (const name of await store.names("workspace")) {
    const summary = readTemplateSummary(name, (await store.read("workspace", name)) ?? new Map());
    if (summary) summaries.push(summary);
    else log.warn("template.skipped", { kind: "workspace", template: name });
  }
  return summaries;
}

async function orgTemplates(store: TemplateStore): Promise<OrgSummary[]> {
  const summaries: OrgSummary[] = [];
  for (const dir of await store.names("org")) {
    try {
      const summary = summarizeOrg(dir, (await store.read("org", dir)) ?? new Map());
      if (summary) summaries.push(summary);
    } catch (error) {
      log.warn("template.skipped", { kind: "org", template: dir, reason: error instanceof Error ? error.message : "" });
    }
  }
  return summaries;
}
