import { describe, expect, it } from "vitest";
import { isExternal } from "../../src/domain/runtime.ts";
import { GALLERY } from "../../src/org-import/gallery/gallery.ts";
import { readOrgDirectory, summarizeOrg } from "../../src/org-import/read.ts";

describe.each([...GALLERY.org])("the template %s of the gallery", (dir, files) => {
  const { tree, name, env } = readOrgDirectory(dir, files, { defaultTier: 3 });
  const nodes = tree.roots.flatMap((root) => [root, ...root.children]);

  it("is listed as it is imported", () => {
    expect(summarizeOrg(dir, files)).toMatchObject({ dir, name, workspaces: nodes.length });
    expect(name).not.toBe("");
    expect(env.required).not.toEqual([]);
    expect(env.dropped).toEqual([]);
  });

  it("gives every workspace a role, a known runtime and, unless it lives elsewhere, instructions", () => {
    for (const { name, role, runtime, external, config } of nodes) {
      expect(role, name).not.toBeNull();
      expect(isExternal(runtime), name).toBe(external);
      expect((config.systemPrompt ?? "").length > 100, name).toBe(!external);
    }
  });

  it("routes categories only to workspaces that it has", () => {
    const names = new Set(nodes.map((node) => node.name));
    for (const { config } of nodes) {
      for (const role of Object.values(config.categoryRouting).flat()) expect(names).toContain(role);
    }
  });
});
