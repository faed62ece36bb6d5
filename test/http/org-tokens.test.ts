import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { mintToken } from "../../src/domain/credential.ts";
import { CREDENTIAL_ENDED } from "../../src/durable-objects/event-hub/audience.ts";
import { SOCKET_REVOKED } from "../../src/durable-objects/workspace/listen.ts";
import { VERIFIED_MS } from "../../src/http/organisation-tokens.ts";
import { REFUSED_MS } from "../../src/http/refused-tokens.ts";
import { SOCKET_COOKIE } from "../../src/http/socket-cookie.ts";
import { Listening, listeningTo } from "../event-hub/listening.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { costsOf } from "../support/counting.ts";
import { aMessage, anAgent, BASE, call, tell } from "../support/platform.ts";

const PAGE = "http://localhost:3000";
const UPGRADE = { Upgrade: "websocket" };
const closed = aDeployment();

interface OrganisationToken {
  readonly id: string;
  readonly token: string;
}

async function aToken(name?: string): Promise<OrganisationToken> {
  const json = name === undefined ? {} : { name };
  const { status, body, text } = await closed.call("/org/tokens", { token: ADMIN_TOKEN, json });
  if (status !== 200) throw new Error(`mint answered ${status}: ${text}`);
  return { id: body.id, token: body.auth_token };
}

function revoke({ id }: OrganisationToken, token = ADMIN_TOKEN) {
  return closed.call(`/org/tokens/${id}`, { method: "DELETE", token });
}

/** A revocation of which this isolate has not heard, as another one makes it. */
async function revokeElsewhere({ id }: OrganisationToken): Promise<void> {
  await env.DIRECTORY.getByName("default").revokeOrganisationToken({ id });
}

async function statusOf(token: string, path = "/workspaces"): Promise<number> {
  return (await closed.call(path, { token })).status;
}

function passTime(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
  onTestFinished(() => void vi.useRealTimers());
}

describe("a token of the organisation", () => {
  it("is minted with the contract's words, shown once, and listed with who made it", async () => {
    const minted = await closed.call("/org/tokens", { token: ADMIN_TOKEN, json: { name: "ci" } });
    expect(minted.status).toBe(200);
    const { id, prefix, auth_token: token } = minted.body;
    expect(minted.body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      prefix: token.slice(5 + 22, 5 + 22 + 8),
      name: "ci",
      auth_token: expect.stringMatching(/^molo_[0-9A-Za-z]{71}$/),
      warning: expect.any(String),
    });
    const nameless = await closed.call("/org/tokens", { token, json: {} });
    expect(Object.keys(nameless.body)).toEqual(["id", "prefix", "auth_token", "warning"]);
    const { body, text } = await closed.call("/org/tokens", { token: ADMIN_TOKEN });
    expect(body.count).toBe(body.tokens.length);
    expect(body.tokens[0]).toMatchObject({ id: nameless.body.id, created_by: `organisation:${id}` });
    expect(body.tokens[1]).toEqual({
      id,
      prefix,
      name: "ci",
      created_by: "admin",
      created_at: expect.stringMatching(/Z$/),
      last_used_at: expect.stringMatching(/Z$/),
    });
    expect(Object.keys(body.tokens[0])).toEqual(["id", "prefix", "created_by", "created_at"]);
    expect(text).not.toContain(token);
  });

  it("is kept and logged as anything but itself", async () => {
    const lines: string[] = [];
    const spy = vi.spyOn(console, "log").mockImplementation((line) => void lines.push(String(line)));
    onTestFinished(() => spy.mockRestore());
    const { id, token } = await aToken();
    await statusOf(token);
    const rows = await runInDurableObject(env.DIRECTORY.getByName("default"), (_instance, { storage }) =>
      JSON.stringify(storage.sql.exec("SELECT * FROM organisation_tokens WHERE id = ?", id).toArray()),
    );
    expect(rows).toMatch(/"digest":"[0-9a-f]{64}"/);
    expect(rows).not.toContain(token);
    expect(lines.join()).toContain("organisation_token.minted");
    expect(lines.join()).not.toContain(token);
  });

  it("has a name of at most 100 bytes, and wants an object as body", async () => {
    const create = (json: unknown) => closed.call("/org/tokens", { token: ADMIN_TOKEN, json });
    expect(await create({ name: "x".repeat(101) })).toMatchObject({
      status: 400,
      body: { error: "name must be at most 100 bytes", field: "name" },
    });
    for (const json of [{ name: 1 }, [], "text"]) expect((await create(json)).status).toBe(400);
  });

  it("is one of at most 500", async () => {
    const ORG = { MOLECULE_ORG_ID: crypto.randomUUID() };
    const own = aDeployment(ORG);
    await own.call("/org/tokens", { token: ADMIN_TOKEN, json: {} });
    await runInDurableObject(env.DIRECTORY.getByName(ORG.MOLECULE_ORG_ID), (_instance, { storage }) => {
      for (let index = 1; index < 500; index++) {
        const insert = "INSERT INTO organisation_tokens (id, digest, prefix, name, created_by, created_at)";
        storage.sql.exec(`${insert} VALUES (?, '', '', '', '', 0)`, `token-${index}`);
      }
    });
    expect(await own.call("/org/tokens", { token: ADMIN_TOKEN, json: {} })).toMatchObject({
      status: 429,
      body: { error: "maximum 500 active organisation tokens", code: "org_token.too_many" },
    });
    expect((await own.call("/org/tokens", { token: ADMIN_TOKEN })).body.count).toBe(500);
  });
});

describe("what it opens", () => {
  it("is every workspace and the routes of operators", async () => {
    const { token } = await aToken();
    const { id } = await anAgent();
    for (const path of [
      "/workspaces",
      "/org/tokens",
      "/settings/secrets",
      `/workspaces/${id}/activity`,
      `/workspaces/${id}/tokens`,
      `/workspaces/${id}/secrets`,
      `/workspaces/${id}/state`,
      `/registry/${id}/peers`,
    ]) {
      expect(await statusOf(token, path), path).toBe(200);
    }
    expect(await statusOf(token, `/workspaces/${crypto.randomUUID()}/tokens`)).toBe(200);
    expect(await statusOf(token, `/workspaces/${crypto.randomUUID()}`)).toBe(404);
    const created = await closed.call("/workspaces", { token, json: { name: crypto.randomUUID(), external: true } });
    expect(created.status).toBe(201);
    const json = { id: crypto.randomUUID(), agent_card: {}, delivery_mode: "poll" };
    expect((await closed.call("/registry/register", { token, json })).status).toBe(200);
  });

  it("is not what only an agent may do, nor what takes the operator's own bearer", async () => {
    const { token } = await aToken();
    const { id } = await anAgent();
    for (const [path, json] of [
      ["/registry/register", { id, agent_card: {}, delivery_mode: "poll" }],
      ["/registry/heartbeat", { workspace_id: id }],
      ["/registry/update-card", { workspace_id: id, agent_card: {} }],
      [`/admin/workspaces/${id}/test-token`, undefined],
    ] as const) {
      expect((await closed.call(path, { token, json })).status, path).toBe(401);
    }
  });

  it("sends messages as a person, and never in the name of a workspace", async () => {
    const { token } = await aToken();
    const agent = await anAgent();
    const json = aMessage("hello");
    expect((await closed.call(`/workspaces/${agent.id}/a2a`, { token, json })).body).toMatchObject({
      status: "queued",
    });
    const [row] = (await closed.call(`/workspaces/${agent.id}/activity`, { token })).body;
    expect(row.source_id).toBeNull();
    const headers = { "X-Workspace-ID": agent.id };
    expect(await closed.call(`/workspaces/${agent.id}/a2a`, { token, json: aMessage("x"), headers })).toMatchObject({
      status: 401,
      body: { error: "invalid caller auth token" },
    });
  });

  it("passes TenantGuard by its form, and is still 401 there once it is revoked", async () => {
    const MOLECULE_ORG_ID = crypto.randomUUID();
    const guarded = aDeployment({ MOLECULE_ORG_ID });
    const { body } = await guarded.call("/org/tokens", { token: ADMIN_TOKEN, json: {} });
    const token = body.auth_token;
    expect((await guarded.call("/workspaces", { token })).status).toBe(200);
    expect(await statusOf(token)).toBe(401);
    passTime(REFUSED_MS);
    await guarded.call(`/org/tokens/${body.id}`, { method: "DELETE", token: ADMIN_TOKEN });
    expect(await guarded.call("/workspaces", { token })).toMatchObject({
      status: 401,
      body: { error: "invalid admin auth token" },
    });
    expect(await guarded.call("/workspaces", { token: `${token.slice(0, -1)}!` })).toMatchObject({
      status: 404,
      text: "",
    });
  });
});

describe("a revoked token", () => {
  it("is refused at once where it was revoked, and is unknown from then on", async () => {
    const token = await aToken();
    expect(await statusOf(token.token)).toBe(200);
    expect(await revoke(token)).toMatchObject({ status: 200, body: { revoked: token.id } });
    expect(await closed.call("/workspaces", { token: token.token })).toMatchObject({
      status: 401,
      body: { error: "invalid admin auth token" },
    });
    const { id } = await anAgent();
    expect(await closed.call(`/workspaces/${id}/activity`, { token: token.token })).toMatchObject({
      status: 401,
      body: { error: "invalid workspace auth token" },
    });
    for (const unknown of [token, { ...token, id: crypto.randomUUID() }, { ...token, id: "not-a-uuid" }]) {
      expect(await revoke(unknown)).toMatchObject({
        status: 404,
        body: { error: "token not found or already revoked", code: "org_token.not_found" },
      });
    }
    const { body } = await closed.call("/org/tokens", { token: ADMIN_TOKEN });
    expect(body.tokens.map((listed: { id: string }) => listed.id)).not.toContain(token.id);
  });

  it("stops within 30 s in every other isolate", async () => {
    const token = await aToken();
    expect(await statusOf(token.token)).toBe(200);
    await revokeElsewhere(token);
    expect(await statusOf(token.token)).toBe(200);
    passTime(VERIFIED_MS);
    expect(await statusOf(token.token)).toBe(401);
  });

  it("may revoke itself", async () => {
    const token = await aToken();
    expect((await revoke(token, token.token)).status).toBe(200);
    expect(await statusOf(token.token)).toBe(401);
  });

  it("ends the event sockets that were opened with it, or with its cookie", async () => {
    const token = await aToken();
    const bearer = { Authorization: `Bearer ${token.token}` };
    const page = await closed.send("/workspaces", { headers: { ...bearer, Origin: PAGE } });
    const cookie = page.headers.get("Set-Cookie")?.split(";")[0] ?? "";
    expect(cookie).toContain(SOCKET_COOKIE);
    const sockets = [
      await listeningTo(await closed.send("/ws", { headers: { ...UPGRADE, ...bearer } })),
      await listeningTo(await closed.send("/ws", { headers: { ...UPGRADE, Origin: PAGE, Cookie: cookie } })),
    ];
    const spared = await listeningTo(
      await closed.send("/ws", { headers: { ...UPGRADE }, token: (await aToken()).token }),
    );
    await revoke(token);
    await runDurableObjectAlarm(env.EVENT_HUB.getByName("default"));
    for (const socket of sockets) expect(await socket.closed()).toBe(CREDENTIAL_ENDED);
    const agent = await anAgent();
    expect(await spared.framesOf(agent.id, 1)).toMatchObject([{ event: "WORKSPACE_ONLINE" }]);
    const again = await closed.send("/ws", { headers: { ...UPGRADE, Origin: PAGE, Cookie: cookie } });
    expect(again.status).toBe(401);
  });

  it("ends an inbox socket before the next row, and its acknowledgements", async () => {
    const token = await aToken();
    const agent = await anAgent();
    const open = async () => {
      const response = await closed.send(`/workspaces/${agent.id}/inbox/socket`, {
        token: token.token,
        headers: UPGRADE,
      });
      if (!response.webSocket) throw new Error(`no socket: ${response.status}`);
      return new Listening(response.webSocket);
    };
    const [reader, acknowledger] = [await open(), await open()];
    await tell(agent, "one");
    const row = await reader.frame();
    expect(row.request_body.params.message.parts[0].text).toBe("one");
    await acknowledger.frame();
    await revokeElsewhere(token);
    acknowledger.send(JSON.stringify({ ack: row.id }));
    expect(await acknowledger.closed()).toBe(SOCKET_REVOKED);
    await tell(agent, "two");
    expect(await reader.closed()).toBe(SOCKET_REVOKED);
  });
});

describe("the Directory", () => {
  it("is not asked about a token without the right form and checksum", async () => {
    const { token } = await aToken();
    const foreign = mintToken("molo_", crypto.randomUUID(), crypto.getRandomValues(new Uint8Array(32)), "another key");
    const last = token.endsWith("0") ? "1" : "0";
    for (const wrong of ["molo_", `${token}x`, token.slice(0, -1), `${token.slice(0, -1)}${last}`, foreign]) {
      const costs = await costsOf(async () => {
        expect(await statusOf(wrong)).toBe(401);
      });
      expect(costs.objectRequests, wrong).toEqual([]);
    }
  });

  it("is asked once in 30 s about a live one, and once in 3 s about one that it does not know", async () => {
    const { token } = await aToken();
    const { id } = await anAgent();
    const poll = () => statusOf(token, `/workspaces/${id}/activity`);
    expect((await costsOf(poll)).objectRequests).toEqual(["verifyOrganisationToken", "listActivity"]);
    expect((await costsOf(poll)).objectRequests).toEqual(["listActivity"]);
    passTime(VERIFIED_MS);
    expect((await costsOf(poll)).objectRequests).toEqual(["verifyOrganisationToken", "listActivity"]);

    const key = String(env.TOKEN_KEY);
    const unknown = mintToken("molo_", crypto.randomUUID(), crypto.getRandomValues(new Uint8Array(32)), key);
    expect((await costsOf(() => statusOf(unknown))).objectRequests).toEqual(["verifyOrganisationToken"]);
    expect((await costsOf(() => statusOf(unknown))).objectRequests).toEqual([]);
    passTime(REFUSED_MS);
    expect((await costsOf(() => statusOf(unknown))).objectRequests).toEqual(["verifyOrganisationToken"]);
  });

  it("knows a token by its digest, not by the id alone", async () => {
    const { id } = await aToken();
    const forged = mintToken("molo_", id, crypto.getRandomValues(new Uint8Array(32)), String(env.TOKEN_KEY));
    expect(await statusOf(forged)).toBe(401);
  });

  it("has its trouble shown as 503, never as a refused token", async () => {
    const { token } = await aToken();
    const overloaded = Object.assign(new Error("overloaded"), { overloaded: true });
    const DIRECTORY = { getByName: () => ({ verifyOrganisationToken: () => Promise.reject(overloaded) }) };
    expect(await aDeployment({ DIRECTORY }).call("/workspaces", { token })).toMatchObject({
      status: 503,
      body: { code: "overloaded" },
    });
  });

  it("notes a token's use at first and then hourly, and knows none where nobody made any", async () => {
    const { id, token } = await aToken();
    const usedAt = async () => {
      const { body } = await closed.call("/org/tokens", { token });
      return body.tokens.find((listed: { id: string }) => listed.id === id).last_used_at;
    };
    const first = await usedAt();
    passTime(30 * 60_000);
    expect(await usedAt()).toBe(first);
    vi.setSystemTime(Date.now() + 60 * 60_000);
    expect((await usedAt()) > first).toBe(true);
    const empty = aDeployment({ MOLECULE_ORG_ID: crypto.randomUUID() });
    expect((await empty.call("/workspaces", { token })).status).toBe(401);
    expect((await empty.call("/org/tokens", { token: ADMIN_TOKEN })).body).toEqual({ tokens: [], count: 0 });
  });
});

describe("bad tokens of the organisation", () => {
  it("are counted by address, like any other", async () => {
    const token = await aToken();
    await revoke(token);
    const keys: string[] = [];
    const limiter = { limit: async ({ key }: { key: string }) => ({ success: keys.push(key) <= 2 }) };
    const limited = aDeployment({ BAD_CREDENTIALS: limiter });
    const headers = { "CF-Connecting-IP": "203.0.113.9" };
    const attempt = () => limited.call("/workspaces", { token: token.token, headers });
    expect([(await attempt()).status, (await attempt()).status, (await attempt()).status]).toEqual([401, 401, 429]);
    expect(keys).toEqual(["203.0.113.9", "203.0.113.9", "203.0.113.9"]);
  });
});

describe("a route of the organisation's tokens", () => {
  it("is closed without a bearer, and to a workspace's token", async () => {
    const { token } = await anAgent();
    for (const [method, path, json] of [
      ["GET", "/org/tokens", undefined],
      ["POST", "/org/tokens", {}],
      ["DELETE", `/org/tokens/${crypto.randomUUID()}`, undefined],
    ] as const) {
      for (const headers of [{}, { Origin: BASE }, { Referer: `${BASE}/` }] as Record<string, string>[]) {
        expect(await closed.call(path, { method, json, headers }), `${method} ${path}`).toMatchObject({
          status: 401,
          body: { error: "admin auth required" },
        });
      }
      for (const platform of [closed, { call }]) {
        expect(await platform.call(path, { method, json, token }), `${method} ${path}`).toMatchObject({
          status: 401,
          body: { error: "invalid admin auth token" },
        });
      }
    }
  });

  it("is open to anybody in open dev mode, who is recorded as the canvas", async () => {
    const { body } = await call("/org/tokens", { json: {} });
    const [newest] = (await call("/org/tokens")).body.tokens;
    expect(newest).toMatchObject({ id: body.id, created_by: "canvas" });
  });

  it("needs the key of the checksums", async () => {
    const keyless = aDeployment({ TOKEN_KEY: "" });
    expect(await keyless.call("/org/tokens", { token: ADMIN_TOKEN, json: {} })).toMatchObject({
      status: 503,
      body: { code: "token.key_missing" },
    });
  });
});

describe("a listener with a token of the organisation", () => {
  it("may show it in the header, among the subprotocols, as a ticket, and on the event stream", async () => {
    const { token } = await aToken();
    const agent = await anAgent();
    const protocol = `posthouse.bearer.${Buffer.from(token).toString("base64url")}`;
    const { body } = await closed.call("/ws/ticket", { token, method: "POST" });
    for (const [path, headers] of [
      ["/ws", { Authorization: `Bearer ${token}` }],
      ["/ws", { "Sec-WebSocket-Protocol": protocol }],
      [`/ws?ticket=${body.ticket}`, {}],
    ] as [string, Record<string, string>][]) {
      const socket = await listeningTo(await closed.send(path, { headers: { ...UPGRADE, ...headers } }));
      await tell(agent, "hello");
      await socket.framesOf(agent.id, 1);
      socket.close();
    }
    const stream = await closed.send(`/workspaces/${agent.id}/events/stream`, { token });
    expect(stream.status).toBe(200);
    await stream.body?.cancel();
    const headers = { ...UPGRADE, Authorization: `Bearer ${token}`, "X-Workspace-ID": agent.id };
    expect((await closed.send("/ws", { headers })).status).toBe(401);
  });

  it("is refused with a ticket or subprotocol whose token was revoked", async () => {
    const token = await aToken();
    const protocol = `posthouse.bearer.${Buffer.from(token.token).toString("base64url")}`;
    const { body } = await closed.call("/ws/ticket", { token: token.token, method: "POST" });
    await revoke(token);
    expect((await closed.send(`/ws?ticket=${body.ticket}`, { headers: UPGRADE })).status).toBe(401);
    const offered = { ...UPGRADE, "Sec-WebSocket-Protocol": protocol };
    expect((await closed.send("/ws", { headers: offered })).status).toBe(401);
  });
});
