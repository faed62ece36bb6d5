import { describe, expect, it } from "vitest";
import { treeOfBundle } from "../../src/domain/bundle.ts";
import { type OrgTree, resolveOrg } from "../../src/domain/org-node.ts";
import { parseOrgTemplate } from "../../src/domain/org-template.ts";
import { importAnswer } from "../../src/org-import/answer.ts";
import { type ImportPlan, type LiveNode, type PlanOptions, planImport, planTree } from "../../src/org-import/plan.ts";

function treeOf(template: object): OrgTree {
  return resolveOrg(parseOrgTemplate({ name: "Org", ...template }), { defaultTier: 3 });
}

/** A directory that keeps what plans create and remove, as the real one does within a turn. */
class Rows {
  live: LiveNode[] = [];
  #ids = 0;

  readonly newId = (): string => {
    this.#ids += 1;
    return `id-${this.#ids}`;
  };

  add(name: string, parentId: string | null = null): string {
    const id = this.newId();
    this.live.push({ id, name, parentId });
    return id;
  }

  plan(tree: OrgTree, options: Partial<PlanOptions> = {}): ImportPlan {
    return planImport(tree, this.live, {
      mode: "merge",
      dryRun: false,
      urlPolicy: { allowPrivate: false, requireHostname: true },
      newId: this.newId,
      ...options,
    });
  }

  import(tree: OrgTree, options: Partial<PlanOptions> = {}): ImportPlan {
    const plan = this.plan(tree, options);
    this.live = this.live.filter(({ id }) => !plan.removals.includes(id));
    this.live.push(...plan.creations.map(({ id, name, parentId }) => ({ id, name, parentId })));
    return plan;
  }
}

const TEAM = treeOf({
  workspaces: [
    { name: "Lead", children: [{ name: "A", children: [{ name: "A1" }] }, { name: "B" }] },
    { name: "Other" },
  ],
});

function shown({ entries }: ImportPlan): string[] {
  return entries.map(({ id, name, skipped }) => `${id} ${name}${skipped ? " skipped" : ""}`);
}

describe("an import into an empty directory", () => {
  it("creates everything, parents before their children", () => {
    const plan = new Rows().plan(TEAM);
    expect(shown(plan)).toEqual(["id-1 Lead", "id-2 A", "id-3 A1", "id-4 B", "id-5 Other"]);
    expect(plan.creations.map(({ id, parentId }) => [id, parentId])).toEqual([
      ["id-1", null],
      ["id-2", "id-1"],
      ["id-3", "id-2"],
      ["id-4", "id-1"],
      ["id-5", null],
    ]);
    expect(plan).toMatchObject({ created: 5, skipped: 0, removals: [], error: null });
  });

  it("tells of each id, name and tier, and no more without channels", () => {
    const { entries } = new Rows().plan(treeOf({ workspaces: [{ name: "Lead", tier: 2 }] }));
    expect(entries).toEqual([{ id: "id-1", name: "Lead", tier: 2 }]);
  });

  it("tells which channels a workspace got and which were skipped", () => {
    const channels = [{ type: "slack" }, { type: "telegram", config: { token: ["$", "{TOKEN}"].join("") } }];
    const { entries, creations } = new Rows().plan(treeOf({ workspaces: [{ name: "Desk", channels }] }));
    expect(entries).toEqual([
      {
        id: "id-1",
        name: "Desk",
        tier: 3,
        channels: ["slack"],
        channels_skipped: [{ workspace: "Desk", type: "telegram", reason: "missing variables: TOKEN" }],
      },
    ]);
    expect(creations[0]?.channels).toMatchObject([{ type: "slack", allowedUsers: [] }]);
  });

  it("stores absolute points and tells events the relative ones", () => {
    const tree = treeOf({ workspaces: [{ name: "Lead", canvas: { x: 100, y: 200 }, children: [{ name: "A" }] }] });
    expect(new Rows().plan(tree).creations).toMatchObject([
      { x: 100, y: 200, relativeX: 100, relativeY: 200 },
      { x: 116, y: 330, relativeX: 16, relativeY: 130 },
    ]);
  });

  it("hands on all that starting a workspace needs", () => {
    const fields = {
      name: "Lead",
      role: "leads",
      runtime: "claude-code",
      workspace_dir: "/srv/repo",
      workspace_access: "read_only",
      max_concurrent_tasks: 2,
      system_prompt: "s",
      initial_prompt: "i",
      initial_memories: [{ content: "c", scope: "LOCAL" }],
      schedules: [{ cron_expr: "0 9 * * *", prompt: "p" }],
    };
    const [planned] = new Rows().plan(treeOf({ workspaces: [fields] })).creations;
    expect(planned).toEqual({
      id: "id-1",
      parentId: null,
      name: "Lead",
      role: "leads",
      tier: 3,
      runtime: "claude-code",
      model: "sonnet",
      external: false,
      status: "provisioning",
      url: null,
      workspaceDir: "/srv/repo",
      workspaceAccess: "read_only",
      x: 0,
      y: 0,
      relativeX: 0,
      relativeY: 0,
      maxConcurrentTasks: 2,
      memories: [{ content: "c", scope: "LOCAL" }],
      schedules: [{ name: "", cronExpr: "0 9 * * *", timezone: "UTC", prompt: "p", enabled: true }],
      channels: [],
      secrets: {},
      config: {
        template: null,
        orgFiles: null,
        files: {},
        systemPrompt: "s",
        initialPrompt: "i",
        idlePrompt: null,
        idleIntervalSeconds: 600,
        plugins: [],
        categoryRouting: {},
      },
      agentCard: null,
      sourceBundleId: null,
    });
  });

  it("lets external workspaces wait for their agents, or be online at their address", () => {
    const workspaces = [
      { name: "A", external: true },
      { name: "B", external: true, url: "https://agent.example" },
      { name: "C", url: "https://agent.example" },
    ];
    expect(new Rows().plan(treeOf({ workspaces })).creations).toMatchObject([
      { status: "awaiting_agent", runtime: "external", url: null },
      { status: "online", runtime: "external", url: "https://agent.example" },
      { status: "provisioning", runtime: "langgraph", url: null },
    ]);
  });
});

describe("an import into a directory that has some of it", () => {
  it("skips what stands there by name and parent, roots included, and creates what is missing under it", () => {
    const rows = new Rows();
    const lead = rows.add("Lead");
    const b = rows.add("B", lead);
    const plan = rows.plan(TEAM);
    expect(shown(plan)).toEqual([`${lead} Lead skipped`, "id-3 A", "id-4 A1", `${b} B skipped`, "id-5 Other"]);
    expect(plan.entries[0]).toEqual({ id: lead, name: "Lead", tier: 3, skipped: true });
    expect(plan.creations.map(({ parentId }) => parentId)).toEqual([lead, "id-3", null]);
    expect(plan).toMatchObject({ created: 3, skipped: 2 });
  });

  it("does not take a name under another parent for the same workspace", () => {
    const rows = new Rows();
    const other = rows.add("Other");
    rows.add("Lead", other);
    rows.add("A");
    expect(rows.plan(TEAM)).toMatchObject({ created: 4, skipped: 1 });
  });

  it("puts missing children where the template has them, wherever their parent stands now", () => {
    const rows = new Rows();
    rows.add("Lead");
    const tree = treeOf({ workspaces: [{ name: "Lead", canvas: { x: 50, y: 50 }, children: [{ name: "A" }] }] });
    expect(rows.plan(tree).creations).toMatchObject([{ x: 66, y: 180, relativeX: 16, relativeY: 130 }]);
  });

  it("skips the second of two siblings with one name, under the id of the first, and joins their children", () => {
    const twins = [
      { name: "Twin", children: [{ name: "a" }] },
      { name: "Twin", children: [{ name: "a" }, { name: "b" }] },
    ];
    const plan = new Rows().plan(treeOf({ workspaces: twins }));
    expect(shown(plan)).toEqual(["id-1 Twin", "id-2 a", "id-1 Twin skipped", "id-2 a skipped", "id-3 b"]);
    expect(plan.creations.at(-1)?.parentId).toBe("id-1");
  });

  it("takes the first of several that other systems left with one name", () => {
    const rows = new Rows();
    const first = rows.add("Lead");
    rows.add("Lead");
    expect(shown(rows.plan(treeOf({ workspaces: [{ name: "Lead" }] })))).toEqual([`${first} Lead skipped`]);
  });

  it("ends with one tree of 60 workspaces however often it is repeated", () => {
    const teams = Array.from({ length: 5 }, (_, team) => ({
      name: `Team ${team}`,
      children: Array.from({ length: 11 }, (_, member) => ({ name: `Member ${member}` })),
    }));
    const tree = treeOf({ workspaces: teams });
    const rows = new Rows();
    const plans = Array.from({ length: 5 }, () => rows.import(tree));
    expect(plans.map(({ created, skipped }) => [created, skipped])).toEqual([[60, 0], ...Array(4).fill([0, 60])]);
    expect(rows.live).toHaveLength(60);
    expect(plans[4]?.entries.map(({ id }) => id)).toEqual(plans[0]?.entries.map(({ id }) => id));
  });

  it("seeds the organisation's memories once, with its first workspace, never again", () => {
    const tree = treeOf({
      workspaces: [{ name: "Lead", initial_memories: [{ content: "own", scope: "LOCAL" }] }, { name: "Other" }],
      global_memories: [{ content: "all" }],
    });
    const rows = new Rows();
    const [lead, other] = rows.import(tree).creations;
    expect([lead?.memories, other?.memories]).toEqual([
      [
        { content: "own", scope: "LOCAL" },
        { content: "all", scope: "GLOBAL" },
      ],
      [],
    ]);
    rows.live = rows.live.filter(({ name }) => name === "Lead");
    expect(rows.import(tree).creations).toMatchObject([{ name: "Other", memories: [] }]);
  });
});

describe("an import that replaces", () => {
  it("removes the roots that it names with everything under them, and creates all anew", () => {
    const rows = new Rows();
    rows.import(TEAM);
    const kept = rows.add("Kept");
    rows.add("Lead", kept);
    rows.add("extra", "id-3");
    const plan = rows.import(TEAM, { mode: "replace" });
    expect(plan.removals).toEqual(["id-1", "id-5", "id-2", "id-4", "id-3", "id-8"]);
    expect(plan).toMatchObject({ created: 5, skipped: 0 });
    expect(rows.live.map(({ name }) => name).sort()).toEqual(["A", "A1", "B", "Kept", "Lead", "Lead", "Other"]);
  });

  it("creates all where there is nothing to replace", () => {
    expect(new Rows().plan(TEAM, { mode: "replace" })).toMatchObject({ created: 5, removals: [] });
  });

  it("removes nothing when one of its workspaces cannot be created", () => {
    const rows = new Rows();
    rows.add("Lead");
    const tree = treeOf({ workspaces: [{ name: "Lead", children: [{ name: "Bad", workspace_dir: "/etc" }] }] });
    expect(rows.plan(tree, { mode: "replace" })).toMatchObject({
      removals: [],
      creations: [],
      entries: [],
      created: 0,
      error: expect.stringContaining("workspace Bad: workspace_dir"),
    });
  });
});

describe("a dry run", () => {
  it("tells what would be created and removed, and hands out nothing to do", () => {
    const rows = new Rows();
    const lead = rows.add("Lead");
    const twins = treeOf({ workspaces: [{ name: "Lead" }, { name: "New" }, { name: "New" }] });
    expect(rows.plan(twins, { dryRun: true })).toEqual({
      entries: [
        { id: lead, name: "Lead", tier: 3, skipped: true },
        { name: "New", tier: 3, to_create: true },
        { name: "New", tier: 3, skipped: true },
      ],
      removals: [],
      creations: [],
      created: 0,
      skipped: 2,
      toCreate: 1,
      toRemove: 0,
      error: null,
    });
    expect(rows.plan(twins, { dryRun: true, mode: "replace" })).toMatchObject({
      removals: [],
      creations: [],
      toCreate: 2,
      toRemove: 1,
    });
  });
});

describe("a workspace that cannot be created", () => {
  it.each([
    [
      { workspace_dir: "relative" },
      "workspace_dir must be an absolute path without .. outside the directories of the system",
    ],
    [
      { workspace_dir: "/srv/../etc" },
      "workspace_dir must be an absolute path without .. outside the directories of the system",
    ],
    [
      { workspace_dir: ["/$", "{HOME}"].join("") },
      `workspace_dir ${["/$", "{HOME}"].join("")} names an unknown variable`,
    ],
    [{ workspace_access: "all" }, "workspace_access must be none, read_only or read_write"],
    [{ workspace_access: "read_write" }, "workspace_access read_write needs a workspace_dir"],
    [{ external: true, url: "http://127.0.0.1/" }, "url targets a blocked address: loopback"],
    [{ external: true, url: "ftp://agent.example" }, 'url scheme must be http or https, got "ftp"'],
  ])("ends the import, and what stands before it stays: %j", (fields, reason) => {
    const workspaces = [
      { name: "First" },
      { name: "Bad", ...fields, children: [{ name: "Under" }] },
      { name: "After" },
    ];
    const plan = new Rows().plan(treeOf({ workspaces }));
    expect(shown(plan)).toEqual(["id-1 First"]);
    expect(plan).toMatchObject({ created: 1, error: `workspace Bad: ${reason}` });
  });

  it("ends it from deep inside the tree", () => {
    const bad = { name: "Bad", workspace_access: "all" };
    const plan = new Rows().plan(treeOf({ workspaces: [{ name: "Lead", children: [bad] }, { name: "After" }] }));
    expect(shown(plan)).toEqual(["id-1 Lead"]);
  });

  it("is no matter when it is there already", () => {
    const rows = new Rows();
    rows.add("Bad");
    expect(rows.plan(treeOf({ workspaces: [{ name: "Bad", workspace_access: "all" }] }))).toMatchObject({
      skipped: 1,
      error: null,
    });
  });
});

describe("the answer to an import", () => {
  it("is 201 with all entries and counts", () => {
    const plan = new Rows().plan(treeOf({ workspaces: [{ name: "Lead" }] }));
    expect(importAnswer("Org", plan, false)).toEqual({
      status: 201,
      body: { org: "Org", workspaces: [{ id: "id-1", name: "Lead", tier: 3 }], count: 1, created: 1, skipped: 0 },
    });
  });

  it("is 207 with the error when a workspace could not be created", () => {
    const plan = new Rows().plan(treeOf({ workspaces: [{ name: "Lead" }, { name: "Bad", workspace_access: "all" }] }));
    expect(importAnswer("Org", plan, false)).toMatchObject({
      status: 207,
      body: { count: 1, created: 1, error: "workspace Bad: workspace_access must be none, read_only or read_write" },
    });
  });

  it("tells how many were removed for it, and in a dry run what would be done, with 200", () => {
    const rows = new Rows();
    rows.import(TEAM);
    expect(importAnswer("Org", rows.plan(TEAM, { mode: "replace" }), false).body).toMatchObject({ removed: 5 });
    const { status, body } = importAnswer("Org", rows.plan(TEAM, { mode: "replace", dryRun: true }), true);
    expect(status).toBe(200);
    expect(body).toMatchObject({ count: 5, created: 0, skipped: 0, dry_run: true, to_create: 5, to_remove: 5 });
  });
});

it("a bundle is planned whole, under new ids, laid out like a template", () => {
  const bundle = { name: "Lead", id: "source", sub_workspaces: [{ name: "A" }, { name: "A" }] };
  const rows = new Rows();
  expect(planTree(treeOfBundle(bundle, 3), rows.newId)).toMatchObject([
    { id: "id-1", parentId: null, name: "Lead", sourceBundleId: "source", x: 0, y: 0, status: "provisioning" },
    { id: "id-2", parentId: "id-1", name: "A", sourceBundleId: null, x: 16, y: 130 },
    { id: "id-3", parentId: "id-1", name: "A", x: 270, y: 130 },
  ]);
});
