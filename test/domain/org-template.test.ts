import { describe, expect, it } from "vitest";
import {
  envOf,
  type OrgTemplate,
  parseOrgTemplate,
  TREE_NODES_MAX,
  workspacesOf,
} from "../../src/domain/org-template.ts";
import { Refusal } from "../../src/domain/refusal.ts";

function refusalOf(value: unknown, wrongShape?: "request.invalid"): Pick<Refusal, "code"> & { details: unknown } {
  try {
    parseOrgTemplate(value, wrongShape);
  } catch (error) {
    if (error instanceof Refusal) return { code: error.code, details: error.options.details };
    throw error;
  }
  throw new Error("the template was taken");
}

/** A chain of workspaces, one inside the other. */
function chain(levels: number): object {
  return levels === 1 ? { name: "w" } : { name: "w", children: [chain(levels - 1)] };
}

describe("the shape of an org template", () => {
  it("needs nothing, ignores what it does not know and takes null for absent", () => {
    for (const value of [{}, { colour: "red", workspaces: [{ colour: "red" }] }]) parseOrgTemplate(value);
    expect(
      parseOrgTemplate({ name: null, defaults: null, workspaces: null, required_env: null, global_memories: null }),
    ).toEqual({ name: null, defaults: null, workspaces: null, required_env: null, global_memories: null });
    parseOrgTemplate({ workspaces: [{ name: null, children: null, canvas: null, schedules: null, channels: null }] });
  });

  it("has every field that the format documents", () => {
    const shared = {
      runtime: "codex",
      tier: 2,
      model: "m",
      plugins: ["p", "!q"],
      initial_prompt: "i",
      initial_prompt_file: "i.md",
      idle_prompt: "d",
      idle_prompt_file: "d.md",
      idle_interval_seconds: 60,
      category_routing: { ui: ["Designer"], ops: [] },
      initial_memories: [{ content: "c", scope: "TEAM" }],
    };
    const template = {
      name: "Org",
      description: "What it is for",
      defaults: shared,
      workspaces: [
        {
          ...shared,
          name: "Lead",
          role: "leads",
          template: "t",
          files_dir: "lead",
          system_prompt: "s",
          workspace_dir: "/w",
          workspace_access: "read_only",
          max_concurrent_tasks: 2,
          schedules: [
            { name: "n", cron_expr: "* * * * *", timezone: "UTC", prompt: "p", prompt_file: "p.md", enabled: true },
          ],
          channels: [{ type: "slack", config: { token: "$T" }, allowed_users: ["u"], enabled: false }],
          external: false,
          url: "https://a.example",
          canvas: { x: 1, y: 2.5 },
          required_env: ["A", { any_of: ["B"] }],
          recommended_env: ["C"],
          children: [{ name: "Child" }],
        },
      ],
      global_memories: [{ content: "g", scope: "GLOBAL" }],
      required_env: ["D"],
      recommended_env: [{ any_of: ["E", "F"] }],
    };
    expect(parseOrgTemplate(template)).toEqual(template);
  });

  it("takes numbers and booleans for texts of a channel, which YAML writes without quotes", () => {
    const { workspaces } = parseOrgTemplate({
      workspaces: [{ channels: [{ config: { chat: -1001234567890, loud: true, none: null }, allowed_users: [42] }] }],
    });
    expect(workspaces?.[0]?.channels).toEqual([
      { config: { chat: "-1001234567890", loud: "true", none: null }, allowed_users: ["42"] },
    ]);
  });

  it.each([
    [[], ""],
    ["text", ""],
    [null, ""],
    [{ name: 7 }, "name"],
    [{ workspaces: {} }, "workspaces"],
    [{ workspaces: ["text"] }, "workspaces.0"],
    [{ workspaces: [{ children: [{ tier: 2.5 }] }] }, "workspaces.0.children.0.tier"],
    [{ workspaces: [{ name: "a\u0000" }] }, "workspaces.0.name"],
    [{ workspaces: [{ external: "yes" }] }, "workspaces.0.external"],
    [{ required_env: [{ any_of: [] }] }, "required_env.0.any_of"],
    [{ required_env: [1] }, "required_env.0"],
    [{ defaults: { category_routing: { ui: "Designer" } } }, "defaults.category_routing.ui"],
  ])("refuses %j and names the field", (value, field) => {
    expect(refusalOf(value)).toEqual({ code: "org.invalid_template", details: { field } });
  });

  it("refuses names and addresses that are too long", () => {
    expect(refusalOf({ name: "n".repeat(256) }).details).toEqual({ field: "name" });
    expect(refusalOf({ workspaces: [{ url: "u".repeat(2_049) }] }).details).toEqual({ field: "workspaces.0.url" });
  });

  it("refuses another shape in the words of whoever asks", () => {
    expect(refusalOf({ name: 7 }, "request.invalid").code).toBe("request.invalid");
  });
});

describe("the bounds of an org template", () => {
  it("are 500 workspaces", () => {
    const wide = (count: number) => ({ workspaces: [{ children: Array.from({ length: count - 1 }, () => ({})) }] });
    expect(workspacesOf(parseOrgTemplate(wide(TREE_NODES_MAX)))).toHaveLength(500);
    expect(refusalOf(wide(TREE_NODES_MAX + 1))).toEqual({
      code: "org.invalid_template",
      details: { reason: "more than 500 workspaces" },
    });
  });

  it("are 32 levels", () => {
    expect(workspacesOf(parseOrgTemplate({ workspaces: [chain(32)] }))).toHaveLength(32);
    expect(refusalOf({ workspaces: [chain(33)] }, "request.invalid")).toEqual({
      code: "org.invalid_template",
      details: { reason: "more than 32 levels" },
    });
  });
});

it("the workspaces of a template come parents first, and their needs are united with its own", () => {
  const template: OrgTemplate = parseOrgTemplate({
    required_env: ["B"],
    workspaces: [
      { name: "a", required_env: ["A"], children: [{ name: "b", recommended_env: ["C"], children: [{ name: "c" }] }] },
      { name: "d", required_env: [{ any_of: ["A", "D"] }] },
    ],
  });
  expect(workspacesOf(template).map(({ name }) => name)).toEqual(["a", "b", "c", "d"]);
  expect(envOf(template)).toEqual({ required: ["A", "B"], recommended: ["C"], dropped: [] });
  expect(workspacesOf({})).toEqual([]);
});
