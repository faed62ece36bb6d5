import { describe, expect, it } from "vitest";
import { Refusal } from "../../src/domain/refusal.ts";
import {
  generatedConfig,
  readTemplateImport,
  summarizeTemplate,
  templateId,
} from "../../src/domain/workspace-template.ts";

function refusalOf(body: object): unknown {
  try {
    readTemplateImport(body, 3);
  } catch (error) {
    if (error instanceof Refusal) return [error.code, error.message, error.options.details];
    throw error;
  }
  return null;
}

describe("what the list shows of a template", () => {
  it("is everything that its config.yaml says", () => {
    const summary = summarizeTemplate("hermes-default", {
      name: "Hermes",
      description: "An agent",
      tier: 2,
      runtime: "hermes",
      model: "old",
      skills: ["plan", "write"],
      providers: [
        {
          name: "nous",
          auth_mode: "api_key",
          model_prefixes: ["n/"],
          model_aliases: ["hermes"],
          base_url: "https://n.example",
          auth_env: ["NOUS_KEY"],
        },
        { name: "bare" },
      ],
      runtime_config: {
        model: "nous/hermes-4",
        models: [{ id: "nous/hermes-4", name: "Hermes 4", required_env: ["NOUS_KEY"] }, { id: "x" }],
        required_env: ["NOUS_KEY"],
        providers: ["nous"],
        provision_timeout_seconds: 1_800,
      },
    });
    expect(summary).toEqual({
      id: "hermes-default",
      name: "Hermes",
      description: "An agent",
      tier: 2,
      runtime: "hermes",
      model: "nous/hermes-4",
      models: [{ id: "nous/hermes-4", name: "Hermes 4", required_env: ["NOUS_KEY"] }, { id: "x" }],
      required_env: ["NOUS_KEY"],
      providers: ["nous"],
      provider_registry: [
        {
          name: "nous",
          auth_mode: "api_key",
          model_prefixes: ["n/"],
          model_aliases: ["hermes"],
          base_url: "https://n.example",
          auth_env: ["NOUS_KEY"],
        },
        { name: "bare" },
      ],
      skills: ["plan", "write"],
      skill_count: 2,
      provision_timeout_seconds: 1_800,
    });
  });

  it("is little of an empty one, without the keys that have nothing to say", () => {
    const bare = { id: "x", name: "x", description: "", tier: 0, runtime: "", model: "", skills: null, skill_count: 0 };
    expect(summarizeTemplate("x", {})).toEqual(bare);
    expect(summarizeTemplate("x", { runtime_config: { models: [], providers: [] }, providers: [] })).toEqual(bare);
  });

  it("leaves out what has another shape, and the rest stays", () => {
    const summary = summarizeTemplate("x", {
      name: 7,
      tier: "two",
      runtime: "codex",
      model: "top",
      skills: { a: 1 },
      required_env: ["A"],
      providers: ["slug"],
      runtime_config: { models: "all", provision_timeout_seconds: -1, required_env: null },
    });
    expect(summary).toEqual({
      id: "x",
      name: "x",
      description: "",
      tier: 0,
      runtime: "codex",
      model: "top",
      required_env: ["A"],
      skills: null,
      skill_count: 0,
    });
    expect(summarizeTemplate("x", { runtime: "codex", runtime_config: "none" })).toMatchObject({ runtime: "codex" });
  });

  it.each([null, "text", 7, [[]]])("is nothing for %j, which is no mapping", (config) => {
    expect(summarizeTemplate("x", config)).toBeNull();
  });
});

describe("an imported template", () => {
  it("keeps its files and its own config.yaml", () => {
    const files = { "config.yaml": "name: own", "skills/a/SKILL.md": "x" };
    expect(readTemplateImport({ name: "My Agent", files }, 3)).toEqual({
      id: "my-agent",
      name: "My Agent",
      files: new Map(Object.entries(files)),
    });
  });

  it("gets a config.yaml when it has none, even when it has no files at all", () => {
    const { files } = readTemplateImport({ name: 'A "b": c', files: { "prompt.md": "p", "skills/s/x": "" } }, 4);
    expect(files.get("config.yaml")).toBe(
      [
        'name: "A \\"b\\": c"',
        "description: Imported agent",
        "version: 1.0.0",
        "tier: 4",
        "model: anthropic:claude-haiku-4-5-20251001",
        'prompt_files: ["prompt.md"]',
        'skills: ["s"]',
        "tools: []",
        "",
      ].join("\n"),
    );
    expect([...readTemplateImport({ name: "x", files: {} }, 3).files.keys()]).toEqual(["config.yaml"]);
  });

  it("lists root documents as prompts and each folder of skills once", () => {
    const config = generatedConfig(
      "x",
      ["a.md", "docs/b.md", "skills/s/1", "skills/s/2", "skills/t/x", "skills/file"],
      3,
    );
    expect(config).toContain('prompt_files: ["a.md"]\nskills: ["s","t"]\n');
  });

  it("is refused as a whole for one bad path, so that nothing stays", () => {
    for (const path of ["../x", "/x", "a/../../x", ""]) {
      expect(refusalOf({ name: "x", files: { "a.md": "a", [path]: "" } })).toEqual([
        "request.invalid",
        "invalid request body",
        { field: "files", path },
      ]);
    }
  });

  it.each([
    [{}, "name"],
    [{ name: "", files: {} }, "name"],
    [{ name: "x" }, "files"],
    [{ name: "x", files: { a: 1 } }, "files.a"],
    [{ name: "x", files: { a: "\u0000" } }, "files.a"],
  ])("is refused as %j", (body, field) => {
    expect(refusalOf(body)).toEqual(["request.invalid", "invalid request body", { field }]);
  });

  it("has at most 200 files", () => {
    const files = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`${index}`, ""]));
    expect(refusalOf({ name: "x", files: files(200) })).toBeNull();
    expect(refusalOf({ name: "x", files: files(201) })).toEqual([
      "template.too_many_files",
      "too many files (201), max 200",
      undefined,
    ]);
  });
});

it.each([
  ["My Agent", "my-agent"],
  ["a-b c_d", "a-b-c_d"],
  ["../../etc", "etc"],
  ["Ünïcode 1", "ncode-1"],
  ["!!!", "unnamed"],
  ["日本", "unnamed"],
  ["A".repeat(200), "a".repeat(100)],
])("the template %j is stored as %s", (name, id) => {
  expect(templateId(name)).toBe(id);
});
