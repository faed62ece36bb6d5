import { describe, expect, it, onTestFinished, vi } from "vitest";
import { Workspace } from "../../src/durable-objects/workspace/workspace.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aFamily, aRemovedAgent, aWorkspace, remove } from "../support/client-tree.ts";
import { query } from "../support/ledger.ts";
import { type Agent, aMessage, anAgent, call, poll } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

/** What a list entry of the original has, in any order. */
const LIST_KEYS = [
  "active_tasks",
  "agent_card",
  "budget_limit",
  "collapsed",
  "current_task",
  "id",
  "last_error_rate",
  "last_sample_error",
  "max_concurrent_tasks",
  "monthly_spend",
  "name",
  "parent_id",
  "role",
  "runtime",
  "status",
  "tier",
  "uptime_seconds",
  "url",
  "workspace_dir",
  "x",
  "y",
];
const NOT_PUBLIC = ["budget_limit", "monthly_spend", "current_task", "last_sample_error", "workspace_dir"];

function create(json: Record<string, unknown>) {
  return call("/workspaces", { json: { runtime: "external", ...json } });
}

async function listed({ id }: Pick<Agent, "id">) {
  const { body } = await call("/workspaces");
  return body.find((workspace: { id: string }) => workspace.id === id);
}

describe("a workspace with a large card", () => {
  it("is listed without it while its object does not answer, and hides nobody else", async () => {
    const card = { name: "large", skills: [], text: "x".repeat(100_000) };
    const [agent, other] = [await anAgent({ agent_card: card }), await anAgent()];
    const cardOf = async (id: string) =>
      (await call("/workspaces")).body.find((entry: { id: string }) => entry.id === id).agent_card;
    expect(await cardOf(agent.id)).toEqual(card);
    const read = vi.spyOn(Workspace.prototype, "agentCard").mockRejectedValueOnce(new Error("overloaded"));
    onTestFinished(() => read.mockRestore());
    expect(await cardOf(agent.id)).toBeNull();
    expect(await cardOf(other.id)).toMatchObject({ name: "agent" });
  });
});

describe("creating an external workspace", () => {
  it("answers 201 with the connection and a token that works, shown once", async () => {
    const { status, body } = await create({ name: `n ${crypto.randomUUID()}`, role: "helper" });
    expect(status).toBe(201);
    expect(Object.keys(body).sort()).toEqual(["connection", "external", "id", "status"]);
    expect(body).toMatchObject({ external: true, status: "awaiting_agent" });
    expect(body.connection).toMatchObject({
      workspace_id: body.id,
      platform_url: "http://posthouse.test",
      registry_endpoint: "http://posthouse.test/registry/register",
      heartbeat_endpoint: "http://posthouse.test/registry/heartbeat",
    });
    const agent = { id: body.id, token: body.connection.auth_token };
    expect((await poll(agent)).body).toEqual([]);
    const { text } = await call(`/workspaces/${body.id}`);
    expect(text).not.toContain(agent.token);
  });

  it("takes `external: true` for the runtime, and every field of the canvas", async () => {
    const parent = await aWorkspace();
    const fields = { name: "Canvas' own", role: "r", tier: 2, budget_limit: 1250.5, canvas: { x: 12.5, y: -3 } };
    const { status, body } = await call("/workspaces", {
      json: {
        ...fields,
        external: true,
        parent_id: parent.id,
        workspace_dir: "/home/agent/here",
        max_concurrent_tasks: 4,
        unknown: 1,
      },
    });
    expect(status).toBe(201);
    expect(await listed(body)).toMatchObject({
      name: "Canvas' own",
      role: "r",
      tier: 2,
      runtime: "external",
      parent_id: parent.id,
      budget_limit: 1_251,
      x: 12.5,
      y: -3,
      workspace_dir: "/home/agent/here",
      max_concurrent_tasks: 4,
      status: "awaiting_agent",
    });
  });

  it("with a URL is online, without a token; without one it polls unless push was asked for", async () => {
    const url = "https://agent.example.com/a2a";
    const online = await create({ name: `n ${crypto.randomUUID()}`, url });
    expect(online).toMatchObject({ status: 201, body: { external: true, status: "online" } });
    expect(online.body).not.toHaveProperty("connection");
    expect(await listed(online.body)).toMatchObject({ url, status: "online" });
    const polled = await aWorkspace();
    const sent = await call(`/workspaces/${polled.id}/a2a`, { json: aMessage("hi") });
    expect(sent.body).toMatchObject({ status: "queued", delivery_mode: "poll" });
    const blocked = await create({ name: "n", url: "http://169.254.169.254" });
    expect(blocked).toMatchObject({ status: 400, body: { error: "url targets a blocked address: cloud metadata" } });
  });

  it("gives a taken name among siblings a number, up to 20, then 409; elsewhere the name is free", async () => {
    const [parent, other] = await Promise.all([aWorkspace(), aWorkspace()]);
    const names = [];
    for (let times = 0; times < 20; times++) names.push((await aWorkspace({ parent, name: "twin" })).name);
    expect(names).toEqual(["twin", ...Array.from({ length: 19 }, (_, index) => `twin (${index + 2})`)]);
    expect(await create({ name: "twin", parent_id: parent.id })).toMatchObject({
      status: 409,
      body: { error: "workspace name already taken" },
    });
    expect((await aWorkspace({ parent: other, name: "twin" })).name).toBe("twin");
    const [first] = (await call(`/registry/${parent.id}/peers?q=twin%20(2)`)).body;
    await remove(first);
    const numbered = await aWorkspace({ parent, name: "twin" });
    expect(numbered.name).toBe("twin (2)");
    await quiet(numbered.id);
    const events = (await call(`/events/${numbered.id}`)).body;
    const announced = events.filter(({ payload }: { payload: { name?: string } }) => payload.name !== undefined);
    expect(announced.length).toBeGreaterThan(0);
    for (const { payload } of announced) expect(payload.name).toBe("twin (2)");
  });

  it("refuses fields by the contract's texts and leaves nothing behind", async () => {
    const before = (await call("/workspaces")).body.length;
    const removed = await aRemovedAgent();
    for (const [fields, error] of [
      [{ name: "a\nb" }, "invalid workspace fields"],
      [{ name: "a{b" }, "invalid workspace fields"],
      [{ name: "é".repeat(128) }, "invalid workspace fields"],
      [{ name: "n", role: "r".repeat(1_001) }, "invalid workspace fields"],
      [{ name: "n", model: "m".repeat(101) }, "invalid workspace fields"],
      [{ name: "n", workspace_dir: "relative" }, "invalid workspace directory"],
      [{ name: "n", workspace_dir: "/home/../etc" }, "invalid workspace directory"],
      [{ name: "n", workspace_dir: "/etc" }, "invalid workspace directory"],
      [{ name: "n", workspace_access: "write" }, "invalid workspace access"],
      [{ name: "n", workspace_access: "read_only" }, "invalid workspace access"],
      [{ name: "n", parent_id: "" }, "invalid parent workspace"],
      [{ name: "n", parent_id: crypto.randomUUID() }, "invalid parent workspace"],
      [{ name: "n", parent_id: removed.id }, "invalid parent workspace"],
    ] as const) {
      expect(await create(fields), JSON.stringify(fields)).toMatchObject({ status: 400, body: { error } });
    }
    expect((await call("/workspaces")).body).toHaveLength(before);
  });

  it("stops at 32 ancestors", async () => {
    let parent = await aWorkspace();
    for (let depth = 1; depth <= 31; depth++) parent = await aWorkspace({ parent });
    expect(await create({ name: "too deep", parent_id: parent.id })).toMatchObject({
      status: 400,
      body: { error: "workspace tree too deep" },
    });
  });

  it("records PROVISIONING and AWAITING_AGENT, and stands in the ledger", async () => {
    const agent = await aWorkspace({ tier: 2 });
    await quiet(agent.id);
    const events = await query(
      "SELECT event_type, payload FROM structure_events WHERE workspace_id = $1 ORDER BY version",
      [agent.id],
    );
    expect(events.map(({ event_type, payload }) => [event_type, JSON.parse(String(payload))])).toEqual([
      ["WORKSPACE_PROVISIONING", { name: agent.name, tier: 2, runtime: "external" }],
      ["WORKSPACE_AWAITING_AGENT", { name: agent.name, external: true }],
    ]);
  });

  it("is for operators: a workspace's bearer is 401, and nobody creates without a bearer in production", async () => {
    const { token } = await anAgent();
    const json = { name: "n", runtime: "external" };
    for (const bearer of [token, "wrong"]) {
      expect(await call("/workspaces", { json, token: bearer })).toMatchObject({
        status: 401,
        body: { error: "invalid admin auth token" },
      });
    }
    const closed = aDeployment();
    expect(await closed.call("/workspaces", { json })).toMatchObject({
      status: 401,
      body: { error: "admin auth required" },
    });
    expect((await closed.call("/workspaces", { json, token: ADMIN_TOKEN })).status).toBe(201);
  });
});

describe("the list of workspaces", () => {
  it("is an array, oldest first, of entries with exactly 21 keys", async () => {
    const { parent, child } = await aFamily();
    const { body } = await call("/workspaces");
    for (const entry of body) expect(Object.keys(entry).sort()).toEqual(LIST_KEYS);
    const ids = body.map((entry: { id: string }) => entry.id);
    expect(ids.indexOf(parent.id)).toBeLessThan(ids.indexOf(child.id));
    expect(await listed(parent)).toMatchObject({
      url: "",
      last_sample_error: "",
      current_task: "",
      agent_card: null,
      workspace_dir: null,
      role: null,
      parent_id: null,
      active_tasks: 0,
      max_concurrent_tasks: 1,
      uptime_seconds: 0,
      monthly_spend: 0,
      last_error_rate: 0,
      collapsed: false,
      x: 0,
      y: 0,
    });
  });

  it("leaves removed workspaces out", async () => {
    const { id } = await aRemovedAgent();
    expect(await listed({ id })).toBeUndefined();
  });

  it("is for operators", async () => {
    const { token } = await anAgent();
    expect((await call("/workspaces", { token })).status).toBe(401);
    expect((await aDeployment().call("/workspaces")).status).toBe(401);
    expect((await aDeployment().call("/workspaces", { token: ADMIN_TOKEN })).status).toBe(200);
  });
});

describe("the public view of a workspace", () => {
  it("is open to all and has the list's keys without money, task, error and path, plus last_outbound_at", async () => {
    const [agent, peer] = await Promise.all([anAgent(), anAgent()]);
    const closed = aDeployment();
    const { status, body } = await closed.call(`/workspaces/${agent.id}`);
    expect(status).toBe(200);
    expect(Object.keys(body).sort()).toEqual(
      [...LIST_KEYS.filter((key) => !NOT_PUBLIC.includes(key)), "last_outbound_at"].sort(),
    );
    expect(body.last_outbound_at).toBeNull();
    await call(`/workspaces/${peer.id}/a2a`, { token: agent.token, json: aMessage("hi") });
    expect((await closed.call(`/workspaces/${agent.id}`, { token: "wrong" })).status).toBe(200);
  });

  it("of a removed one is 410 with time and hint, and 200 only by include_removed=true", async () => {
    const { id } = await aRemovedAgent();
    const gone = await call(`/workspaces/${id}`);
    expect(gone).toMatchObject({
      status: 410,
      body: { error: "workspace removed", id, hint: "Regenerate workspace + token from the canvas → Tokens tab" },
    });
    expect(Math.abs(Date.parse(gone.body.removed_at) - Date.now())).toBeLessThan(60_000);
    expect(await call(`/workspaces/${id}?include_removed=true`)).toMatchObject({
      status: 200,
      body: { status: "removed" },
    });
    for (const other of ["1", "TRUE", ""]) {
      expect((await call(`/workspaces/${id}?include_removed=${other}`)).status).toBe(410);
    }
  });
});

describe("removing a workspace", () => {
  it("with children wants a confirmation, and then takes the whole subtree", async () => {
    const { parent, child, sibling, grandchild, stranger } = await aFamily();
    const path = `/workspaces/${parent.id}`;
    const asked = await call(path, { method: "DELETE" });
    expect(asked).toMatchObject({
      status: 409,
      body: {
        status: "confirmation_required",
        message: "This workspace has sub-workspaces. Delete with ?confirm=true to cascade delete.",
        children_count: 2,
      },
    });
    expect(asked.body.children).toContainEqual({ id: child.id, name: child.name });
    expect((await poll(grandchild)).status).toBe(200);
    expect((await call(`${path}?confirm=true`, { method: "DELETE" })).body).toEqual({
      status: "removed",
      cascade_deleted: 3,
    });
    for (const agent of [parent, child, sibling, grandchild]) {
      expect((await poll(agent)).status).toBe(401);
      expect((await call(`/workspaces/${agent.id}`)).status).toBe(410);
    }
    expect((await poll(stranger)).status).toBe(200);
  });

  it("a second time, or an unknown one, changes nothing and is 200", async () => {
    const { id } = await aRemovedAgent();
    for (const target of [id, crypto.randomUUID()]) {
      expect((await call(`/workspaces/${target}`, { method: "DELETE" })).body).toEqual({
        status: "removed",
        cascade_deleted: 0,
      });
    }
  });

  it("is for operators", async () => {
    const agent = await anAgent();
    const closed = aDeployment();
    for (const options of [{}, { token: agent.token }, { token: "wrong" }]) {
      expect((await closed.call(`/workspaces/${agent.id}`, { ...options, method: "DELETE" })).status).toBe(401);
    }
    expect((await poll(agent)).status).toBe(200);
  });
});
