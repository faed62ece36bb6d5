import { createExecutionContext, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { app } from "../../src/http/app.ts";
import { type Listening, listeningTo } from "../event-hub/listening.ts";
import { aLane, away, back, query } from "../support/ledger.ts";
import { type Agent, anAgent, BASE, call, send, tell } from "../support/platform.ts";
import { until } from "../support/until.ts";

const UPGRADE = { Upgrade: "websocket" };
/** Named anew each time: a stub does not survive the restart of its object. */
const hub = () => env.EVENT_HUB.getByName("default");

async function canvas(query = ""): Promise<Listening> {
  return listeningTo(await send(`/ws${query}`, { headers: UPGRADE }));
}

async function aParentWithChild(): Promise<{ parent: Agent; child: Agent; stranger: Agent }> {
  const create = async (name: string, parentId?: string): Promise<Agent> => {
    const json = { name: `${name} ${crypto.randomUUID()}`, runtime: "external", parent_id: parentId };
    const { body } = await call("/workspaces", { json });
    return { id: body.id, token: body.connection.auth_token };
  };
  const parent = await create("parent");
  const elsewhere = await create("elsewhere");
  return { parent, child: await create("child", parent.id), stranger: await create("stranger", elsewhere.id) };
}

async function hubSockets(): Promise<number> {
  return runInDurableObject(
    hub(),
    (_, state) => state.getWebSockets().filter(({ readyState }) => readyState === WebSocket.OPEN).length,
  );
}

describe("a canvas in open dev mode", () => {
  it("sees a workspace come online, be sent a message, and answer its user, in this order", async () => {
    const socket = await canvas();
    const agent = await anAgent();
    await tell(agent, "hello");
    const attachments = [{ uri: `platform-pending:${agent.id}/f`, name: "a.txt", mimeType: "text/plain", size: 3 }];
    await call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "hi", attachments } });
    const [online, logged, message] = await socket.framesOf(agent.id, 3);
    expect(online).toMatchObject({ event: "WORKSPACE_ONLINE", payload: { delivery_mode: "poll" } });
    expect(logged).toMatchObject({
      event: "ACTIVITY_LOGGED",
      payload: { activity_type: "a2a_receive", source_id: null },
    });
    expect(logged.payload.request_body.params.message.parts).toEqual([{ kind: "text", text: "hello" }]);
    expect(message).toMatchObject({ event: "AGENT_MESSAGE", payload: { message: "hi", workspace_id: agent.id } });
    expect(message.payload.attachments).toEqual(attachments);
    expect(Object.keys(message).sort()).toEqual(["event", "id", "payload", "timestamp", "workspace_id"]);
  });

  it("sees every message once and in order, however many come at once", async () => {
    const socket = await canvas();
    const agent = await anAgent();
    const texts = Array.from({ length: 30 }, (_, index) => `message ${index}`);
    for (const text of texts) await tell(agent, text);
    const frames = await socket.framesOf(agent.id, 31);
    expect(frames.slice(1).map(({ payload }) => payload.request_body.params.message.parts[0].text)).toEqual(texts);
  });

  it("loses nothing when the hub fails between the commit and the telling, and then restarts", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const socket = await canvas();
    const agent = await anAgent();
    const [{ id: since }] = await socket.framesOf(agent.id, 1);
    await runInDurableObject(hub(), (_, { storage }) => {
      storage.sql.exec("INSERT INTO schema_steps (id) VALUES (1000)");
    });
    await evictDurableObject(hub());
    await tell(agent, "while the hub was down");
    const workspace = env.WORKSPACE.getByName(agent.id);
    await until("the workspace has set its alarm to tell again", () =>
      runInDurableObject(workspace, async (_, { storage }) => {
        const alarmAt = await storage.getAlarm();
        return alarmAt !== null && alarmAt <= Date.now() + 5_000;
      }),
    );
    await runInDurableObject(hub(), (_, { storage }) => {
      storage.sql.exec("DELETE FROM schema_steps WHERE id = 1000");
    });
    await expect(runInDurableObject(hub(), (_, state) => state.abort("restart"))).rejects.toThrow("restart");
    const again = await canvas(`?since=${since}`);
    vi.setSystemTime(Date.now() + 60_000);
    await runDurableObjectAlarm(workspace);
    await tell(agent, "afterwards");
    const frames = await again.framesOf(agent.id, 2);
    expect(frames.map(({ payload }) => payload.request_body.params.message.parts[0].text)).toEqual([
      "while the hub was down",
      "afterwards",
    ]);
  });

  it("resumes after the number that it names", async () => {
    const socket = await canvas();
    const agent = await anAgent();
    const [{ id: since }] = await socket.framesOf(agent.id, 1);
    socket.close();
    await tell(agent, "missed");
    const again = await canvas(`?since=${since}`);
    expect((await again.framesOf(agent.id, 1))[0].payload.request_body.params.message.parts[0].text).toBe("missed");
    expect(await (await canvas("?since=nonsense")).frame()).toMatchObject({ event: "resync" });
  });

  it("is refused with 400 when it does not upgrade, and with 403 from a page of a foreign origin", async () => {
    expect(await call("/ws")).toMatchObject({ status: 400, body: { error: "Bad Request" } });
    const foreign = { ...UPGRADE, Origin: "https://evil.example" };
    expect(await call("/ws", { headers: foreign })).toMatchObject({ status: 403, body: { error: "Forbidden" } });
    expect((await call("/ws", { headers: { ...foreign, "Sec-Fetch-Site": "cross-site" } })).status).toBe(403);
    for (const origin of ["http://localhost:3000", BASE]) {
      expect((await send("/ws", { headers: { ...UPGRADE, Origin: origin } })).status).toBe(101);
    }
  });
});

describe("an agent on /ws", () => {
  it("hears of its relatives and not of strangers", async () => {
    const { parent, child, stranger } = await aParentWithChild();
    const headers = { ...UPGRADE, "X-Workspace-ID": parent.id };
    const socket = await listeningTo(await send("/ws", { headers, token: parent.token }));
    await tell(stranger, "not for you");
    await tell(child, "for your child");
    await tell(parent, "for you");
    const ids: string[] = [];
    while (!ids.includes(parent.id)) ids.push((await socket.frame()).workspace_id);
    expect(new Set(ids)).toEqual(new Set([child.id, parent.id]));
  });

  it("is known by its token alone, in the header or among the subprotocols", async () => {
    const { parent, stranger } = await aParentWithChild();
    const bearer = `posthouse.bearer.${Buffer.from(parent.token).toString("base64url")}`;
    const byProtocol = await send("/ws", {
      headers: { ...UPGRADE, "Sec-WebSocket-Protocol": `posthouse.events, ${bearer}` },
    });
    expect(byProtocol.headers.get("Sec-WebSocket-Protocol")).toBe("posthouse.events");
    const sockets = [
      await listeningTo(byProtocol),
      await listeningTo(await send("/ws", { headers: UPGRADE, token: parent.token })),
    ];
    await tell(stranger, "not for you");
    await tell(parent, "for you");
    for (const socket of sockets) expect(await socket.frame()).toMatchObject({ workspace_id: parent.id });
  });

  it.each([
    ["no bearer", () => undefined, "missing workspace auth token"],
    ["another workspace's bearer", async () => (await anAgent()).token, "invalid workspace auth token"],
    ["a bearer that is none", () => "mol_nonsense", "invalid workspace auth token"],
  ])("is refused with 401 when it names itself and shows %s", async (_, token, error) => {
    const agent = await anAgent();
    const shown = await token();
    const headers = { ...UPGRADE, "X-Workspace-ID": agent.id };
    const refused = await call("/ws", { headers, ...(shown === undefined ? {} : { token: shown }) });
    expect(refused).toMatchObject({ status: 401, body: { error } });
    const misspelt = { ...UPGRADE, "X-Workspace-ID": agent.id.toUpperCase() };
    expect((await call("/ws", { headers: misspelt, token: agent.token })).status).toBe(400);
  });
});

describe("a workspace's event stream", () => {
  class Stream {
    readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
    #text = "";

    constructor(answer: Response) {
      if (!answer.body) throw new Error("no stream");
      this.#reader = answer.body.getReader();
    }

    async block(): Promise<string> {
      const decoder = new TextDecoder();
      for (;;) {
        const end = this.#text.indexOf("\n\n");
        if (end >= 0) {
          const block = this.#text.slice(0, end);
          this.#text = this.#text.slice(end + 2);
          return block;
        }
        const { value, done } = await this.#reader.read();
        if (done) throw new Error("the stream ended");
        this.#text += decoder.decode(value, { stream: true });
      }
    }

    cancel(): Promise<void> {
      return this.#reader.cancel();
    }
  }

  it("begins with a ping, has the contract's headers, and tells of this workspace alone", async () => {
    const [agent, other] = [await anAgent(), await anAgent()];
    const answer = await send(`/workspaces/${agent.id}/events/stream`, { token: agent.token });
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      "content-type": "text/event-stream",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    });
    const stream = new Stream(answer);
    expect(await stream.block()).toBe(": ping");
    await tell(other, "not for you");
    await call("/registry/heartbeat", {
      token: agent.token,
      json: { workspace_id: agent.id, current_task: "reading" },
    });
    const [idLine, dataLine = ""] = (await stream.block()).split("\n");
    expect(idLine).toMatch(/^id: \d+$/);
    expect(JSON.parse(dataLine.slice("data: ".length))).toEqual({
      type: "TASK_UPDATED",
      timestamp: expect.any(Number),
      data: { current_task: "reading", active_tasks: 0 },
    });
  });

  it("resumes after Last-Event-ID, and leaves the hub when its reader leaves", async () => {
    const agent = await anAgent();
    const path = `/workspaces/${agent.id}/events/stream`;
    const first = new Stream(await send(path, { token: agent.token }));
    await first.block();
    await tell(agent, "seen");
    const [idLine = ""] = (await first.block()).split("\n");
    const before = await hubSockets();
    await first.cancel();
    await until("the hub's socket has closed", async () => (await hubSockets()) === before - 1);
    await tell(agent, "missed");
    const headers = { "Last-Event-ID": idLine.slice("id: ".length) };
    const again = new Stream(await send(path, { token: agent.token, headers }));
    expect(await again.block()).toBe(": ping");
    expect(await again.block()).toContain('"missed"');
    await again.cancel();
  });

  it("is open to everybody in open dev mode", async () => {
    const stream = new Stream(await send(`/workspaces/${(await anAgent()).id}/events/stream`));
    expect(await stream.block()).toBe(": ping");
    await stream.cancel();
  });

  it("is 404 for a workspace that nobody created, 400 for no id, and 401 for a foreign bearer", async () => {
    const nobody = crypto.randomUUID();
    expect(await call(`/workspaces/${nobody}/events/stream`)).toMatchObject({
      status: 404,
      body: { error: "workspace not found" },
    });
    expect((await call("/workspaces/nonsense/events/stream")).status).toBe(400);
    const { token } = await anAgent();
    expect((await call(`/workspaces/${(await anAgent()).id}/events/stream`, { token })).status).toBe(401);
  });
});

describe("the history of events", () => {
  it("lists a workspace's recorded events, newest first, as the ledger has them", async () => {
    const agent = await anAgent();
    const events = await until("the ledger has the events", async () => {
      const { body } = await call(`/events/${agent.id}`);
      return body.length > 0 && body;
    });
    expect(events).toEqual([
      {
        id: expect.any(String),
        event_type: "WORKSPACE_ONLINE",
        workspace_id: agent.id,
        created_at: expect.stringMatching(/Z$/),
        payload: expect.objectContaining({ delivery_mode: "poll" }),
      },
    ]);
  });

  it("shows at most 100, of one workspace or of all, and nothing of an unknown one", async () => {
    const id = crypto.randomUUID();
    await query(
      `INSERT INTO structure_events (id, workspace_id, event_type, payload, created_at, version)
       SELECT gen_random_uuid(), $1, 'CHANNEL_MESSAGE', '{"n":' || n || '}', '2999-01-01Z', n FROM generate_series(1, 101) n`,
      [id],
    );
    await query("INSERT INTO structure_events (id, created_at, version) VALUES ($1, '2999-01-02Z', 0)", [
      crypto.randomUUID(),
    ]);
    const { body: own } = await call(`/events/${id}`);
    expect(own).toHaveLength(100);
    expect(own.slice(0, 2).map(({ payload }: { payload: object }) => payload)).toEqual([{ n: 101 }, { n: 100 }]);
    const { body: all } = await call("/events");
    expect(all).toHaveLength(100);
    expect(all[0]).toMatchObject({ event_type: "", workspace_id: null, payload: {} });
    expect((await call(`/events/${crypto.randomUUID()}`)).text).toBe("[]");
  });

  it("is 400 for no id, 401 without an operator's bearer, and 503 while Postgres is away", async () => {
    expect(await call("/events/nonsense")).toMatchObject({ status: 400, body: { error: "invalid workspace ID" } });
    const { token } = await anAgent();
    expect((await call("/events", { token })).status).toBe(401);
    const lane = aLane();
    await away(lane);
    onTestFinished(() => back(lane));
    const cutOff = { ...env, NEON_FETCH_ENDPOINT: String(env.NEON_FETCH_ENDPOINT).replace(/[^/]+$/, lane) };
    const answer = await app.fetch(new Request(`${BASE}/events`), cutOff, createExecutionContext());
    expect(answer.status).toBe(503);
    expect(await answer.json()).toMatchObject({ code: "platform_unavailable" });
  });
});
