import { env, runDurableObjectAlarm } from "cloudflare:test";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { COOKIE_LIFETIME_MS } from "../../src/domain/socket-pass.ts";
import { CREDENTIAL_ENDED, KEEP_ALIVE_MS } from "../../src/durable-objects/event-hub/audience.ts";
import { type Listening, listeningTo } from "../event-hub/listening.ts";
import { ADMIN_TOKEN } from "../support/client-deployment.ts";
import { anAgent } from "../support/platform.ts";
import { Upstream } from "../support/upstream.ts";

const PAGE = "http://localhost:3000";
const ADA = { Origin: PAGE, Cookie: "session=ada" };
const UPGRADE = { Upgrade: "websocket" };

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

describe("a page with a session", () => {
  it("listens on /ws and on the event stream", async () => {
    const { platform } = await aCanvas();
    const socket = await listeningTo(await platform.send("/ws", { headers: { ...ADA, ...UPGRADE } }));
    const agent = await anAgent();
    expect(await socket.framesOf(agent.id, 1)).toMatchObject([{ event: "WORKSPACE_ONLINE" }]);
    const stream = await platform.send(`/workspaces/${agent.id}/events/stream`, { headers: ADA });
    expect(stream.status).toBe(200);
    await stream.body?.cancel();
    socket.close();
  });

  it("gets no cookie of ours, because its own opens sockets", async () => {
    const { platform } = await aCanvas();
    const answer = await platform.call("/workspaces", { headers: ADA });
    expect(answer.status).toBe(200);
    expect(answer.headers.has("Set-Cookie")).toBe(false);
  });

  it("may take a ticket along to where its cookie does not go", async () => {
    const { upstream, platform } = await aCanvas();
    const { status, body } = await platform.call("/ws/ticket", { method: "POST", headers: ADA });
    expect(status).toBe(201);
    const socket = await listeningTo(await platform.send(`/ws?ticket=${body.ticket}`, { headers: UPGRADE }));
    const agent = await anAgent();
    await socket.framesOf(agent.id, 1);
    socket.close();
    expect((await platform.send(`/ws?ticket=${body.ticket}`, { headers: UPGRADE })).status).toBe(401);
    const another = await platform.call("/ws/ticket", { method: "POST", headers: ADA });
    const without = upstream.deployment({ MOLECULE_ORG_SLUG: "" });
    expect((await without.send(`/ws?ticket=${another.body.ticket}`, { headers: UPGRADE })).status).toBe(401);
  });

  it("is sent away after ten minutes by whatever way it came, and comes back as long as it is signed in", async () => {
    const { upstream, platform } = await aCanvas();
    const open = async (path = "/ws", headers: Record<string, string> = ADA) =>
      listeningTo(await platform.send(path, { headers: { ...headers, ...UPGRADE } }));
    const { body } = await platform.call("/ws/ticket", { method: "POST", headers: ADA });
    const agent = await anAgent();
    const stream = await platform.send(`/workspaces/${agent.id}/events/stream`, { headers: ADA });
    const sockets = [await open(), await open(`/ws?ticket=${body.ticket}`, {})];
    const spared = await open("/ws", { Authorization: `Bearer ${(await operatorToken(platform)).token}` });
    passTime(COOKIE_LIFETIME_MS - KEEP_ALIVE_MS);
    await runDurableObjectAlarm(env.EVENT_HUB.getByName("default"));
    for (const socket of sockets) await keepAlive(socket);
    vi.setSystemTime(Date.now() + KEEP_ALIVE_MS);
    await runDurableObjectAlarm(env.EVENT_HUB.getByName("default"));
    for (const socket of sockets) expect(await socket.closed()).toBe(CREDENTIAL_ENDED);
    expect(await new Response(stream.body).text()).toContain(": ping");
    for (let beats = 0; beats < 2; beats++) await keepAlive(spared);
    spared.close();
    (await open()).close();
    await upstream.members({});
    vi.setSystemTime(Date.now() + 30_000);
    expect((await platform.send("/ws", { headers: { ...ADA, ...UPGRADE } })).status).toBe(401);
  });
});

describe("/ws", () => {
  it("asks the control plane about nobody who shows something else, and about no foreign page", async () => {
    const { upstream, platform } = await aCanvas();
    const agent = await anAgent();
    const status = async (path: string, headers: Record<string, string>) => {
      const answer = await platform.send(path, { headers: { ...UPGRADE, ...headers } });
      answer.webSocket?.accept();
      answer.webSocket?.close();
      return answer.status;
    };
    const offered = (bearer: string) => `posthouse.bearer.${Buffer.from(bearer).toString("base64url")}`;
    expect(await status("/ws", { ...ADA, Authorization: `Bearer ${agent.token}` })).toBe(101);
    expect(await status("/ws", { ...ADA, "Sec-WebSocket-Protocol": offered(ADMIN_TOKEN) })).toBe(101);
    expect(await status("/ws", { ...ADA, "Sec-WebSocket-Protocol": offered("wrong") })).toBe(401);
    expect(await status("/ws", { ...ADA, "X-Workspace-ID": agent.id })).toBe(401);
    expect(await status("/ws?ticket=wrong", ADA)).toBe(401);
    expect(await status("/ws", { ...ADA, Origin: "https://evil.example" })).toBe(403);
    expect(await status("/ws", { Cookie: ADA.Cookie })).toBe(401);
    expect(await upstream.received()).toEqual([]);
  });

  it("is 503 and not 401 while the control plane is down, and so is the event stream", async () => {
    const { upstream, platform } = await aCanvas();
    const { id } = await anAgent();
    await upstream.next({ act: "reset" }, { act: "reset" });
    for (const path of ["/ws", `/workspaces/${id}/events/stream`]) {
      expect(await platform.call(path, { headers: { ...ADA, ...UPGRADE } }), path).toMatchObject({
        status: 503,
        body: { code: "platform_unavailable" },
      });
    }
  });
});

/** A token that the hub, which is open, can find in the Directory. */
async function operatorToken(platform: ReturnType<Upstream["deployment"]>): Promise<{ token: string }> {
  const { body } = await platform.call("/org/tokens", { token: ADMIN_TOKEN, json: {} });
  return { token: body.auth_token };
}

/** The next sign that the hub takes the socket for good; what comes before is skipped. */
async function keepAlive(socket: Listening): Promise<void> {
  while ((await socket.frame()).event !== "KEEP_ALIVE");
}
