import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { type Agent, anAgent, BASE, call, poll, send, tell } from "../support/platform.ts";

const TOKEN_SHAPE = /^mol_[0-9A-Za-z]{71}$/;

const rotate = (id: string, token?: string) =>
  call(`/workspaces/${id}/external/rotate`, { json: {}, ...(token === undefined ? {} : { token }) });
const reshow = (id: string, token?: string) =>
  call(`/workspaces/${id}/external/connection`, token === undefined ? {} : { token });

/** An external workspace as the canvas creates it, with the connection that the dialog shows. */
async function aConnection(): Promise<{ agent: Agent; connection: Record<string, string> }> {
  const { status, body, text } = await call("/workspaces", { json: { name: "outside", runtime: "external" } });
  expect(status, text).toBe(201);
  return { agent: { id: body.id, token: body.connection.auth_token }, connection: body.connection };
}

/** A workspace whose machine the platform would run. */
async function aPlatformRun(runtime: string): Promise<string> {
  const id = crypto.randomUUID();
  await env.DIRECTORY.getByName("default").create({
    id,
    name: id,
    role: null,
    tier: 1,
    runtime,
    parentId: null,
    workspaceDir: null,
    x: 0,
    y: 0,
    maxConcurrentTasks: 1,
    budgetLimit: null,
    deliveryMode: null,
    url: null,
    agentCard: null,
    status: "provisioning",
    token: null,
    events: [],
    inboundSecret: "inbound",
    suffixTakenName: false,
  });
  return id;
}

/** Marks a workspace removed, as a deletion does. After a refusal the object reads its row anew. */
async function remove(id: string): Promise<void> {
  await runInDurableObject(env.WORKSPACE.getByName(id), (_object, { storage }) => {
    storage.sql.exec("UPDATE workspace SET removed_at = ?", Date.now());
  });
  expect((await call(`/workspaces/${id}/tokens/none`, { method: "DELETE" })).status).toBe(404);
}

function recordedEvents(id: string): Promise<{ event_type: string; payload: string }[]> {
  return runInDurableObject(env.WORKSPACE.getByName(id), (_object, { storage }) =>
    storage.sql.exec<{ event_type: string; payload: string }>("SELECT event_type, payload FROM events").toArray(),
  );
}

describe("rotating an external workspace's credentials", () => {
  it("answers with a new token once, in the same payload as the creation", async () => {
    const { agent, connection } = await aConnection();
    const { status, body } = await rotate(agent.id);
    expect(status).toBe(200);
    expect(body).toEqual({ connection: { ...connection, auth_token: expect.stringMatching(TOKEN_SHAPE) } });
    expect(body.connection.auth_token).not.toBe(agent.token);
  });

  it("ends every old token and lets the new one in", async () => {
    const { agent } = await aConnection();
    const { body: second } = await call(`/workspaces/${agent.id}/tokens`, { method: "POST", token: agent.token });
    const { body } = await rotate(agent.id, agent.token);
    expect((await poll(agent)).status).toBe(401);
    expect((await poll({ id: agent.id, token: second.auth_token })).status).toBe(401);
    const renewed = { id: agent.id, token: body.connection.auth_token };
    expect((await poll(renewed)).status).toBe(200);
    const { body: list } = await call(`/workspaces/${agent.id}/tokens`);
    expect(list.count).toBe(1);
  });

  it("closes the sockets that old tokens opened, at once", async () => {
    const agent = await anAgent();
    const headers = { Upgrade: "websocket" };
    const { webSocket } = await send(`/workspaces/${agent.id}/inbox/socket`, { token: agent.token, headers });
    if (!webSocket) throw new Error("no socket");
    const closed = new Promise<number>((resolve) => webSocket.addEventListener("close", ({ code }) => resolve(code)));
    webSocket.accept();
    await rotate(agent.id);
    expect(await closed).toBe(4401);
  });

  it("ends the polls that old tokens hold, long before their time", async () => {
    const agent = await anAgent();
    const startedAt = Date.now();
    const held = poll(agent, { wait: "25" });
    await vi.waitUntil(() =>
      runInDurableObject(env.WORKSPACE.getByName(agent.id), (_object, state) => state.getWebSockets().length === 1),
    );
    await rotate(agent.id);
    await held;
    expect(Date.now() - startedAt).toBeLessThan(10_000);
    expect((await poll(agent)).status).toBe(401);
  });

  it("works for a workspace that registered by itself, and keeps its mail", async () => {
    const agent = await anAgent();
    await tell(agent, "before the rotation");
    const { status, body } = await rotate(agent.id, agent.token);
    expect(status).toBe(200);
    const { body: rows } = await poll({ id: agent.id, token: body.connection.auth_token });
    expect(rows).toHaveLength(1);
  });

  it("records EXTERNAL_CREDENTIALS_ROTATED with the workspace's id", async () => {
    const agent = await anAgent();
    await rotate(agent.id);
    expect(await recordedEvents(agent.id)).toContainEqual({
      event_type: "EXTERNAL_CREDENTIALS_ROTATED",
      payload: JSON.stringify({ workspace_id: agent.id }),
    });
  });

  it("leaves one live token when many rotate at the same moment", async () => {
    const { agent } = await aConnection();
    const answers = await Promise.all(Array.from({ length: 5 }, () => rotate(agent.id)));
    const tokens = answers.map(({ body }) => body.connection.auth_token as string);
    expect(new Set(tokens).size).toBe(5);
    const statuses = await Promise.all(tokens.map(async (token) => (await poll({ id: agent.id, token })).status));
    expect(statuses.filter((status) => status === 200)).toHaveLength(1);
  });

  it("is created without a token when the platform cannot mint, and the log names the route that makes up for it", async () => {
    const error = vi.spyOn(console, "error").mockImplementation(() => undefined);
    onTestFinished(() => error.mockRestore());
    const body = JSON.stringify({ name: crypto.randomUUID(), runtime: "external" });
    const response = await app.request(`${BASE}/workspaces`, { method: "POST", body }, { ...env, TOKEN_KEY: "" });
    expect(response.status).toBe(201);
    const { id, connection } = await response.json<{ id: string; connection: { auth_token: string } }>();
    expect(connection.auth_token).toBe("");
    const retry_with = `POST /workspaces/${id}/external/rotate`;
    expect(JSON.parse(String(error.mock.calls[0]?.[0]))).toMatchObject({ event: "external.mint_failed", retry_with });
    const rotated = await call(`/workspaces/${id}/external/rotate`, { method: "POST" });
    expect((await poll({ id, token: rotated.body.connection.auth_token })).status).toBe(200);
  });

  it("changes nothing when the platform cannot mint, and the log names the route to repeat", async () => {
    const agent = await anAgent();
    const error = vi.spyOn(console, "error").mockImplementation(() => undefined);
    onTestFinished(() => error.mockRestore());
    const path = `/workspaces/${agent.id}/external/rotate`;
    const response = await app.request(BASE + path, { method: "POST" }, { ...env, TOKEN_KEY: "" });
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: "mint failed", code: "external.mint_failed" });
    const line = JSON.parse(String(error.mock.calls[0]?.[0]));
    expect(line).toMatchObject({ event: "external.mint_failed", retry_with: `POST ${path}` });
    expect((await poll(agent)).status).toBe(200);
  });
});

describe("showing an external workspace's connection again", () => {
  it("gives the creation's payload without the token", async () => {
    const { agent, connection } = await aConnection();
    const { status, body } = await reshow(agent.id, agent.token);
    expect(status).toBe(200);
    expect(body).toEqual({ connection: { ...connection, auth_token: "" } });
  });

  it("has no side effect: the tokens and the history stay as they were", async () => {
    const agent = await anAgent();
    const look = async () => [
      (await call(`/workspaces/${agent.id}/tokens`)).body.tokens.map(({ id }: { id: string }) => id),
      await recordedEvents(agent.id),
    ];
    const before = await look();
    await reshow(agent.id);
    await reshow(agent.id, agent.token);
    expect(await look()).toEqual(before);
    expect((await poll(agent)).status).toBe(200);
  });
});

describe.each([
  ["rotate", rotate, "rotate is only valid for runtime=external workspaces"],
  ["connection", reshow, "connection payload is only valid for runtime=external workspaces"],
] as const)("external/%s", (verb, ask, refusal) => {
  const method = verb === "rotate" ? "POST" : "GET";

  it.each(["langgraph", ""])("refuses runtime %j and says what to use instead", async (runtime) => {
    expect(await ask(await aPlatformRun(runtime))).toMatchObject({
      status: 400,
      body: { error: refusal, runtime, hint: "use POST /workspaces/:id/restart for non-external runtimes" },
    });
  });

  it("answers 404 for a workspace that nobody created", async () => {
    expect(await ask(crypto.randomUUID())).toMatchObject({ status: 404, body: { error: "workspace not found" } });
  });

  it("answers 410 for a removed workspace", async () => {
    const agent = await anAgent();
    await remove(agent.id);
    expect(await ask(agent.id)).toMatchObject({ status: 410, body: { error: "workspace removed", id: agent.id } });
  });

  it("answers 400 for an empty id and for one that is no id", async () => {
    expect(await ask("")).toMatchObject({ status: 400, body: { error: "id required" } });
    expect(await ask("nobody")).toMatchObject({ status: 400, body: { error: "invalid workspace ID" } });
  });

  it("refuses another workspace's token, a made-up one, and none where an operator has set one", async () => {
    const [agent, stranger] = [await anAgent(), await anAgent()];
    expect((await ask(agent.id, stranger.token)).status).toBe(401);
    expect((await ask(agent.id, "made-up")).status).toBe(401);
    const guarded = { ...env, ADMIN_TOKEN: "operator" };
    const request = (headers: Record<string, string>) =>
      app.request(`${BASE}/workspaces/${agent.id}/external/${verb}`, { method, headers }, guarded);
    expect((await request({})).status).toBe(401);
    expect((await poll(agent)).status).toBe(200);
    expect((await request({ Authorization: "Bearer operator" })).status).toBe(200);
  });
});
