import { env, runDurableObjectAlarm } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { costsOf } from "../support/counting.ts";
import { losing } from "../support/lost-words.ts";
import { aMachine, callsOf, listed, machines, registered, ring } from "../support/machines.ts";
import { type Answer, call } from "../support/platform.ts";
import { until } from "../support/until.ts";

afterEach(() => {
  vi.useRealTimers();
});

/** Far more than the largest import of these tests takes. */
const TEN_SECONDS_MS = 10_000;

type Node = { name: string; children?: Node[]; [key: string]: unknown };

const anOrg = (workspaces: Node[], fields: Record<string, unknown> = {}) => ({
  template: { name: "org", workspaces, ...fields },
});
const name = () => `team ${crypto.randomUUID()}`;
const importOrg = (json: unknown) => call("/org/import", { json });

/** A root with so many nodes in all, three levels deep. */
function aTree(root: string, count: number): Node {
  const leads = Array.from({ length: 6 }, (_, lead): Node => ({ name: `lead ${lead}`, external: true, children: [] }));
  for (let number = 0; number < count - 7; number += 1) {
    leads[number % leads.length]?.children?.push({ name: `member ${number}`, external: true });
  }
  return { name: root, external: true, children: leads };
}

const idsOf = ({ body }: Answer): string[] => body.workspaces.map(({ id }: { id: string }) => id);

async function below(root: string) {
  const { body } = await call("/workspaces");
  const ids = new Set([root]);
  return body.filter((node: { id: string; parent_id: string }) => ids.has(node.parent_id) && ids.add(node.id));
}

describe("an import", () => {
  it(
    "makes one tree of sixty workspaces of five at once, in one turn of the directory each, and again of none",
    async () => {
      const order = anOrg([aTree(name(), 60)]);
      const importAll = () => Promise.all(Array.from({ length: 5 }, () => importOrg(order)));
      let answers: Answer[] = [];
      const costs = await costsOf(async () => {
        answers = await importAll();
      });
      expect(costs.objectRequests.filter((method) => method === "importOrg")).toHaveLength(5);
      expect(costs.objectRequests.filter((method) => method === "created")).toHaveLength(60);
      expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201, 201]);
      const sums = answers.map(({ body }) => [body.count, body.created, body.skipped]);
      const nothing = Array.from({ length: 4 }, () => [60, 0, 60]);
      expect(sums.toSorted(([, one], [, other]) => other - one)).toEqual([[60, 60, 0], ...nothing]);
      const [ids = []] = answers.map(idsOf);
      expect(new Set(ids).size).toBe(60);
      for (const answer of [...answers, ...(await importAll())]) {
        expect(idsOf(answer)).toEqual(ids);
        const skipped = answer.body.workspaces.filter((entry: { skipped?: true }) => entry.skipped);
        expect(skipped).toHaveLength(answer.body.skipped);
      }
      const members = await below(String(ids[0]));
      expect([ids[0], ...members.map(({ id }: { id: string }) => id)].toSorted()).toEqual(ids.toSorted());
    },
    TEN_SECONDS_MS,
  );

  it("makes one tree of two imports at the same moment", async () => {
    const order = anOrg([aTree(name(), 20)]);
    const answers = await Promise.all([importOrg(order), importOrg(order)]);
    expect(answers.map(({ body }) => body.created).sort()).toEqual([0, 20]);
  });

  it("fills in what is missing under what is there, and does not take a removed one for it", async () => {
    const root = name();
    const order = anOrg([
      {
        name: root,
        external: true,
        children: [
          { name: "one", external: true },
          { name: "two", external: true },
        ],
      },
    ]);
    const { body } = await importOrg(order);
    const [rootId, oneId] = body.workspaces.map(({ id }: { id: string }) => id);
    await call(`/workspaces/${oneId}`, { method: "DELETE" });
    const again = await importOrg(order);
    expect(again.body).toMatchObject({ created: 1, skipped: 2 });
    expect(again.body.workspaces[0]).toEqual({ id: rootId, name: root, tier: 3, skipped: true });
    expect(again.body.workspaces[1]).toMatchObject({ name: "one" });
    expect(again.body.workspaces[1].id).not.toBe(oneId);
  });

  it("starts the machines of what it creates, with their files, and places them inside their parents", async () => {
    const root = name();
    const { body } = await importOrg(
      anOrg([
        {
          name: root,
          runtime: "claude-code",
          role: "leads",
          system_prompt: "be brief",
          canvas: { x: 100, y: 50 },
          children: [{ name: "helper", initial_prompt: "say hello", model: "openai/gpt" }],
        },
      ]),
    );
    const [rootId, childId] = body.workspaces.map(({ id }: { id: string }) => id);
    await Promise.all([registered(rootId), registered(childId)]);
    const order = machines.callsFor(rootId)[0]?.order;
    expect(order).toMatchObject({ runtime: "claude-code", role: "leads", env: { MODEL: "sonnet" } });
    expect(order?.files).toMatchObject({ "system-prompt.md": "be brief" });
    expect(order?.files["config.yaml"]).toContain("runtime: claude-code");
    const child = machines.callsFor(childId)[0]?.order;
    expect(child).toMatchObject({ parentId: rootId, env: { MODEL: "openai/gpt", LLM_PROVIDER: "openrouter" } });
    expect(child?.files["config.yaml"]).toContain('initial_prompt: "say hello"');
    expect(await listed(childId)).toMatchObject({ x: 116, y: 180, status: "online" });
    const events = await until("its event is in the ledger", async () => {
      const { body: found } = await call(`/events/${childId}`);
      return found.length >= 1 && found;
    });
    const provisioning = events.find((event: { event_type: string }) => event.event_type === "WORKSPACE_PROVISIONING");
    expect(provisioning.payload).toEqual({
      name: "helper",
      tier: 3,
      runtime: "langgraph",
      x: 16,
      y: 130,
      parent_id: rootId,
    });
  });

  it("tells later whom it could not tell at once, and starts each machine once", async () => {
    const order = anOrg([
      { name: name(), children: [{ name: "one" }, { name: "two", children: [{ name: "three" }] }] },
    ]);
    const { status, body } = await losing("created", 4, () => importOrg(order));
    const ids = body.workspaces.map(({ id }: { id: string }) => id);
    expect([status, body.pending.toSorted()]).toEqual([201, ids.toSorted()]);
    expect((await importOrg(order)).body).toMatchObject({ created: 0, skipped: 4 });
    expect(ids.flatMap(callsOf)).toEqual([]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
    await runDurableObjectAlarm(env.DIRECTORY.getByName("default"));
    for (const id of ids) {
      await ring(id);
      await registered(id);
    }
    expect(ids.map(callsOf)).toEqual(ids.map(() => ["start"]));
  });

  it("answers however large the files of its machines are", async () => {
    const prompt = `☃${"b".repeat(150_000)}`;
    const members = Array.from({ length: 5 }, (_, number) => ({ name: `member ${number}`, initial_prompt: prompt }));
    expect(await importOrg(anOrg([{ name: name(), external: true, children: members }]))).toMatchObject({
      status: 201,
      body: { created: 6 },
    });
  });

  it("tells in a dry run what it would do, and does nothing", async () => {
    const root = name();
    const order = {
      ...anOrg([{ name: root, external: true, children: [{ name: "one", external: true }] }]),
      dry_run: true,
    };
    expect(await importOrg(order)).toMatchObject({
      status: 200,
      body: { dry_run: true, to_create: 2, created: 0, workspaces: [{ name: root, to_create: true }, { name: "one" }] },
    });
    const { body } = await call("/workspaces");
    expect(body.some((node: { name: string }) => node.name === root)).toBe(false);
  });

  it("replaces a tree in one turn when it is told to, and stops its machines", async () => {
    const root = name();
    const order = anOrg([{ name: root, runtime: "codex", children: [{ name: "one", external: true }] }]);
    const { body } = await importOrg(order);
    const [before] = body.workspaces;
    await registered(before.id);
    const replaced = await importOrg({ ...order, mode: "replace" });
    expect(replaced).toMatchObject({ status: 201, body: { created: 2, skipped: 0, removed: 2 } });
    expect(replaced.body.workspaces[0].id).not.toBe(before.id);
    expect((await call(`/workspaces/${before.id}`)).status).toBe(410);
    await until("the old machine is gone", async () => machines.runningFor(before.id).length === 0);
    await until("the new one runs", async () => callsOf(replaced.body.workspaces[0].id).includes("start"));
  });

  it("is refused as a whole while required variables are missing, and says which", async () => {
    const order = anOrg([{ name: name(), external: true, required_env: ["NOBODY_HAS_THIS"] }]);
    expect(await importOrg(order)).toMatchObject({
      status: 412,
      body: {
        error: "missing required environment variables",
        missing_env: ["NOBODY_HAS_THIS"],
        required_env: ["NOBODY_HAS_THIS"],
        template: "org",
      },
    });
    await call("/settings/secrets", { method: "PUT", json: { key: "NOBODY_HAS_THIS", value: "x" } });
    expect((await importOrg(order)).status).toBe(201);
  });

  it("keeps what came before a workspace that cannot be created, and answers 207", async () => {
    const root = name();
    const answer = await importOrg(
      anOrg([{ name: root, external: true, children: [{ name: "bad", workspace_dir: "/etc" }, { name: "never" }] }]),
    );
    expect(answer).toMatchObject({
      status: 207,
      body: { count: 1, created: 1, error: expect.stringContaining("workspace bad") },
    });
  });

  it("reads the keys of every body in any case", async () => {
    const root = name();
    const Template = {
      Name: "org",
      Workspaces: [{ Name: root, External: true, Children: [{ NAME: "one", Url: "" }] }],
    };
    expect((await importOrg({ Template })).body).toMatchObject({ created: 2, workspaces: [{ name: root }, {}] });
    expect((await importOrg({ Dir: "nowhere" })).body).toMatchObject({ error: "org template not found: nowhere" });
    const imported = await call("/templates/import", { json: { Name: root, FILES: { "Read.me": "x" } } });
    expect(imported).toMatchObject({ status: 201, body: { name: root } });
    const bundle = { Name: root, Prompts: { "config.yaml": "runtime: external\n" }, Sub_Workspaces: [{ NAME: "two" }] };
    expect((await call("/bundles/import", { json: bundle })).body).toMatchObject({
      name: `${root} (2)`,
      status: "awaiting_agent",
      children: [{ name: "two" }],
    });
  });

  it("says what it does not keep", async () => {
    const node = { name: name(), external: true, initial_memories: [{ content: "x", scope: "LOCAL" }] };
    expect((await importOrg(anOrg([node]))).body).toMatchObject({
      not_stored: { memories: 1, schedules: 0, channels: 0 },
    });
  });

  it("reads a template of the gallery, and refuses one that is not there or leaves its folder", async () => {
    const templates = await call("/org/templates");
    expect(templates.body.map(({ dir }: { dir: string }) => dir)).toContain("code-review-team");
    const answer = await importOrg({ dir: "code-review-team", dry_run: true });
    expect(answer).toMatchObject({
      status: 200,
      body: { missing_env: [{ any_of: ["ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"] }] },
    });
    expect(answer.body.to_create).toBeGreaterThan(2);
    expect(await importOrg({ dir: "nowhere" })).toMatchObject({
      status: 404,
      body: { error: "org template not found: nowhere" },
    });
    expect(await importOrg({ dir: "../up" })).toMatchObject({ status: 400, body: { error: "invalid org directory" } });
    expect(await importOrg({})).toMatchObject({ status: 400, body: { error: "provide 'dir' or 'template'" } });
  });
});

describe("templates of workspaces", () => {
  it("may be those of agents that come by themselves, which get a connection and no machine", async () => {
    const id = `template-${crypto.randomUUID()}`;
    const files = { "config.yaml": "name: Guest\nruntime: external\n" };
    expect((await call("/templates/import", { json: { name: id, files } })).status).toBe(201);
    const { body } = await call("/workspaces", { json: { name: crypto.randomUUID(), template: id } });
    expect(body).toMatchObject({ external: true, status: "awaiting_agent", connection: { workspace_id: body.id } });
    expect(machines.callsFor(body.id)).toEqual([]);
  });

  it("are imported once, listed, and give a workspace its runtime, model and files, also in an import", async () => {
    const id = `template-${crypto.randomUUID()}`;
    const files = { "config.yaml": "name: T\nruntime: hermes\nmodel: nous/hermes\n", "AGENTS.md": "be kind" };
    expect(await call("/templates/import", { json: { name: id, files } })).toMatchObject({
      status: 201,
      body: { status: "imported", id, name: id },
    });
    expect((await call("/templates/import", { json: { name: id, files } })).status).toBe(409);
    const { body } = await call("/templates");
    expect(body.find((entry: { id: string }) => entry.id === id)).toMatchObject({ name: "T", runtime: "hermes" });
    const workspace = await aMachine({ template: id, runtime: undefined });
    expect((await call(`/workspaces/${workspace}/model`)).body).toMatchObject({ model: "nous/hermes" });
    expect(await listed(workspace)).toMatchObject({ runtime: "hermes" });
    await registered(workspace);
    expect(machines.callsFor(workspace)[0]?.order?.files).toMatchObject({ "AGENTS.md": "be kind" });
    const nodes: Node[] = [
      { name: name(), template: id, children: [{ name: "own", template: id, runtime: "codex", model: "openai/gpt" }] },
      { name: name(), template: "nowhere" },
    ];
    const imported = await importOrg(anOrg(nodes));
    const [plain, own, without] = imported.body.workspaces.map((entry: { id: string }) => entry.id);
    const chosen = async (workspaceId: string) => [
      (await listed(workspaceId)).runtime,
      (await call(`/workspaces/${workspaceId}/model`)).body.model,
    ];
    expect(await chosen(plain)).toEqual(["hermes", "nous/hermes"]);
    expect(await chosen(own)).toEqual(["codex", "openai/gpt"]);
    expect((await chosen(without))[0]).toBe("langgraph");
    await registered(plain);
    expect(machines.callsFor(plain)[0]?.order).toMatchObject({
      runtime: "hermes",
      env: { MODEL: "nous/hermes" },
      files: { "AGENTS.md": "be kind" },
    });
    const escaping = { name: name(), template: "../../etc", runtime: "codex", model: "m" };
    expect(await call("/workspaces", { json: escaping })).toMatchObject({
      status: 400,
      body: { error: "invalid template" },
    });
  });
});

describe("a bundle", () => {
  it("makes a copy of a tree beside it, with its runtimes, and on request only once", async () => {
    const root = await aMachine({ name: name(), runtime: "claude-code", role: "leads", model: "openai/gpt" });
    const child = await aMachine({ name: "child", runtime: "codex", parent_id: root });
    const exported = await call(`/bundles/export/${root}`);
    expect(exported).toMatchObject({ status: 200, body: { schema: "1.0", id: root, sub_workspaces: [{ id: child }] } });
    const imported = await call("/bundles/import", { json: exported.body });
    expect(imported.status).toBe(201);
    expect(imported.body).toMatchObject({
      name: `${exported.body.name} (2)`,
      status: "provisioning",
      children: [{ name: "child", status: "provisioning" }],
    });
    expect(await listed(imported.body.workspace_id)).toMatchObject({ runtime: "claude-code", role: "leads" });
    const once = await call("/bundles/import?idempotent=true", { json: exported.body });
    expect(once.body).toMatchObject({ workspace_id: imported.body.workspace_id, skipped: true });
    await registered(imported.body.workspace_id);
    expect(machines.callsFor(imported.body.workspace_id)[0]?.order?.env).toMatchObject({ MODEL: "openai/gpt" });
  });

  it("with several of one name gives each a number, at every level, and fails the one that gets none", async () => {
    const twin = { name: "twin", prompts: { "config.yaml": "runtime: external\n" } };
    const bundle = { ...twin, name: name(), sub_workspaces: [twin, { ...twin, sub_workspaces: [twin, twin] }] };
    const imported = await call("/bundles/import", { json: bundle });
    expect(imported).toMatchObject({
      status: 201,
      body: {
        name: bundle.name,
        children: [{ name: "twin" }, { name: "twin (2)", children: [{ name: "twin" }, { name: "twin (2)" }] }],
      },
    });
    const family = { ...twin, sub_workspaces: Array.from({ length: 21 }, () => ({ ...twin, sub_workspaces: [twin] })) };
    const { status, body } = await call("/bundles/import", { json: { ...family, name: name() } });
    expect([status, body.status, body.children.length]).toEqual([201, "awaiting_agent", 21]);
    expect(body.children[19]).toMatchObject({ name: "twin (20)", status: "awaiting_agent", children: [{}] });
    const error = "failed to create workspace record: workspace name already taken";
    expect(body.children[20]).toEqual({ workspace_id: expect.any(String), name: "twin", status: "failed", error });
    expect((await call(`/workspaces/${body.children[20].workspace_id}`)).status).toBe(404);
  });

  it("that is none is refused, and so is the export of nobody", async () => {
    expect(await call("/bundles/import", { json: {} })).toMatchObject({
      status: 400,
      body: { error: "invalid bundle" },
    });
    for (const id of [crypto.randomUUID(), "nobody"]) {
      expect(await call(`/bundles/export/${id}`)).toMatchObject({ status: 404, body: { error: "bundle not found" } });
    }
  });
});

describe("duplicates", () => {
  it("are removed by a directory of an older release too, which tells nothing of those that stay", async () => {
    const outcome = { ok: true, value: { removed: [], pending: false } };
    const DIRECTORY = { getByName: () => ({ removeDuplicates: async () => ({ outcome, rate: null }) }) };
    const json = { all: true };
    expect(
      await aDeployment({ DIRECTORY }).call("/admin/workspaces/duplicates/remove", { token: ADMIN_TOKEN, json }),
    ).toMatchObject({ status: 200, body: { removed: [], kept: [] } });
  });

  const groupOf = async (base: string) =>
    (await call("/admin/workspaces/duplicates")).body.groups.find((group: { name: string }) => group.name === base);
  const remove = (json: unknown) => call("/admin/workspaces/duplicates/remove", { json });

  it("are found among siblings by their names, and removed with all below them, the best never", async () => {
    const base = name();
    const [oldest, kept] = [await aMachine({ name: base }), await aMachine({ name: base })];
    const third = await aMachine({ name: base });
    await registered(kept);
    const best = { id: kept, name: `${base} (2)`, status: "online", sub_workspaces: false, kept_for: "status" };
    expect(await groupOf(base)).toMatchObject({
      parent_id: null,
      kept: best,
      duplicates: [
        { id: oldest, name: base, status: "provisioning" },
        { id: third, name: `${base} (3)`, status: "provisioning" },
      ],
    });
    const rehearsed = await remove({ ids: [oldest], dry_run: true });
    expect(rehearsed.body).toMatchObject({ dry_run: true, removed: [oldest], count: 1, kept: [best] });
    expect((await call(`/workspaces/${oldest}`)).status).toBe(200);
    expect(await remove({ ids: [kept] })).toMatchObject({ status: 400, body: { error: "workspace is no duplicate" } });
    expect((await remove({})).status).toBe(400);
    expect((await remove({ ids: [oldest, third] })).body).toMatchObject({ count: 2, kept: [best] });
    expect([(await call(`/workspaces/${third}`)).status, (await call(`/workspaces/${kept}`)).status]).toEqual([
      410, 200,
    ]);
  });

  it("are not what has sub-workspaces, which would go along with it", async () => {
    const base = name();
    const working = await aMachine({ name: base });
    await registered(working);
    const [second, third] = [await aMachine({ name: base }), await aMachine({ name: base })];
    const below = await aMachine({ name: "below", parent_id: third });
    expect(await groupOf(base)).toMatchObject({
      kept: { id: third, sub_workspaces: true, kept_for: "sub_workspaces" },
    });
    const twin = await aMachine({ name: "below", parent_id: third });
    const { body } = await remove({ ids: [second, working], dry_run: true });
    expect(body).toMatchObject({ count: 2, kept: [{ id: third }] });
    await aMachine({ name: "below", parent_id: second });
    const along = await remove({ ids: [third, twin, working], dry_run: true });
    expect(along.body.removed.toSorted()).toEqual([third, twin, below, working].toSorted());
    expect(along.body.kept).toMatchObject([{ id: second, kept_for: "age" }]);
  });
});
