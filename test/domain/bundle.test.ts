import { describe, expect, it } from "vitest";
import { type BundleSource, bundleOf, configValue, readBundle, treeOfBundle } from "../../src/domain/bundle.ts";
import type { OrgNode } from "../../src/domain/org-node.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import { anOrgNode } from "../support/org-node.ts";

function refusalOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal) return { code: error.code, ...error.options.details };
    throw error;
  }
  return null;
}

function treeOf(body: object): OrgNode {
  return treeOfBundle(readBundle(body), 3);
}

function withConfig(config: string): OrgNode {
  return treeOf({ name: "w", prompts: { "config.yaml": config } });
}

const SOURCE: BundleSource = {
  id: "0f7b3a52-3c5e-4c58-9d0d-2a9f7c1b6e11",
  name: 'Lead "A": one',
  role: "leads",
  tier: 2,
  runtime: "codex",
  model: "openai/gpt",
  workspaceDir: "/data/team",
  workspaceAccess: "read_only",
  systemPrompt: "You lead.",
  agentCard: { name: "Lead" },
  files: { "skills/plan/SKILL.md": "# Plan", "skills/plan/a/b.txt": "b", "notes.md": "n" },
  children: [
    {
      id: "b7a1cf0e-6f60-4a2e-8a35-6a8d7d1c2b44",
      name: "Helper",
      role: null,
      tier: 3,
      runtime: "external",
      model: null,
      workspaceDir: null,
      workspaceAccess: "none",
      systemPrompt: null,
      agentCard: null,
      files: {},
      children: [],
    },
  ],
};

describe("an exported bundle", () => {
  it("has exactly the documented keys, its children inside", () => {
    expect(bundleOf(SOURCE)).toEqual({
      schema: "1.0",
      id: SOURCE.id,
      name: 'Lead "A": one',
      description: "leads",
      tier: 2,
      model: "",
      system_prompt: "You lead.",
      skills: [{ id: "plan", name: "plan", description: "", files: { "SKILL.md": "# Plan", "a/b.txt": "b" } }],
      tools: [],
      prompts: {
        "config.yaml": 'name: "Lead \\"A\\": one"\ntier: 2\nruntime: "codex"\nmodel: "openai/gpt"\n',
        "notes.md": "n",
      },
      workspace_dir: "/data/team",
      workspace_access: "read_only",
      sub_workspaces: [
        {
          schema: "1.0",
          id: "b7a1cf0e-6f60-4a2e-8a35-6a8d7d1c2b44",
          name: "Helper",
          description: "",
          tier: 3,
          model: "",
          system_prompt: "",
          skills: [],
          tools: [],
          prompts: { "config.yaml": 'name: "Helper"\ntier: 3\nruntime: "external"\n' },
          sub_workspaces: [],
          agent_card: null,
          author: "",
          version: "1.0.0",
        },
      ],
      agent_card: { name: "Lead" },
      author: "",
      version: "1.0.0",
    });
  });

  it("makes, imported again, workspaces of the same runtime, model, card and files, external ones external", () => {
    const tree = treeOf(JSON.parse(JSON.stringify(bundleOf(SOURCE))));
    expect(tree).toMatchObject({
      name: SOURCE.name,
      role: "leads",
      tier: 2,
      runtime: "codex",
      model: "openai/gpt",
      external: false,
      workspaceDir: "/data/team",
      workspaceAccess: "read_only",
      agentCard: '{"name":"Lead"}',
      sourceBundleId: SOURCE.id,
    });
    expect(tree.config).toMatchObject({ systemPrompt: "You lead.", files: SOURCE.files });
    expect(tree.children).toMatchObject([
      { name: "Helper", runtime: "external", external: true, agentCard: null, model: "anthropic:claude-opus-4-7" },
    ]);
  });

  it("carries the workspace's own config.yaml where it has one", () => {
    const own = { ...SOURCE, files: { "config.yaml": "runtime: hermes\n" } };
    expect(bundleOf(own).prompts).toEqual({ "config.yaml": "runtime: hermes\n" });
  });
});

describe("an imported bundle", () => {
  it("needs a name and no more", () => {
    expect(treeOf({ name: "w" })).toEqual(anOrgNode({ name: "w" }));
    expect(treeOf({ name: "w", skills: null, prompts: null, sub_workspaces: null, agent_card: null }).children).toEqual(
      [],
    );
    expect(treeOf({ name: "w", skills: [{ id: "s" }] }).config.files).toEqual({});
  });

  it.each([
    [{}, "name"],
    [{ name: "" }, "name"],
    [{ name: "w", tier: 1.5 }, "tier"],
    [{ name: "w", sub_workspaces: [{}] }, "sub_workspaces.0.name"],
    [{ name: "w", skills: [{ id: "../x" }] }, "skills.0.id"],
    [{ name: "w", skills: [{ id: "s", files: { "../x": "" } }] }, "skills.0.files.../x"],
    [{ name: "w", prompts: { "/etc/passwd": "" } }, "prompts./etc/passwd"],
    [{ name: "w", system_prompt: "\ud800" }, "system_prompt"],
    [{ name: "w", workspace_dir: "/etc" }, "workspace_dir"],
    [{ name: "w", workspace_dir: "/data", workspace_access: "all" }, "workspace_access"],
    ["text", ""],
  ])("is refused as %j", (body, field) => {
    expect(refusalOf(() => readBundle(body))).toEqual({ code: "bundle.invalid", field });
  });

  it("names a directory with every access but none", () => {
    const mount = { workspace_access: "read_write" };
    expect(refusalOf(() => treeOf({ name: "w", ...mount }))).toEqual({
      code: "bundle.invalid",
      field: "workspace_access",
    });
    expect(treeOf({ name: "w", ...mount, workspace_dir: "/data" })).toMatchObject({
      workspaceDir: "/data",
      workspaceAccess: "read_write",
    });
    expect(treeOf({ name: "w", workspace_dir: "", workspace_access: "" })).toMatchObject({
      workspaceDir: null,
      workspaceAccess: "none",
    });
  });

  it("has the bounds of a template", () => {
    const chain = (levels: number): object =>
      levels === 1 ? { name: "w" } : { name: "w", sub_workspaces: [chain(levels - 1)] };
    const wide = (count: number) => ({
      name: "w",
      sub_workspaces: Array.from({ length: count - 1 }, () => ({ name: "c" })),
    });
    expect(refusalOf(() => readBundle(chain(32)))).toBeNull();
    expect(refusalOf(() => readBundle(wide(500)))).toBeNull();
    expect(refusalOf(() => readBundle(chain(33)))).toEqual({ code: "bundle.invalid", reason: "more than 32 levels" });
    expect(refusalOf(() => readBundle(wide(501)))).toEqual({
      code: "bundle.invalid",
      reason: "more than 500 workspaces",
    });
    const large = { code: "bundle.invalid", reason: "workspace w is too large" };
    expect(refusalOf(() => treeOf({ name: "w", prompts: { a: "x".repeat(512 * 1024) } }))).toEqual(large);
    const half = { name: "w", prompts: { a: "x".repeat(256 * 1024) } };
    expect(refusalOf(() => treeOf({ ...half, sub_workspaces: Array.from({ length: 40 }, () => half) }))).toEqual(large);
  });

  it("takes its model from itself, then its config, then its runtime", () => {
    const config = { "config.yaml": "model: haiku\nruntime: claude-code" };
    expect(treeOf({ name: "w", model: "opus", prompts: config }).model).toBe("opus");
    expect(treeOf({ name: "w", model: "", prompts: config }).model).toBe("haiku");
    expect(withConfig("runtime: claude-code").model).toBe("sonnet");
  });
});

describe("the runtime of a config.yaml", () => {
  it.each([
    ["runtime: codex", "codex"],
    ["name: x\r\nruntime:   codex   \r\ntier: 1", "codex"],
    ['runtime: "codex"', "codex"],
    ["runtime: 'codex' # the fast one", "codex"],
    ["runtime: codex # the fast one", "codex"],
    ["runtime : codex", "codex"],
    ["runtime: code#x", "code#x"],
    ['runtime: "co#dex"', "co#dex"],
    ["runtime: codex\nruntime: hermes", "codex"],
    ["runtime_config:\n  runtime: hermes\nruntime: codex", "codex"],
  ])("of %j is %s", (config, runtime) => {
    expect(withConfig(config).runtime).toBe(runtime);
  });

  it.each(["", "runtime:", "runtime: # none", 'runtime: ""', "  runtime: codex", "runtime:codex", "# runtime: codex"])(
    "of %j is langgraph, as nobody names one",
    (config) => {
      expect(withConfig(config).runtime).toBe("langgraph");
    },
  );

  it("is not looked for in lines that are too long to hold one", () => {
    expect(configValue(`runtime: ${"x".repeat(200)}\nruntime: codex`, "runtime")).toBe("codex");
  });
});
