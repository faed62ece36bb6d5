import { describe, expect, it } from "vitest";
import { type OrgNode, type OrgSurroundings, resolveOrg } from "../../src/domain/org-node.ts";
import { type OrgTemplate, parseOrgTemplate } from "../../src/domain/org-template.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import { anOrgNode } from "../support/org-node.ts";

function resolve(template: object, surroundings: Partial<OrgSurroundings> = {}) {
  return resolveOrg(parseOrgTemplate(template), { defaultTier: 3, ...surroundings });
}

/** The only workspace of a template. */
function workspace(fields: object, defaults: object = {}, surroundings: Partial<OrgSurroundings> = {}): OrgNode {
  const [node] = resolve({ defaults, workspaces: [fields] }, surroundings).roots;
  if (node === undefined) throw new Error("no workspace");
  return node;
}

/** A reference to a variable, as templates write it. */
function the(name: string): string {
  return ["$", `{${name}}`].join("");
}

function reasonAgainst(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal && error.code === "org.invalid_template") return error.options.details?.reason;
    throw error;
  }
  return null;
}

describe("a workspace of a template", () => {
  it("has a value for everything when it says nothing", () => {
    expect(workspace({})).toEqual(anOrgNode());
  });

  it("takes runtime, model and tier from itself, then the defaults, then the platform", () => {
    const defaults = { runtime: "claude-code", model: "opus", tier: 2 };
    expect(workspace({ runtime: "codex", model: "gpt", tier: 1 }, defaults)).toMatchObject({
      runtime: "codex",
      model: "gpt",
      tier: 1,
    });
    expect(workspace({ runtime: "", model: "", tier: 0 }, defaults)).toMatchObject({
      runtime: "claude-code",
      model: "opus",
      tier: 2,
    });
    expect(workspace({}, { runtime: "claude-code" }, { defaultTier: 4 })).toMatchObject({ model: "sonnet", tier: 4 });
  });

  it("is of runtime external when it is external, whatever the defaults say, and the other way round", () => {
    const external = { runtime: "external", external: true, model: "anthropic:claude-opus-4-7" };
    expect(workspace({ external: true }, { runtime: "claude-code" })).toMatchObject(external);
    expect(workspace({ external: true, runtime: "codex", url: "https://a.example" })).toMatchObject({
      ...external,
      url: "https://a.example",
    });
    expect(workspace({ runtime: "external", external: false })).toMatchObject(external);
  });

  it("has the defaults' plugins and its own, each once, without those it takes away", () => {
    const defaults = { plugins: ["a", "b", "c"] };
    expect(workspace({ plugins: ["d", "!b", "-c", "a", "!never"] }, defaults).config.plugins).toEqual(["a", "d"]);
    expect(workspace({ plugins: null }, defaults).config.plugins).toEqual(["a", "b", "c"]);
  });

  it.each(["../x", "a/b", "/x", "..", "", "!", "!../x", "a b", "a\\b"])("refuses the plugin %j", (plugin) => {
    expect(reasonAgainst(() => workspace({ plugins: [plugin] }))).toBe(`${JSON.stringify(plugin)} is no plugin`);
  });

  it("replaces categories of the defaults, and drops one with an empty list", () => {
    const defaults = { category_routing: { ui: ["A"], ops: ["B"], docs: ["C"], none: null } };
    expect(workspace({ category_routing: { ui: ["D", "E"], ops: [] } }, defaults).config.categoryRouting).toEqual({
      ui: ["D", "E"],
      docs: ["C"],
    });
  });

  it("takes runtime and model from itself, then the defaults, then its template, then what all have", () => {
    const said = { hermes: { runtime: "hermes", model: "nous/hermes" }, silent: { runtime: "", model: "" } };
    const templateOf = (name: string) => new Map(Object.entries(said)).get(name) ?? null;
    const chosen = (fields: object, defaults: object = {}) => {
      const { runtime, model } = workspace(fields, defaults, { templateOf });
      return [runtime, model];
    };
    const own = { runtime: "codex", model: "openai/gpt" };
    expect(chosen({ template: "hermes", ...own }, { runtime: "crewai", model: "m" })).toEqual(["codex", "openai/gpt"]);
    expect(chosen({ template: "hermes" }, own)).toEqual(["codex", "openai/gpt"]);
    expect(chosen({ template: "hermes" })).toEqual(["hermes", "nous/hermes"]);
    expect(chosen({ template: "hermes", external: true })[0]).toBe("external");
    for (const template of ["silent", "nowhere", undefined]) {
      expect(chosen({ template })).toEqual(["langgraph", "anthropic:claude-opus-4-7"]);
    }
  });

  it("takes prompts and idle settings from itself, then the defaults; ten minutes where nobody says how long", () => {
    const defaults = { initial_prompt: "i", idle_prompt: "d", idle_interval_seconds: 60 };
    expect(workspace({}, defaults).config).toMatchObject({
      initialPrompt: "i",
      idlePrompt: "d",
      idleIntervalSeconds: 60,
    });
    const own = { initial_prompt: "own", idle_prompt: "own", idle_interval_seconds: 30, system_prompt: "s" };
    expect(workspace(own, defaults).config).toMatchObject({
      initialPrompt: "own",
      idlePrompt: "own",
      idleIntervalSeconds: 30,
      systemPrompt: "s",
    });
    for (const idle_interval_seconds of [0, -5]) {
      expect(workspace({ idle_interval_seconds }).config.idleIntervalSeconds).toBe(600);
    }
  });

  it("has its own memories or, without any, the defaults'", () => {
    const defaults = { initial_memories: [{ content: "default", scope: "TEAM" }] };
    expect(workspace({}, defaults).memories).toEqual([{ content: "default", scope: "TEAM" }]);
    expect(workspace({ initial_memories: [{ content: "own" }, {}] }, defaults).memories).toEqual([
      { content: "own", scope: "" },
      { content: "", scope: "" },
    ]);
  });

  it("keeps schedules that can run, in UTC and enabled unless they say otherwise", () => {
    const schedules = [
      { name: "n", cron_expr: "0 9 * * 1", prompt: "p", timezone: "Europe/Berlin", enabled: false },
      { cron_expr: "0 9 * * 1", prompt: "p" },
      { cron_expr: "0 9 * * 1", prompt: "" },
      { prompt: "p" },
    ];
    expect(workspace({ schedules }).schedules).toEqual([
      { name: "n", cronExpr: "0 9 * * 1", prompt: "p", timezone: "Europe/Berlin", enabled: false },
      { name: "", cronExpr: "0 9 * * 1", prompt: "p", timezone: "UTC", enabled: true },
    ]);
  });

  it("keeps channels with their variables as written, and skips those whose variables nobody knows", () => {
    const channels = [
      { type: "slack", config: { token: `${the("BOT")}`, url: `x/${the("REGION")}`, empty: null } },
      {
        type: "telegram",
        config: { token: `${the("MISSING")}`, chat: `${the("MISSING")}${the("OTHER")}` },
        allowed_users: ["u"],
      },
      { enabled: false },
    ];
    const surroundings = { secretsFor: () => ({ BOT: "secret" }), variables: { REGION: "eu" } };
    const node = workspace({ name: "Desk", channels }, {}, surroundings);
    expect(node.channels).toEqual([
      {
        type: "slack",
        config: { token: `${the("BOT")}`, url: `x/${the("REGION")}`, empty: "" },
        allowedUsers: [],
        enabled: true,
      },
      { type: "", config: {}, allowedUsers: [], enabled: false },
    ]);
    expect(node.skippedChannels).toEqual([
      { workspace: "Desk", type: "telegram", reason: "missing variables: MISSING, OTHER" },
    ]);
  });

  it("has the secrets of its folder, which go before other variables in its directory", () => {
    const surroundings: Partial<OrgSurroundings> = {
      secretsFor: (folder) => (folder === "lead" ? { ROOT: "/srv/lead" } : {}),
      variables: { ROOT: "/srv", NAME: "repo" },
    };
    const fields = { workspace_dir: `${the("ROOT")}/${the("NAME")}/${the("UNKNOWN")}`, workspace_access: "read_write" };
    expect(workspace({ ...fields, files_dir: "./lead/" }, {}, surroundings)).toMatchObject({
      workspaceDir: `/srv/lead/repo/${the("UNKNOWN")}`,
      workspaceAccess: "read_write",
      secrets: { ROOT: "/srv/lead" },
    });
    expect(workspace(fields, {}, surroundings)).toMatchObject({
      workspaceDir: `/srv/repo/${the("UNKNOWN")}`,
      secrets: {},
    });
  });

  it("names its folder only for a template that has a directory", () => {
    expect(workspace({ files_dir: "lead" }, {}, { dir: "team" }).config.orgFiles).toEqual({
      dir: "team",
      folder: "lead",
    });
    expect(workspace({ files_dir: "." }, {}, { dir: "team" }).config.orgFiles).toBeNull();
    expect(workspace({ files_dir: "lead" }).config.orgFiles).toBeNull();
    expect(workspace({ template: "mine" }).config.template).toBe("mine");
  });

  it.each([
    [{ files_dir: "../secrets" }, "files_dir ../secrets leaves its folder"],
    [{ template: "/etc" }, "template /etc leaves its folder"],
  ])("does not leave its folder with %j", (fields, reason) => {
    expect(reasonAgainst(() => workspace(fields))).toBe(reason);
  });

  it("stands where its canvas says and does at least one task at a time", () => {
    expect(workspace({ canvas: { x: 5 }, max_concurrent_tasks: -1 })).toMatchObject({
      canvas: { x: 5, y: 0 },
      maxConcurrentTasks: 1,
    });
    expect(workspace({ canvas: { y: 5 }, max_concurrent_tasks: 4 })).toMatchObject({
      canvas: { x: 0, y: 5 },
      maxConcurrentTasks: 4,
    });
  });
});

describe("the trees of a template", () => {
  it("keep their shape, and every memory of the organisation is global", () => {
    const { name, roots, globalMemories } = resolve({
      name: "Org",
      workspaces: [{ name: "a", children: [{ name: "b" }] }, { name: "c" }],
      global_memories: [{ content: "x", scope: "LOCAL" }, {}],
    });
    expect([name, roots.map((root) => [root.name, root.children.map((child) => child.name)])]).toEqual([
      "Org",
      [
        ["a", ["b"]],
        ["c", []],
      ],
    ]);
    expect(globalMemories).toEqual([
      { content: "x", scope: "GLOBAL" },
      { content: "", scope: "GLOBAL" },
    ]);
    expect(resolve({})).toEqual({ name: "", roots: [], globalMemories: [] });
  });

  it("refuse what no row could hold", () => {
    const large: OrgTemplate = { workspaces: [{ name: "w", system_prompt: "x".repeat(512 * 1024) }] };
    expect(reasonAgainst(() => resolve(large))).toBe("workspace w is too large");
    const memories = { global_memories: [{ content: "x".repeat(512 * 1024) }] };
    expect(reasonAgainst(() => resolve(memories))).toBe("global_memories are too large");
  });

  it("refuse defaults that grow with every workspace beyond what one request may carry", () => {
    const workspaces = Array.from({ length: 40 }, (_, index) => ({ name: `${index}` }));
    const defaults = { initial_prompt: "x".repeat(256 * 1024) };
    expect(reasonAgainst(() => resolve({ defaults, workspaces }))).toBe("the workspaces are too large together");
  });

  it("are read in time however many references a text seems to begin", () => {
    const node = workspace({
      workspace_dir: "${".repeat(100_000),
      channels: [{ config: { a: "${A".repeat(50_000) } }],
    });
    expect(node.channels).toHaveLength(1);
  });
});
