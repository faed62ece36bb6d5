import { createExecutionContext } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { COOKIE_LIFETIME_MS, TICKET_LIFETIME_MS } from "../../src/domain/socket-pass.ts";
import { app } from "../../src/http/app.ts";
import { SOCKET_COOKIE } from "../../src/http/socket-cookie.ts";
import { listeningTo } from "../event-hub/listening.ts";
import { anAgent, BASE, call, tell } from "../support/platform.ts";

const ADMIN = "the operator's own token";
const PAGE = "http://localhost:3000";
const UPGRADE = { Upgrade: "websocket" };

/** The platform as an operator runs it: with an admin token, and no dev mode. */
function platform(variables: Record<string, string> = {}) {
  const bindings = { ...env, ADMIN_TOKEN: ADMIN, MOLECULE_ENV: "", ...variables };
  return async (path: string, headers: Record<string, string> = {}, method = "GET") =>
    app.fetch(new Request(BASE + path, { headers, method }), bindings, createExecutionContext());
}

async function cookieFor(fetch: ReturnType<typeof platform>, headers: Record<string, string> = { Origin: PAGE }) {
  const answer = await fetch("/workspaces", { Authorization: `Bearer ${ADMIN}`, ...headers });
  return answer.headers.get("Set-Cookie")?.split(";")[0] ?? "";
}

function passTime(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
  vi.setSystemTime(Date.now() + ms);
}

describe("/ws outside dev mode", () => {
  it("is 401 without a credential, and with one that does not count", async () => {
    const fetch = platform();
    const missing = await fetch("/ws", UPGRADE);
    expect(missing.status).toBe(401);
    expect(await missing.json()).toMatchObject({ error: "admin auth required" });
    const wrong = await fetch("/ws", { ...UPGRADE, Authorization: "Bearer wrong" });
    expect(wrong.status).toBe(401);
    const agent = await fetch("/ws", { ...UPGRADE, "X-Workspace-ID": crypto.randomUUID() });
    expect(await agent.json()).toMatchObject({ error: "missing workspace auth token" });
    const operator = { ...UPGRADE, "X-Workspace-ID": crypto.randomUUID(), Authorization: `Bearer ${ADMIN}` };
    expect((await fetch("/ws", operator)).status).toBe(401);
  });

  it("opens for an operator's bearer, in the header from anywhere or among the subprotocols of an own page", async () => {
    const fetch = platform();
    const header = { ...UPGRADE, Authorization: `Bearer ${ADMIN}`, Origin: "https://agents.example" };
    const socket = await listeningTo(await fetch("/ws", header));
    const agent = await anAgent();
    expect(await socket.framesOf(agent.id, 1)).toMatchObject([{ event: "WORKSPACE_ONLINE" }]);

    const protocol = `posthouse.bearer.${Buffer.from(ADMIN).toString("base64url")}`;
    const only = await fetch("/ws", { ...UPGRADE, "Sec-WebSocket-Protocol": protocol, Origin: PAGE });
    expect(only.status).toBe(101);
    expect(only.headers.get("Sec-WebSocket-Protocol")).toBe(protocol);
    const foreign = { ...UPGRADE, "Sec-WebSocket-Protocol": protocol, Origin: "https://evil.example" };
    expect((await fetch("/ws", foreign)).status).toBe(403);
    for (const wrong of ["posthouse.bearer.", "posthouse.bearer.bm9uc2Vuc2U"]) {
      expect((await fetch("/ws", { ...UPGRADE, "Sec-WebSocket-Protocol": wrong })).status).toBe(401);
    }
    const idle = await fetch("/ws", { ...UPGRADE, "Sec-WebSocket-Protocol": "posthouse.events" });
    expect(idle.status).toBe(401);
  });

  it("opens through TenantGuard for the organisation's own pages, and for nobody else", async () => {
    const fetch = platform({ MOLECULE_ORG_ID: "acme" });
    const cookie = await cookieFor(fetch);
    expect((await fetch("/ws", { ...UPGRADE, Origin: PAGE, Cookie: cookie })).status).toBe(101);
    expect((await fetch("/ws", { ...UPGRADE, Origin: PAGE })).status).toBe(401);
    const other = platform({ MOLECULE_ORG_ID: "other" });
    expect((await other("/ws", { ...UPGRADE, Origin: PAGE, Cookie: cookie })).status).toBe(401);
  });
});

describe("the socket cookie", () => {
  it("comes with every operator's call from an allowed page, and with no other", async () => {
    const fetch = platform();
    const bearer = { Authorization: `Bearer ${ADMIN}` };
    const answer = await fetch("/workspaces", { ...bearer, Origin: PAGE });
    expect(answer.headers.get("Set-Cookie")).toMatch(
      /^__Host-posthouse-ws=[^;]+; Path=\/; Max-Age=600; HttpOnly; Secure; SameSite=None; Partitioned$/,
    );
    expect((await fetch("/nowhere", { ...bearer, Origin: PAGE })).headers.has("Set-Cookie")).toBe(true);
    const without: Record<string, string>[] = [
      bearer,
      { Origin: PAGE },
      { ...bearer, Origin: "https://agents.example" },
      { Origin: PAGE, Authorization: `Bearer ${(await anAgent()).token}` },
    ];
    for (const headers of without) {
      expect((await fetch("/workspaces", headers)).headers.has("Set-Cookie")).toBe(false);
    }
    expect((await call("/workspaces", { headers: { Origin: PAGE } })).headers.has("Set-Cookie")).toBe(false);
    const keyless = await platform({ TOKEN_KEY: "" })("/workspaces", { ...bearer, Origin: PAGE });
    expect(keyless.headers.has("Set-Cookie")).toBe(false);
  });

  it("opens /ws and the event stream for its page, and no other route", async () => {
    const fetch = platform();
    const agent = await anAgent();
    const headers = { Origin: PAGE, Cookie: await cookieFor(fetch) };
    const socket = await listeningTo(await fetch("/ws", { ...UPGRADE, ...headers }));
    await tell(agent, "hello");
    await socket.framesOf(agent.id, 1);
    const stream = await fetch(`/workspaces/${agent.id}/events/stream`, headers);
    expect(stream.status).toBe(200);
    await stream.body?.cancel();
    for (const path of ["/workspaces", "/events", `/workspaces/${agent.id}/activity`]) {
      expect((await fetch(path, headers)).status).toBe(401);
    }
  });

  it("serves the platform's own pages, whose reads carry no Origin", async () => {
    const fetch = platform();
    const agent = await anAgent();
    const cookie = await cookieFor(fetch, { "Sec-Fetch-Site": "same-origin" });
    expect((await fetch("/ws", { ...UPGRADE, Origin: BASE, Cookie: cookie })).status).toBe(101);
    const stream = await fetch(`/workspaces/${agent.id}/events/stream`, {
      "Sec-Fetch-Site": "same-origin",
      Cookie: cookie,
    });
    expect(stream.status).toBe(200);
    await stream.body?.cancel();
  });

  it("is no good from another page, without a page, changed, expired, or after its credential was replaced", async () => {
    const fetch = platform();
    const cookie = await cookieFor(fetch);
    const status = async (headers: Record<string, string>, asked = fetch) =>
      (await asked("/ws", { ...UPGRADE, Cookie: cookie, ...headers })).status;
    expect(await status({ Origin: "https://evil.example" })).toBe(403);
    expect(await status({ Origin: "http://localhost:3001" })).toBe(401);
    expect(await status({})).toBe(401);
    expect(await status({ Origin: PAGE, Cookie: `${cookie}x` })).toBe(401);
    expect(await status({ Origin: PAGE, Cookie: `${SOCKET_COOKIE}=` })).toBe(401);
    const replaced = { ADMIN_TOKEN: "new", ADMIN_TOKEN_PREVIOUS: ADMIN };
    expect(await status({ Origin: PAGE }, platform(replaced))).toBe(101);
    expect(await status({ Origin: PAGE }, platform({ ADMIN_TOKEN: "new" }))).toBe(401);
    expect(
      await status({ Origin: PAGE }, platform({ TOKEN_KEY: "new", TOKEN_KEY_PREVIOUS: String(env.TOKEN_KEY) })),
    ).toBe(101);
    expect(await status({ Origin: PAGE })).toBe(101);
    passTime(COOKIE_LIFETIME_MS);
    expect(await status({ Origin: PAGE })).toBe(401);
  });
});

describe("a ticket", () => {
  async function aTicket(fetch: ReturnType<typeof platform>, headers = { Authorization: `Bearer ${ADMIN}` }) {
    const answer = await fetch("/ws/ticket", headers, "POST");
    expect(answer.status).toBe(201);
    const { ticket, expires_in: expiresIn } = await answer.json<{ ticket: string; expires_in: number }>();
    expect(expiresIn).toBe(60);
    return ticket;
  }

  it("opens one socket, once, within a minute", async () => {
    const fetch = platform();
    const ticket = await aTicket(fetch);
    expect((await fetch(`/ws?ticket=${ticket}`, UPGRADE)).status).toBe(101);
    const again = await fetch(`/ws?ticket=${ticket}`, UPGRADE);
    expect(again.status).toBe(401);
    expect(await again.json()).toMatchObject({ code: "hub.invalid_ticket" });
    const late = await aTicket(fetch);
    passTime(TICKET_LIFETIME_MS);
    expect((await fetch(`/ws?ticket=${late}`, UPGRADE)).status).toBe(401);
  });

  it("is for operators, and in open dev mode for everybody", async () => {
    const fetch = platform();
    expect((await fetch("/ws/ticket", {}, "POST")).status).toBe(401);
    const { token } = await anAgent();
    expect((await fetch("/ws/ticket", { Authorization: `Bearer ${token}` }, "POST")).status).toBe(401);
    const { body } = await call("/ws/ticket", { method: "POST" });
    expect(
      (await platform({ ADMIN_TOKEN: "", MOLECULE_ENV: "dev" })(`/ws?ticket=${body.ticket}`, UPGRADE)).status,
    ).toBe(101);
    expect((await call("/ws?ticket=nonsense", { headers: UPGRADE })).status).toBe(401);
    expect((await platform({ TOKEN_KEY: "" })("/ws/ticket", { Authorization: `Bearer ${ADMIN}` }, "POST")).status).toBe(
      503,
    );
  });
});
