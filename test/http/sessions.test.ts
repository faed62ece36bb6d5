import { describe, expect, it, onTestFinished, vi } from "vitest";
import { MEMBER_MS, STRANGER_MS } from "../../src/http/session-looks.ts";
import { SOCKET_COOKIE } from "../../src/http/socket-cookie.ts";
import { ADMIN_TOKEN, type Deployment } from "../support/client-deployment.ts";
import { type Agent, aMessage, anAgent, BASE, type CallOptions, poll } from "../support/platform.ts";
import { until } from "../support/until.ts";
import { Upstream } from "../support/upstream.ts";

const PAGE = "http://localhost:3000";
const ADA = { Origin: PAGE, Cookie: "session=ada" };
const UNAVAILABLE = { status: 503, body: { code: "platform_unavailable" } };
const SIGNED_OUT = { status: 401, body: { error: "admin auth required" } };

/** A control plane that knows Ada, and the deployment behind it. */
async function aCanvas(variables: Record<string, unknown> = {}) {
  const upstream = new Upstream();
  await upstream.members({ ada: "user_ada" });
  return { upstream, platform: upstream.deployment(variables) };
}

function passTime(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
  onTestFinished(() => void vi.useRealTimers());
}

const list = (platform: Deployment, headers: Record<string, string> = ADA) => platform.call("/workspaces", { headers });
const asked = async (upstream: Upstream) => (await upstream.received()).length;

describe("a session", () => {
  it("creates, lists, changes and removes workspaces, and sends messages as the person at the canvas", async () => {
    const { platform } = await aCanvas();
    const as = (options: CallOptions = {}): CallOptions => ({ ...options, headers: ADA });
    const created = await platform.call(
      "/workspaces",
      as({ json: { name: crypto.randomUUID(), runtime: "external" } }),
    );
    expect(created.status).toBe(201);
    const agent: Agent = { id: created.body.id, token: created.body.connection.auth_token };
    const { body } = await platform.call("/workspaces", as());
    expect(body.map(({ id }: { id: string }) => id)).toContain(agent.id);
    const patched = await platform.call(`/workspaces/${agent.id}`, as({ method: "PATCH", json: { role: "scribe" } }));
    expect(patched).toMatchObject({ status: 200, body: { status: "updated" } });
    expect((await platform.call(`/workspaces/${agent.id}/a2a`, as({ json: aMessage("hello") }))).status).toBe(200);
    expect((await poll(agent)).body).toMatchObject([{ source_id: null, method: "message/send" }]);
    expect((await platform.call("/canvas/viewport", as({ method: "PUT", json: { zoom: 1 } }))).status).toBe(200);
    expect((await platform.call(`/workspaces/${agent.id}`, as({ method: "DELETE" }))).status).toBe(200);
  });

  it("is nobody's for a page on the user's own machine, unless the operator named it", async () => {
    const { upstream, platform } = await aCanvas({ CORS_ORIGINS: undefined });
    expect(await list(platform)).toMatchObject(SIGNED_OUT);
    expect(await asked(upstream)).toBe(0);
    expect((await list(platform, { ...ADA, Origin: BASE })).status).toBe(200);
  });

  it("is asked about with the user's own cookies and the organisation's slug, and nothing else", async () => {
    const { upstream, platform } = await aCanvas();
    const Cookie = `theme=dark; ${SOCKET_COOKIE}=x.y.z;session=ada ; `;
    expect((await list(platform, { Origin: PAGE, Cookie, "X-Molecule-Org-Id": "o" })).status).toBe(200);
    const [look] = await upstream.received();
    expect(look).toMatchObject({ method: "GET", path: "/cp/auth/tenant-member?slug=acme", bytes: 0 });
    expect(look?.headers).toMatchObject({ cookie: "theme=dark; session=ada", accept: "application/json" });
    expect(Object.keys(look?.headers ?? {})).not.toContain("x-molecule-org-id");
  });

  it("is named in records by its user", async () => {
    const { platform } = await aCanvas();
    const minted = await platform.call("/org/tokens", { json: {}, headers: ADA });
    expect(minted.status).toBe(200);
    const { body } = await platform.call("/org/tokens", { headers: ADA });
    const token = body.tokens.find(({ id }: { id: string }) => id === minted.body.id);
    expect(token.created_by).toBe("canvas:user_ada");
  });

  it("stands in for no agent, mints no test token, opens no inbox socket, and speaks for no workspace", async () => {
    const { upstream, platform } = await aCanvas();
    const { id } = await anAgent();
    for (const [path, json] of [
      ["/registry/register", { id, agent_card: {}, delivery_mode: "poll" }],
      ["/registry/register", { id: crypto.randomUUID(), agent_card: {}, delivery_mode: "poll" }],
      ["/registry/heartbeat", { workspace_id: id }],
      ["/registry/update-card", { workspace_id: id, agent_card: {} }],
    ] as const) {
      expect((await platform.call(path, { json, headers: ADA })).status, path).toBe(401);
    }
    expect(await asked(upstream)).toBe(0);
    expect((await platform.call(`/admin/workspaces/${id}/test-token`, { headers: ADA })).status).toBe(401);
    const socket = await platform.call(`/workspaces/${id}/inbox/socket`, { headers: { ...ADA, Upgrade: "websocket" } });
    expect(socket.status).toBe(401);
    const headers = { ...ADA, "X-Workspace-ID": id };
    expect((await platform.call(`/workspaces/${id}/a2a`, { json: aMessage("hi"), headers })).status).toBe(401);
  });

  it("is none where sessions are not configured", async () => {
    const { upstream } = await aCanvas();
    for (const variables of [{ MOLECULE_ORG_SLUG: "" }, { CP_UPSTREAM_URL: "" }]) {
      expect(await list(upstream.deployment(variables))).toMatchObject(SIGNED_OUT);
    }
    expect(await asked(upstream)).toBe(0);
  });

  it("is not asked about in open dev mode, where nobody has to show anything", async () => {
    const { upstream } = await aCanvas();
    expect((await list(upstream.deployment({ ADMIN_TOKEN: "", MOLECULE_ENV: "dev" }))).status).toBe(200);
    expect(await asked(upstream)).toBe(0);
  });
});

describe("whoever is signed out", () => {
  it("is 401 like somebody without any credential", async () => {
    const { upstream, platform } = await aCanvas();
    const { id } = await anAgent();
    expect(await list(platform, { Origin: PAGE, Cookie: "session=eve" })).toMatchObject(SIGNED_OUT);
    expect(await list(platform, { Origin: PAGE })).toMatchObject(SIGNED_OUT);
    expect(await list(platform, { Origin: PAGE, Cookie: `${SOCKET_COOKIE}=x` })).toMatchObject(SIGNED_OUT);
    expect(await list(platform, { Origin: PAGE, Cookie: ` ; ${SOCKET_COOKIE}=x;` })).toMatchObject(SIGNED_OUT);
    expect(await asked(upstream)).toBe(1);
    const headers = { Origin: PAGE, Cookie: "session=eve" };
    expect(await platform.call(`/workspaces/${id}/activity`, { headers })).toMatchObject({
      status: 401,
      body: { error: "missing workspace auth token" },
    });
    expect((await platform.call(`/workspaces/${id}/a2a`, { json: aMessage("hi"), headers })).status).toBe(401);
  });

  it.each([
    ["a member of another organisation", { status: 200, body: '{"member":false,"user_id":"user_ada"}' }],
    ["a member without a name", { status: 200, body: '{"member":true,"user_id":""}' }],
    ["a member whose name is no text", { status: 200, body: '{"member":true,"user_id":7}' }],
    ["a member by another word", { status: 200, body: '{"member":"true","user_id":"user_ada"}' }],
    ["someone sent to the sign-in page", { status: 302, headers: { location: "/login" }, body: "" }],
    ["forbidden", { status: 403, body: "{}" }],
    ["not found", { status: 404, body: "{}" }],
  ])("is so when the control plane says that it is %s", async (_, answer) => {
    const { upstream, platform } = await aCanvas();
    await upstream.next({ act: "answer", ...answer });
    expect(await list(platform)).toMatchObject(SIGNED_OUT);
    expect(await asked(upstream)).toBe(1);
  });

  it("is counted by address when the control plane has to be asked, and a known member is not", async () => {
    const keys: string[] = [];
    const BAD_CREDENTIALS = { limit: async ({ key }: { key: string }) => ({ success: keys.push(key) <= 3 }) };
    const { upstream, platform } = await aCanvas({ BAD_CREDENTIALS });
    const from = (Cookie: string) => list(platform, { Origin: PAGE, Cookie, "CF-Connecting-IP": "203.0.113.9" });
    expect((await from("session=ada")).status).toBe(200);
    for (const guess of ["1", "2"]) expect(await from(`session=${guess}`)).toMatchObject(SIGNED_OUT);
    expect(await from("session=2")).toMatchObject(SIGNED_OUT);
    expect(await from("session=3")).toMatchObject({ status: 429, body: { code: "request.rate_limited" } });
    expect(keys).toEqual(Array(4).fill("203.0.113.9"));
    expect(await asked(upstream)).toBe(3);
    passTime(MEMBER_MS);
    expect((await from("session=ada")).status).toBe(200);
    expect(keys).toHaveLength(4);
  });
});

describe("a cookie", () => {
  it("counts for pages of ours alone, because browsers add it to what any page wants", async () => {
    const { upstream, platform } = await aCanvas();
    const json = { name: crypto.randomUUID(), runtime: "external" };
    const { Cookie } = ADA;
    for (const headers of [
      { Cookie, Origin: "https://evil.example" },
      { Cookie, Origin: "null" },
      { Cookie, Origin: `${PAGE}.evil.example` },
      { Cookie },
      { Cookie, Referer: `${BASE}/` },
      { Cookie, "Sec-Fetch-Site": "none" },
    ] as Record<string, string>[]) {
      expect(await list(platform, headers), JSON.stringify(headers)).toMatchObject(SIGNED_OUT);
      expect(await platform.call("/workspaces", { json, headers }), JSON.stringify(headers)).toMatchObject(SIGNED_OUT);
    }
    for (const site of ["cross-site", "same-site"]) {
      const headers = { Cookie, Origin: "https://evil.example", "Sec-Fetch-Site": site };
      expect(await platform.call("/workspaces", { json, headers })).toMatchObject({ status: 403, text: "" });
      const followed = { "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document" };
      expect(await list(platform, { Cookie, "Sec-Fetch-Site": site, ...followed })).toMatchObject(SIGNED_OUT);
    }
    expect(await asked(upstream)).toBe(0);
  });

  it("counts for reads of the own page, which carry no Origin, and for changes with the own one", async () => {
    const { platform } = await aCanvas();
    const { Cookie } = ADA;
    const json = { name: crypto.randomUUID(), runtime: "external" };
    expect((await list(platform, { Cookie, "Sec-Fetch-Site": "same-origin" })).status).toBe(200);
    const own = { Cookie, "Sec-Fetch-Site": "same-origin", Origin: BASE };
    expect((await platform.call("/workspaces", { json, headers: own })).status).toBe(201);
    const without = { Cookie, "Sec-Fetch-Site": "same-origin" };
    expect(await platform.call("/workspaces", { json, headers: without })).toMatchObject(SIGNED_OUT);
  });

  it("is not looked at beside a bearer, good or bad", async () => {
    const { upstream, platform } = await aCanvas();
    const agent = await anAgent();
    const inbox = `/workspaces/${agent.id}/activity`;
    expect((await platform.call(inbox, { token: agent.token, headers: ADA })).status).toBe(200);
    expect((await platform.call("/workspaces", { token: ADMIN_TOKEN, headers: ADA })).status).toBe(200);
    expect((await platform.call("/workspaces", { token: agent.token, headers: ADA })).status).toBe(401);
    expect((await platform.call("/workspaces", { token: "wrong", headers: ADA })).status).toBe(401);
    expect(await asked(upstream)).toBe(0);
  });
});

describe("the control plane", () => {
  it("is asked once for all who ask meanwhile with one cookie", async () => {
    const { upstream, platform } = await aCanvas();
    await upstream.next({ act: "hold" });
    const answers = Promise.all(Array.from({ length: 12 }, () => list(platform)));
    await until("it was asked", async () => (await asked(upstream)) > 0);
    await upstream.release();
    expect((await answers).map(({ status }) => status)).toEqual(Array(12).fill(200));
    expect(await asked(upstream)).toBe(1);
  });

  it("is asked again after 30 s about a member, and after 5 s about anybody else", async () => {
    const { upstream, platform } = await aCanvas();
    const eve = { Origin: PAGE, Cookie: "session=eve" };
    for (let again = 0; again < 2; again++) {
      expect((await list(platform)).status).toBe(200);
      expect((await list(platform, eve)).status).toBe(401);
    }
    expect(await asked(upstream)).toBe(2);
    passTime(STRANGER_MS - 500);
    expect((await list(platform, eve)).status).toBe(401);
    expect(await asked(upstream)).toBe(2);
    await upstream.members({ eve: "user_eve" });
    vi.setSystemTime(Date.now() + 500);
    expect((await list(platform, eve)).status).toBe(200);
    expect((await list(platform)).status).toBe(200);
    expect(await asked(upstream)).toBe(3);
    vi.setSystemTime(Date.now() + MEMBER_MS - STRANGER_MS);
    expect(await list(platform)).toMatchObject(SIGNED_OUT);
    expect((await list(platform, eve)).status).toBe(200);
    expect(await asked(upstream)).toBe(4);
  });

  it.each([
    ["is down", { act: "reset" }],
    ["answers 500", { act: "answer", status: 500, body: '{"member":true,"user_id":"u"}' }],
    ["answers 503", { act: "answer", status: 503, body: "" }],
    ["wants less haste", { act: "answer", status: 429, body: "{}" }],
    ["ends in the middle of its answer", { act: "cut", status: 200, body: '{"member":' }],
    ["answers with a page", { act: "answer", status: 200, body: "<html>" }],
    [
      "answers with more than 64 KiB",
      { act: "answer", status: 200, body: `{"member":true,"x":"${"x".repeat(65_536)}"}` },
    ],
  ] as const)("signs nobody out when it %s, and is asked again at once", async (_, behaviour) => {
    const { upstream, platform } = await aCanvas();
    const { id } = await anAgent();
    const inbox = () => platform.call(`/workspaces/${id}/activity`, { headers: ADA });
    await upstream.next(behaviour, behaviour, behaviour, behaviour);
    const answer = await list(platform);
    expect(answer).toMatchObject(UNAVAILABLE);
    expect(answer.headers.get("retry-after")).toBe("5");
    expect(answer.headers.get("access-control-allow-origin")).toBe(PAGE);
    expect(await inbox()).toMatchObject(UNAVAILABLE);
    const send = { json: aMessage("hi"), headers: ADA };
    expect(await platform.call(`/workspaces/${id}/a2a`, send)).toMatchObject(UNAVAILABLE);
    const item = `/workspaces/${id}/a2a/queue/00000000-0000-8000-8000-000000000000`;
    expect(await platform.call(item, { headers: ADA })).toMatchObject(UNAVAILABLE);
    expect((await list(platform)).status).toBe(200);
  });

  it("has 3 s, and fails once for all who ask meanwhile", async () => {
    const { upstream, platform } = await aCanvas();
    await upstream.next({ act: "hold" }, { act: "reset" });
    const answers = await Promise.all([list(platform), list(platform), list(platform)]);
    for (const answer of answers) expect(answer).toMatchObject(UNAVAILABLE);
    expect(await asked(upstream)).toBe(1);
    await upstream.release();
  });

  it("is not asked by open routes, and takes none of them along", async () => {
    const { upstream, platform } = await aCanvas();
    const { id } = await anAgent();
    await upstream.next({ act: "reset" });
    for (const path of ["/health", "/buildinfo", "/uploads/limits", `/workspaces/${id}`, "/canvas/viewport"]) {
      expect((await platform.call(path, { headers: ADA })).status, path).toBe(200);
    }
    expect(await asked(upstream)).toBe(0);
  });
});

describe("TenantGuard", () => {
  it("lets the own page through, signed in or not, and pages of allowed origins with a session", async () => {
    const { upstream, platform } = await aCanvas({ MOLECULE_ORG_ID: crypto.randomUUID() });
    const { Cookie } = ADA;
    expect((await list(platform, { Cookie, "Sec-Fetch-Site": "same-origin" })).status).toBe(200);
    expect(await list(platform, { "Sec-Fetch-Site": "same-origin" })).toMatchObject(SIGNED_OUT);
    expect(await list(platform, { Origin: BASE })).toMatchObject(SIGNED_OUT);
    expect((await list(platform, ADA)).status).toBe(200);
    const eve = { Origin: PAGE, Cookie: "session=eve" };
    expect(await list(platform, eve)).toMatchObject({ status: 404, text: "" });
    expect(await list(platform, { Cookie })).toMatchObject({ status: 404, text: "" });
    passTime(MEMBER_MS);
    await upstream.next({ act: "reset" });
    expect(await list(platform, ADA)).toMatchObject(UNAVAILABLE);
  });
});
