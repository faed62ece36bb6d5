import { env } from "cloudflare:workers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { type Agent, aMessage, call, poll } from "../support/platform.ts";

const ADMIN = "the operator's secret";
const LIMIT = 8;

// A closed deployment, objects included: set before anything has read its configuration.
env.MOLECULE_ENV = "production";
env.ADMIN_TOKEN = ADMIN;
env.RATE_LIMIT = String(LIMIT);
env.LOCAL_PLATFORM = "";

afterEach(() => {
  vi.useRealTimers();
});

async function anAgent(fields: Record<string, unknown> = {}): Promise<Agent> {
  const json = { name: crypto.randomUUID(), runtime: "external", ...fields };
  const { body } = await call("/workspaces", { token: ADMIN, json });
  return { id: body.id, token: body.connection.auth_token };
}

function rateOf({ headers }: { headers: Headers }) {
  return ["limit", "remaining", "reset"].map((name) => headers.get(`x-ratelimit-${name}`));
}

describe("the rate limit of a principal", () => {
  it("counts down in the headers of every answer to its token", async () => {
    const agent = await anAgent();
    const first = await poll(agent);
    expect(rateOf(first)).toEqual([String(LIMIT), String(LIMIT - 1), "60"]);
    const refused = await poll(agent, { source: "x" });
    expect(refused.status).toBe(400);
    expect(rateOf(await poll(agent))).toEqual([String(LIMIT), String(LIMIT - 2), expect.any(String)]);
  });

  it("answers 429 with all headers and Retry-After once it is used up, and opens again after a minute", async () => {
    const agent = await anAgent();
    for (let taken = 0; taken < LIMIT; taken++) expect((await poll(agent)).status).toBe(200);
    const over = await poll(agent);
    expect(over).toMatchObject({ status: 429, body: { error: "rate limit exceeded", code: "request.rate_limited" } });
    expect(over.body.retry_after).toBeGreaterThan(0);
    expect(over.headers.get("retry-after")).toBe(String(over.body.retry_after));
    expect(rateOf(over)).toEqual([String(LIMIT), "0", String(over.body.retry_after)]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 61_000 });
    expect((await poll(agent)).status).toBe(200);
  });

  it("is its own: another token, another agent and an operator are not held back", async () => {
    const [agent, other] = [await anAgent(), await anAgent()];
    const minted = await call(`/workspaces/${agent.id}/tokens`, { token: agent.token, method: "POST" });
    for (let taken = 0; taken < LIMIT; taken++) await poll(agent);
    expect((await poll(agent)).status).toBe(429);
    expect((await poll({ id: agent.id, token: minted.body.auth_token })).status).toBe(200);
    expect((await poll(other)).status).toBe(200);
    const asOperator = await call(`/workspaces/${agent.id}/activity`, { token: ADMIN });
    expect(asOperator.status).toBe(200);
    expect(rateOf(asOperator)).toEqual([null, null, null]);
  });

  it("counts a token of the organisation likewise, in each workspace by itself", async () => {
    const [agent, other] = [await anAgent(), await anAgent()];
    const { body } = await call("/org/tokens", { token: ADMIN, json: {} });
    const look = ({ id }: Agent) => call(`/workspaces/${id}/activity`, { token: body.auth_token });
    expect(rateOf(await look(agent))).toEqual([String(LIMIT), String(LIMIT - 1), "60"]);
    for (let taken = 1; taken < LIMIT; taken++) expect((await look(agent)).status).toBe(200);
    expect((await look(agent)).status).toBe(429);
    expect((await look(other)).status).toBe(200);
    expect((await poll(agent)).status).toBe(200);
  });

  it("leaves nothing behind of what was over it", async () => {
    const agent = await anAgent();
    for (let taken = 0; taken < LIMIT; taken++) await poll(agent);
    const notified = await call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "m" } });
    expect(notified.status).toBe(429);
    expect((await call(`/workspaces/${agent.id}/activity`, { token: ADMIN })).body).toEqual([]);
  });
});

describe("a closed deployment", () => {
  it("refuses every call without a bearer, but for the open ones, with 401", async () => {
    const agent = await anAgent();
    const { id } = agent;
    const closed: [string, string, unknown?][] = [
      ["GET", "/workspaces"],
      ["POST", "/workspaces", { name: "n", runtime: "external" }],
      ["DELETE", `/workspaces/${id}`],
      ["GET", `/workspaces/${id}/activity`],
      ["GET", `/workspaces/${id}/activity?wait=1`],
      ["POST", `/workspaces/${id}/activity`, { activity_type: "error" }],
      ["POST", `/workspaces/${id}/activity/ack`, { acked_seq: 1 }],
      ["POST", `/workspaces/${id}/notify`, { message: "m" }],
      ["GET", `/workspaces/${id}/session-search`],
      ["POST", `/workspaces/${id}/a2a`, aMessage("hi")],
      ["GET", `/workspaces/${id}/tokens`],
      ["POST", `/workspaces/${id}/tokens`],
      ["DELETE", `/workspaces/${id}/tokens/${id}`],
      ["POST", "/registry/register", { id, agent_card: {}, delivery_mode: "poll" }],
      ["POST", "/registry/register", { id: crypto.randomUUID(), agent_card: {}, delivery_mode: "poll" }],
      ["POST", "/registry/heartbeat", { workspace_id: id }],
      ["POST", "/registry/update-card", { workspace_id: id, agent_card: {} }],
      ["GET", `/registry/${id}/peers`],
      ["POST", "/registry/check-access", { caller_id: id, target_id: id }],
      ["GET", "/admin/pending-uploads"],
      ["GET", "/org/tokens"],
      ["POST", "/org/tokens", {}],
      ["GET", "/settings/secrets"],
      ["GET", `/workspaces/${id}/secrets`],
    ];
    for (const headers of [{}, { Origin: "http://posthouse.test" }, { Referer: "http://posthouse.test/" }] as Record<
      string,
      string
    >[]) {
      for (const [method, path, json] of closed) {
        const answer = await call(path, { method, headers, ...(json === undefined ? {} : { json }) });
        expect(answer.status, `${method} ${path}`).toBe(401);
        expect(answer.body.error).toMatch(/^(missing (workspace|caller) auth token|admin auth required)$/);
      }
    }
    for (const path of ["/health", "/buildinfo", "/uploads/limits", `/workspaces/${id}`]) {
      expect((await call(path)).status, path).toBe(200);
    }
    expect((await poll(agent)).body).toEqual([]);
  });

  it("refuses a workspace's bearer on every route of operators and of other workspaces", async () => {
    const [agent, other] = [await anAgent(), await anAgent()];
    const { token } = other;
    for (const [method, path, error] of [
      ["GET", "/workspaces", "invalid admin auth token"],
      ["DELETE", `/workspaces/${agent.id}`, "invalid admin auth token"],
      ["GET", "/admin/pending-uploads", "invalid admin auth token"],
      ["GET", `/workspaces/${agent.id}/activity`, "invalid workspace auth token"],
      ["GET", `/workspaces/${crypto.randomUUID()}/activity`, "invalid workspace auth token"],
      ["GET", `/workspaces/${agent.id}/tokens`, "invalid workspace auth token"],
    ] as const) {
      expect(await call(path, { method, token }), `${method} ${path}`).toMatchObject({ status: 401, body: { error } });
    }
  });

  it("has no test tokens, and calls no private address", async () => {
    const agent = await anAgent();
    expect(await call(`/admin/workspaces/${agent.id}/test-token`, { token: ADMIN })).toMatchObject({
      status: 404,
      body: { error: "not found" },
    });
    for (const [url, error] of [
      ["http://127.0.0.1:9000", "url targets a blocked address: loopback"],
      ["http://192.168.1.4", "url targets a blocked address: private"],
      ["http://8.8.8.8", "url is not valid: must name a host, not an IP address"],
    ] as const) {
      const json = { id: agent.id, url, delivery_mode: "push", agent_card: {} };
      const answer = await call("/registry/register", { token: agent.token, json });
      expect(answer, url).toMatchObject({ status: 400, body: { error } });
    }
  });
});

describe("tokens of the organisation", () => {
  it("are minted ten an hour by one credential, whatever becomes of them, and then again", async () => {
    const creator = (await call("/org/tokens", { token: ADMIN, json: {} })).body.auth_token;
    const mint = () => call("/org/tokens", { token: creator, json: { name: "script" } });
    const minted = await Promise.all(Array.from({ length: 10 }, mint));
    expect(minted.map(({ status }) => status)).toEqual(Array.from({ length: 10 }, () => 200));
    const [first] = minted;
    await call(`/org/tokens/${first?.body.id}`, { method: "DELETE", token: ADMIN });
    const refused = await mint();
    expect(refused).toMatchObject({
      status: 429,
      body: { error: "rate limit exceeded", code: "request.rate_limited" },
    });
    expect(refused.body.retry_after).toBeGreaterThan(3_000);
    const other = await call("/org/tokens", { token: minted[1]?.body.auth_token, json: {} });
    expect(other.status).toBe(200);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_600_000 });
    expect((await mint()).status).toBe(200);
  });

  it("are minted sixty an hour by all that they have made, and then again", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10 * 3_600_000 });
    const creators = [ADMIN];
    const made: number[] = [];
    for (let turn = 0; made.length < 60; turn += 1) {
      const minted = await Promise.all(
        Array.from({ length: 10 }, () => call("/org/tokens", { token: creators[turn] ?? "", json: {} })),
      );
      made.push(...minted.map(({ status }) => status));
      creators.push(...minted.map(({ body }) => body.auth_token));
    }
    expect(made).toEqual(Array.from({ length: 60 }, () => 200));
    const mint = (token = "") => call("/org/tokens", { token, json: {} });
    for (const creator of [ADMIN, creators.at(-1)]) {
      expect(await mint(creator)).toMatchObject({ status: 429, body: { code: "request.rate_limited" } });
    }
    vi.setSystemTime(Date.now() + 3_600_000);
    expect((await mint(creators.at(-1))).status).toBe(200);
  });
});
