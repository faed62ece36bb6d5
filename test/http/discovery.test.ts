import { beforeAll, describe, expect, it } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aFamily, aRemovedAgent, aWorkspace, remove } from "../support/client-tree.ts";
import { type Agent, aMessage, anAgent, BASE, call } from "../support/platform.ts";

let family: Awaited<ReturnType<typeof aFamily>>;

beforeAll(async () => {
  family = await aFamily();
});

function discover(from: Agent, target: string) {
  return call(`/registry/discover/${target}`, { token: from.token, headers: { "X-Workspace-ID": from.id } });
}

async function peersOf({ id, token }: Agent, query = ""): Promise<string[]> {
  const { status, body } = await call(`/registry/${id}/peers${query}`, { token });
  expect(status).toBe(200);
  return body.map((peer: { id: string }) => peer.id);
}

describe("discover", () => {
  it("gives the platform's own route as the URL of a workspace that polls", async () => {
    const { parent, child } = family;
    const found = await discover(parent, child.id);
    expect(found).toMatchObject({
      status: 200,
      body: { id: child.id, name: child.name, url: `${BASE}/workspaces/${child.id}/a2a` },
    });
    expect(Object.keys(found.body)).toEqual(["id", "url", "name"]);
    const sent = await call(found.body.url.slice(BASE.length), {
      token: parent.token,
      json: aMessage("by the found url"),
    });
    expect(sent.status).toBe(200);
  });

  it("gives the configured public address where there is one", async () => {
    const { parent, child } = family;
    const deployment = aDeployment({ EXTERNAL_PLATFORM_URL: "https://edge.example.com/" });
    const found = await deployment.call(`/registry/discover/${child.id}`, {
      token: parent.token,
      headers: { "X-Workspace-ID": parent.id },
    });
    expect(found.body.url).toBe(`https://edge.example.com/workspaces/${child.id}/a2a`);
  });

  it("never gives a URL that a polling agent planted", async () => {
    const agent = await anAgent({ url: "http://169.254.169.254/" });
    expect((await discover(agent, agent.id)).body.url).toBe(`${BASE}/workspaces/${agent.id}/a2a`);
  });

  it("gives the registered URL of one that is pushed to, and 503 with its status while it is not online", async () => {
    const url = "https://agent.example.com/a2a";
    const pushed = await anAgent({ url, delivery_mode: "push" });
    const polling = await anAgent();
    expect((await discover(polling, pushed.id)).body).toMatchObject({ id: pushed.id, url });
    const waiting = await aWorkspace({ delivery_mode: "push" });
    expect(await discover(polling, waiting.id)).toMatchObject({
      status: 503,
      body: { error: "workspace not available", status: "awaiting_agent" },
    });
  });

  it("reaches oneself, parent, sibling, child and grandchild, and any root from a root", async () => {
    const { parent, child, sibling, grandchild, stranger } = family;
    for (const [from, to] of [
      [child, child],
      [child, parent],
      [child, sibling],
      [parent, grandchild],
      [grandchild, parent],
      [parent, stranger],
    ] as const) {
      expect((await discover(from, to.id)).status, `${from.name} → ${to.name}`).toBe(200);
    }
  });

  it("refuses a forbidden, an unknown and a removed target with one and the same answer", async () => {
    const { child, stranger } = family;
    const removed = await aRemovedAgent();
    const answers = await Promise.all(
      [stranger.id, removed.id, crypto.randomUUID()].map((target) => discover(child, target)),
    );
    for (const { status, body } of answers) {
      expect(status).toBe(403);
      expect({ ...body, request_id: "" }).toEqual({ ...answers[0]?.body, request_id: "" });
      expect(body.error).toBe("not authorized to discover this workspace");
    }
  });

  it("needs the header, and the token of the workspace that it names", async () => {
    const { parent, child } = family;
    const path = `/registry/discover/${child.id}`;
    expect(await call(path, { token: parent.token })).toMatchObject({
      status: 400,
      body: { error: "X-Workspace-ID header is required" },
    });
    for (const token of ["wrong", child.token]) {
      expect(await call(path, { token, headers: { "X-Workspace-ID": parent.id } })).toMatchObject({
        status: 401,
        body: { error: "invalid workspace auth token" },
      });
    }
    const closed = await aDeployment().call(path, { headers: { "X-Workspace-ID": parent.id } });
    expect(closed).toMatchObject({ status: 401, body: { error: "missing workspace auth token" } });
  });

  it("works for a target whose budget is spent: looking is free", async () => {
    const broke = await aWorkspace({ budget_limit: 0 });
    const { parent } = family;
    expect((await discover(parent, broke.id)).status).toBe(200);
    const message = await call(`/workspaces/${broke.id}/a2a`, { token: parent.token, json: aMessage("hi") });
    expect(message).toMatchObject({ status: 402, body: { error: "workspace budget limit exceeded" } });
  });
});

describe("peers", () => {
  it("are siblings, then children, then the parent", async () => {
    const { parent, child, sibling, grandchild } = family;
    expect(await peersOf(child)).toEqual([sibling.id, grandchild.id, parent.id]);
    expect(await peersOf(grandchild)).toEqual([child.id]);
    const ofARoot = await peersOf(parent);
    expect(ofARoot.slice(-2).sort()).toEqual([child.id, sibling.id].sort());
    expect(ofARoot).toContain(family.stranger.id);
  });

  it("have exactly the keys of the contract, with a url that is never null", async () => {
    const { body } = await call(`/registry/${family.grandchild.id}/peers`, { token: family.grandchild.token });
    expect(Object.keys(body[0]).sort()).toEqual(
      ["active_tasks", "agent_card", "id", "name", "parent_id", "role", "status", "tier", "url"].sort(),
    );
    expect(body[0]).toMatchObject({ role: "Eldest", url: "", agent_card: null, active_tasks: 0 });
  });

  it("are filtered by name or role, whatever the case, also where a role is missing", async () => {
    const { child, sibling, parent, grandchild } = family;
    expect(await peersOf(sibling, "?q=%20ELDEST%20")).toEqual([child.id]);
    expect(await peersOf(child, `?q=${encodeURIComponent(parent.name.toUpperCase())}`)).toEqual([parent.id]);
    expect(await peersOf(grandchild, "?q=nobody")).toEqual([]);
    expect(await peersOf(grandchild, "?q=%20")).toEqual([child.id]);
  });

  it("never include removed workspaces; a removed one has none to see", async () => {
    const parent = await aWorkspace();
    const [kept, gone] = await Promise.all([aWorkspace({ parent }), aWorkspace({ parent })]);
    await remove(gone);
    expect(await peersOf(kept)).toEqual([parent.id]);
    expect((await call(`/registry/${gone.id}/peers`, { token: gone.token })).status).toBe(401);
    expect(await call(`/registry/${gone.id}/peers`)).toMatchObject({
      status: 410,
      body: { error: "workspace removed" },
    });
    expect(await call(`/registry/${crypto.randomUUID()}/peers`)).toMatchObject({
      status: 404,
      body: { error: "workspace not found" },
    });
  });
});

describe("check-access", () => {
  const ask = (caller: string, target: string, token?: string) =>
    call("/registry/check-access", {
      json: { caller_id: caller, target_id: target },
      ...(token === undefined ? {} : { token }),
    });

  it("follows the hierarchy; an unknown or removed id is never allowed", async () => {
    const { parent, child, sibling, grandchild, stranger } = family;
    const removed = await aRemovedAgent();
    const allowed = async (from: string, to: string) => (await ask(from, to)).body.allowed;
    expect(await allowed(child.id, child.id)).toBe(true);
    expect(await allowed(child.id, sibling.id)).toBe(true);
    expect(await allowed(grandchild.id, parent.id)).toBe(true);
    expect(await allowed(parent.id, grandchild.id)).toBe(true);
    expect(await allowed(parent.id, stranger.id)).toBe(true);
    expect(await allowed(child.id, stranger.id)).toBe(false);
    expect(await allowed(sibling.id, grandchild.id)).toBe(false);
    expect(await allowed(parent.id, removed.id)).toBe(false);
    expect(await allowed(crypto.randomUUID(), parent.id)).toBe(false);
    expect(await allowed("any", "any")).toBe(false);
  });

  it("needs a token, and tells a workspace only what concerns itself", async () => {
    const { parent, child, stranger } = family;
    expect((await ask(parent.id, child.id, "wrong")).status).toBe(401);
    expect((await ask(parent.id, child.id, child.token)).body).toEqual({ allowed: true });
    expect((await ask(parent.id, stranger.id, child.token)).body).toEqual({ allowed: false });
    const json = { caller_id: parent.id, target_id: child.id };
    const closed = aDeployment();
    expect((await closed.call("/registry/check-access", { json })).status).toBe(401);
    expect((await closed.call("/registry/check-access", { json, token: ADMIN_TOKEN })).body).toEqual({ allowed: true });
  });
});
