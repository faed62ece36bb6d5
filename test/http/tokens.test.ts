import { env, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CREDENTIAL_ENDED } from "../../src/durable-objects/event-hub/audience.ts";
import { listeningTo } from "../event-hub/listening.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aRemovedAgent } from "../support/client-tree.ts";
import { query } from "../support/ledger.ts";
import { type Agent, anAgent, call, poll, send } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const HOUR = 60 * 60_000;

afterEach(() => {
  vi.useRealTimers();
});

function mintFor({ id, token }: Agent) {
  return call(`/workspaces/${id}/tokens`, { token, method: "POST" });
}

function list({ id, token }: Agent, search = "") {
  return call(`/workspaces/${id}/tokens${search}`, { token });
}

function revoke({ id, token }: Agent, tokenId: string) {
  return call(`/workspaces/${id}/tokens/${tokenId}`, { token, method: "DELETE" });
}

describe("minting a token", () => {
  it("shows it once with the contract's words, and leaves the others alive", async () => {
    const agent = await anAgent();
    const minted = await mintFor(agent);
    expect(minted.status).toBe(201);
    expect(minted.body).toEqual({
      auth_token: expect.stringMatching(/^mol_/),
      workspace_id: agent.id,
      message: "Save this token now — it cannot be retrieved again.",
    });
    const second = { id: agent.id, token: minted.body.auth_token };
    expect((await poll(second)).status).toBe(200);
    expect((await poll(agent)).status).toBe(200);
    const { text } = await list(agent);
    expect(text).not.toContain(minted.body.auth_token);
  });

  it("takes the body of the canvas: a content type and nothing else", async () => {
    const { id } = await anAgent();
    const headers = { "Content-Type": "application/json" };
    expect((await call(`/workspaces/${id}/tokens`, { method: "POST", headers })).status).toBe(201);
  });

  it("stops at 50 live ones with 429, and goes on once one is revoked", async () => {
    const agent = await anAgent();
    for (let live = 1; live < 50; live++) expect((await mintFor(agent)).status).toBe(201);
    expect(await mintFor(agent)).toMatchObject({
      status: 429,
      body: { error: "maximum 50 active tokens per workspace" },
    });
    const [{ id: tokenId }] = (await list(agent)).body.tokens;
    await revoke(agent, tokenId);
    expect((await mintFor(agent)).status).toBe(201);
  });

  it("is 410 for a removed workspace, 404 for an unknown one, 503 without a key", async () => {
    const removed = await aRemovedAgent();
    expect(await call(`/workspaces/${removed.id}/tokens`, { method: "POST" })).toMatchObject({
      status: 410,
      body: { error: "workspace removed" },
    });
    expect((await mintFor(removed)).status).toBe(401);
    expect((await call(`/workspaces/${crypto.randomUUID()}/tokens`, { method: "POST" })).status).toBe(404);
    const keyless = aDeployment({ TOKEN_KEY: "" });
    const { id } = await anAgent();
    const answer = await keyless.call(`/workspaces/${id}/tokens`, { method: "POST", token: ADMIN_TOKEN });
    expect(answer).toMatchObject({ status: 503, body: { code: "token.key_missing" } });
  });
});

describe("the list of tokens", () => {
  it("shows live ones newest first, with prefix and times, and counts what it shows", async () => {
    const agent = await anAgent();
    const minted = await mintFor(agent);
    const { body } = await list(agent);
    expect(body.count).toBe(2);
    expect(body.tokens).toHaveLength(2);
    const [newest, first] = body.tokens;
    expect(Object.keys(newest)).toEqual(["id", "prefix", "created_at", "last_used_at"]);
    expect(newest.prefix).toBe(minted.body.auth_token.slice(4 + 22, 4 + 22 + 8));
    expect(newest.last_used_at).toBeNull();
    expect(first.last_used_at).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
    expect(newest.created_at >= first.created_at).toBe(true);
  });

  it("pages by limit and offset and ignores what is neither", async () => {
    const agent = await anAgent();
    for (let more = 0; more < 3; more++) await mintFor(agent);
    const ids = (await list(agent)).body.tokens.map((token: { id: string }) => token.id);
    const page = async (search: string) =>
      (await list(agent, search)).body.tokens.map((token: { id: string }) => token.id);
    expect(await page("?limit=2")).toEqual(ids.slice(0, 2));
    expect(await page("?limit=2&offset=3")).toEqual(ids.slice(3));
    for (const odd of ["?limit=0", "?limit=201", "?limit=x", "?offset=-1", "?offset=x"])
      expect(await page(odd)).toEqual(ids);
    expect(await page("?offset=99")).toEqual([]);
  });

  it("notes a token's use at first and then hourly", async () => {
    const agent = await anAgent();
    const usedAt = async () => (await list(agent)).body.tokens[0].last_used_at;
    const first = await usedAt();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + HOUR / 2 });
    expect(await usedAt()).toBe(first);
    vi.setSystemTime(Date.now() + HOUR);
    expect((await usedAt()) > first).toBe(true);
  });
});

describe("revoking a token", () => {
  it("ends it at once; a second time it is 404", async () => {
    const agent = await anAgent();
    const second = { id: agent.id, token: (await mintFor(agent)).body.auth_token };
    const [{ id: tokenId }] = (await list(agent)).body.tokens;
    expect(await revoke(agent, tokenId)).toMatchObject({ status: 200, body: { status: "revoked" } });
    expect(await poll(second)).toMatchObject({ status: 401, body: { error: "invalid workspace auth token" } });
    expect(await revoke(agent, tokenId)).toMatchObject({
      status: 404,
      body: { error: "token not found or already revoked" },
    });
    expect((await list(agent)).body.count).toBe(1);
  });

  it("takes the id of another workspace's token, or none at all, for unknown", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const [{ id: foreign }] = (await list(other)).body.tokens;
    for (const tokenId of [foreign, crypto.randomUUID(), "not-a-uuid", "%00"]) {
      expect((await revoke(agent, tokenId)).status, tokenId).toBe(404);
    }
    expect((await poll(other)).status).toBe(200);
  });

  it("may take the last one, with which the agent revokes itself", async () => {
    const agent = await anAgent();
    const [{ id: tokenId }] = (await list(agent)).body.tokens;
    expect((await revoke(agent, tokenId)).status).toBe(200);
    expect((await poll(agent)).status).toBe(401);
    expect((await call(`/workspaces/${agent.id}/tokens`)).body).toEqual({ tokens: [], count: 0 });
  });

  it("reaches the ledger, which holds no digest", async () => {
    const agent = await anAgent();
    await mintFor(agent);
    const [{ id: tokenId, prefix }] = (await list(agent)).body.tokens;
    await revoke(agent, tokenId);
    await quiet(agent.id);
    const rows = await query("SELECT * FROM workspace_tokens WHERE workspace_id = $1 ORDER BY version", [agent.id]);
    expect(rows).toHaveLength(2);
    expect(rows[1]).toMatchObject({ id: tokenId, prefix });
    expect(rows[1]?.revoked_at).not.toBeNull();
    expect(Object.keys(rows[1] ?? {})).not.toContain("digest");
  });
});

describe("a change of tokens", () => {
  it("is told to listeners and recorded, by id and prefix, never with the token", async () => {
    const agent = await anAgent();
    const socket = await listeningTo(await send("/ws", { headers: { Upgrade: "websocket" } }));
    const minted = await mintFor(agent);
    const [{ id: tokenId, prefix }] = (await list(agent)).body.tokens;
    await revoke(agent, tokenId);
    const payload = { token_id: tokenId, prefix };
    const frames = await socket.framesOf(agent.id, 2);
    expect(frames).toMatchObject([
      { event: "WORKSPACE_TOKEN_CREATED", payload },
      { event: "WORKSPACE_TOKEN_REVOKED", payload },
    ]);
    expect(JSON.stringify(frames)).not.toContain(minted.body.auth_token);
    await quiet(agent.id);
    const rows = await query(
      "SELECT event_type, payload FROM structure_events WHERE workspace_id = $1 AND event_type LIKE 'WORKSPACE_TOKEN%' ORDER BY version",
      [agent.id],
    );
    expect(rows.map(({ event_type: event }) => event)).toEqual(["WORKSPACE_TOKEN_CREATED", "WORKSPACE_TOKEN_REVOKED"]);
    expect(JSON.stringify(rows)).not.toContain(minted.body.auth_token);
  });

  it("that is refused is no event", async () => {
    const agent = await anAgent();
    await revoke(agent, crypto.randomUUID());
    const events = await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage }) =>
      storage.sql.exec("SELECT event_type FROM events WHERE event_type LIKE 'WORKSPACE_TOKEN%'").toArray(),
    );
    expect(events).toEqual([]);
  });

  it("ends an agent's event socket at once", async () => {
    const agent = await anAgent();
    const headers = { Upgrade: "websocket" };
    const socket = await listeningTo(await send("/ws", { token: agent.token, headers }));
    const [{ id: tokenId }] = (await list(agent)).body.tokens;
    await revoke(agent, tokenId);
    expect(await socket.closed()).toBe(CREDENTIAL_ENDED);
  });
});

describe("the tokens of another workspace", () => {
  it("are 401 to list, mint or revoke", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const asOther = { id: agent.id, token: other.token };
    for (const answer of [await list(asOther), await mintFor(asOther), await revoke(asOther, crypto.randomUUID())]) {
      expect(answer).toMatchObject({ status: 401, body: { error: "invalid workspace auth token" } });
    }
  });
});

describe("what an object keeps of a token", () => {
  it("is a digest, never the token", async () => {
    const agent = await anAgent();
    const stored = await runInDurableObject(env.WORKSPACE.get(env.WORKSPACE.idFromName(agent.id)), (_instance, state) =>
      JSON.stringify(state.storage.sql.exec("SELECT * FROM tokens").toArray()),
    );
    expect(stored).not.toContain(agent.token);
    expect(stored).toMatch(/"digest":"[0-9a-f]{64}"/);
  });
});

describe("a test token", () => {
  const path = (id: string) => `/admin/workspaces/${id}/test-token`;

  it("is a further token, for whoever asks in open dev mode", async () => {
    const agent = await anAgent();
    const { status, body } = await call(path(agent.id));
    expect(status).toBe(200);
    expect(Object.keys(body)).toEqual(["auth_token", "workspace_id"]);
    expect((await poll({ id: agent.id, token: body.auth_token })).status).toBe(200);
    expect((await poll(agent)).status).toBe(200);
  });

  it("needs the operator's bearer where there is one, spelled as a bearer", async () => {
    const { id, token } = await anAgent();
    const closed = aDeployment();
    for (const bearer of [undefined, "wrong", token]) {
      const answer = await closed.call(path(id), bearer === undefined ? {} : { token: bearer });
      expect(answer).toMatchObject({ status: 401, body: { error: "admin auth required" } });
    }
    expect((await closed.call(path(id), { headers: { Authorization: ADMIN_TOKEN } })).status).toBe(401);
    expect((await closed.call(path(id), { token: ADMIN_TOKEN })).status).toBe(200);
    const rotating = aDeployment({ ADMIN_TOKEN: "the next one", ADMIN_TOKEN_PREVIOUS: ADMIN_TOKEN });
    expect((await rotating.call(path(id), { token: ADMIN_TOKEN })).status).toBe(200);
  });

  it("is refused with a wrong bearer even in open dev mode", async () => {
    const { id } = await anAgent();
    expect((await call(path(id), { token: "wrong" })).status).toBe(401);
  });

  it("does not exist in production, unless it was switched on", async () => {
    const { id } = await anAgent();
    for (const MOLECULE_ENV of ["production", "prod", " Production "]) {
      const answer = await aDeployment({ MOLECULE_ENV }).call(path(id), { token: ADMIN_TOKEN });
      expect(answer).toMatchObject({ status: 404, body: { error: "not found" } });
    }
    const on = aDeployment({ MOLECULE_ENV: "production", MOLECULE_ENABLE_TEST_TOKENS: "1" });
    expect((await on.call(path(id), { token: ADMIN_TOKEN })).status).toBe(200);
    expect((await on.call(path(id))).status).toBe(401);
  });

  it("is 404 for an unknown workspace and 410 for a removed one", async () => {
    const removed = await aRemovedAgent();
    expect(await call(path(crypto.randomUUID()))).toMatchObject({
      status: 404,
      body: { error: "workspace not found" },
    });
    expect((await call(path(removed.id))).status).toBe(410);
  });
});
