import { env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { timestampToMicros } from "../../src/domain/activity.ts";
import { type Agent, anAgent, call, poll, send, tell } from "../support/platform.ts";
import { until } from "../support/until.ts";

function workspaceOf({ id }: Agent) {
  return env.WORKSPACE.get(env.WORKSPACE.idFromName(id));
}

/** Waits until so many sockets hang on a workspace's object. */
function listening(agent: Agent, count: number): Promise<boolean> {
  return until(`${count} listen`, () =>
    runInDurableObject(workspaceOf(agent), (_instance, state) => state.getWebSockets().length === count),
  );
}

describe("a held poll", () => {
  it("answers with the row as soon as one arrives", async () => {
    const agent = await anAgent();
    const held = poll(agent, { wait: "25" });
    await listening(agent, 1);
    await tell(agent, "hello");
    const { status, body } = await held;
    expect(status).toBe(200);
    expect(body).toMatchObject([{ method: "message/send" }]);
    await listening(agent, 0);
  });

  it("answers at once when there is a row after its cursor already", async () => {
    const agent = await anAgent();
    await tell(agent, "one");
    const [{ id }] = (await poll(agent)).body;
    await tell(agent, "two");
    const { body } = await poll(agent, { wait: "25", since_id: id });
    expect(body).toHaveLength(1);
  });

  it("answers [] when its time is over", async () => {
    const agent = await anAgent();
    expect(await poll(agent, { wait: "1" })).toMatchObject({ status: 200, text: "[]" });
  });

  it("gets its row although the object was evicted while it waited", async () => {
    const agent = await anAgent();
    const held = poll(agent, { wait: "25" });
    await listening(agent, 1);
    await evictDurableObject(workspaceOf(agent), { webSockets: "hibernate" });
    await tell(agent, "after the eviction");
    expect((await held).body).toHaveLength(1);
  });

  it("is not woken by rows that its query leaves out", async () => {
    const agent = await anAgent();
    const held = poll(agent, { wait: "25", direction: "in" });
    await listening(agent, 1);
    await call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "mine" } });
    await tell(agent, "theirs");
    expect((await held).body).toMatchObject([{ method: "message/send" }]);
  });

  it("is a sign of life as long as it is held", async () => {
    const agent = await anAgent();
    const held = poll(agent, { wait: "25" });
    await listening(agent, 1);
    const connected = await runInDurableObject(workspaceOf(agent), (_instance, state) =>
      state.getWebSockets().some((socket) => socket.deserializeAttachment().digest !== null),
    );
    expect(connected).toBe(true);
    await tell(agent, "done");
    await held;
  });

  it("ends at once when its token is revoked", async () => {
    const agent = await anAgent();
    const held = poll(agent, { wait: "25" });
    await listening(agent, 1);
    const { body } = await call(`/workspaces/${agent.id}/tokens`, { token: agent.token });
    await call(`/workspaces/${agent.id}/tokens/${body.tokens[0].id}`, { method: "DELETE", token: agent.token });
    expect((await held).status).toBe(401);
    expect((await poll(agent, { wait: "25" })).status).toBe(401);
  });

  it("reaches two pollers of one token with every row: rows are not leased", async () => {
    const agent = await anAgent();
    const held = [poll(agent, { wait: "25" }), poll(agent, { wait: "25" })];
    await listening(agent, 2);
    await tell(agent, "for both");
    for (const { body } of await Promise.all(held)) expect(body).toHaveLength(1);
  });

  it("that finds its object full answers [] and asks to come back, as in a full isolate; a socket is 503", async () => {
    const agent = await anAgent();
    await runInDurableObject(workspaceOf(agent), (_instance, state) => {
      for (let socket = 0; socket < 1_000; socket++) state.acceptWebSocket(new WebSocketPair()[1]);
    });
    const full = await poll(agent, { wait: "25" });
    expect(full).toMatchObject({ status: 200, text: "[]" });
    expect(full.headers.get("Retry-After")).toBe("5");
    const headers = { Upgrade: "websocket" };
    const socket = await call(`/workspaces/${agent.id}/inbox/socket`, { token: agent.token, headers });
    expect(socket).toMatchObject({ status: 503, body: { code: "overloaded" } });
  });

  it("brings a page that is too large for a frame by a read of its own", async () => {
    const agent = await anAgent();
    const held = poll(agent, { wait: "25" });
    await listening(agent, 1);
    await tell(agent, "x".repeat(400_000));
    const { body } = await held;
    expect(body[0].request_body.params.message.parts[0].text).toHaveLength(400_000);
  });
});

describe("an inbox socket", () => {
  async function open(agent: Agent, query = "") {
    const response = await send(`/workspaces/${agent.id}/inbox/socket${query}`, {
      token: agent.token,
      headers: { Upgrade: "websocket" },
    });
    expect(response.status).toBe(101);
    const rows: { id: string; seq: number; request_body: { params: { message: { parts: { text: string }[] } } } }[] =
      [];
    response.webSocket?.addEventListener("message", ({ data }) => {
      rows.push(JSON.parse(String(data)));
    });
    response.webSocket?.accept();
    return { rows, socket: response.webSocket as WebSocket };
  }

  it("streams rows in order and resumes after a cursor without loss or repetition", async () => {
    const agent = await anAgent();
    const first = await open(agent);
    await tell(agent, "one");
    await tell(agent, "two");
    await until("two rows", async () => first.rows.length === 2);
    first.socket.close();
    await tell(agent, "three");
    const second = await open(agent, `?since_id=${first.rows[1]?.id}`);
    await tell(agent, "four");
    await until("two more rows", async () => second.rows.length === 2);
    const texts = [...first.rows, ...second.rows].map((row) => row.request_body.params.message.parts[0]?.text);
    expect(texts).toEqual(["one", "two", "three", "four"]);
  });

  it("moves the delivery watermark by an ack frame", async () => {
    const agent = await anAgent();
    const { rows, socket } = await open(agent);
    await tell(agent, "one");
    await until("a row", async () => rows.length === 1);
    socket.send(JSON.stringify({ ack: rows[0]?.id }));
    await until("the watermark has moved", async () => (await poll(agent, { from: "ack" })).body.length === 0);
  });

  it("carries a body that lies in R2 in full", async () => {
    const agent = await anAgent();
    const { rows } = await open(agent);
    await tell(agent, "y".repeat(700_000));
    await until("a row", async () => rows.length === 1);
    expect(rows[0]?.request_body.params.message.parts[0]?.text).toHaveLength(700_000);
  });

  it("is refused without an upgrade", async () => {
    const agent = await anAgent();
    expect(await call(`/workspaces/${agent.id}/inbox/socket`, { token: agent.token })).toMatchObject({
      status: 400,
      body: { error: "Bad Request" },
    });
  });
});

describe("200 senders at once", () => {
  it("leave 200 rows in strict order, none lost and none twice, at any page size", async () => {
    const agent = await anAgent();
    const sent = Array.from({ length: 200 }, (_, index) => `message ${index}`);
    const answers = await Promise.all(sent.map((text) => tell(agent, text)));
    expect(answers.every(({ status }) => status === 200)).toBe(true);
    const { body: newest } = await poll(agent, { limit: "500" });
    expect(newest).toHaveLength(200);
    const oldest = newest.at(-1);
    for (const limit of ["1", "7", "100", "500"]) {
      const seen: { id: string; seq: number; created_at: string }[] = [oldest];
      for (let page = [oldest]; page.length > 0; ) {
        page = (await poll(agent, { limit, since_id: seen.at(-1)?.id ?? "" })).body;
        seen.push(...page);
        if (limit === "1" && seen.length === 20) break;
      }
      const expected = limit === "1" ? 20 : 200;
      expect(new Set(seen.map(({ id }) => id)).size).toBe(expected);
      expect(seen.every((row, index) => index === 0 || row.seq > (seen[index - 1]?.seq ?? 0))).toBe(true);
      const times = seen.map(({ created_at }) => timestampToMicros(created_at) ?? 0);
      expect(times.every((time, index) => index === 0 || time > (times[index - 1] ?? 0))).toBe(true);
    }
  });
});
