import { describe, expect, it } from "vitest";
import { aPushAgent, PushAgent } from "../support/agent-server.ts";
import { type Agent, aMessage, anAgent, call, poll, tell } from "../support/platform.ts";
import { becomeUnroutable, becomeUrlless, fillQueue } from "../support/push-rows.ts";

/** The rows of a workspace's feed, oldest first. */
async function rowsOf(agent: Agent) {
  return (await poll(agent)).body.toReversed();
}

function beat(agent: Agent, more: Record<string, unknown> = {}) {
  return call("/registry/heartbeat", { token: agent.token, json: { workspace_id: agent.id, ...more } });
}

describe("a message to a push target", () => {
  it("is answered with the agent's own words, which are one row of its feed", async () => {
    const agent = await aPushAgent("echo");
    const sender = await anAgent();
    const answer = await tell(agent, "hello", sender);
    expect(answer).toMatchObject({ status: 200, body: { result: { parts: [{ kind: "text", text: "echo" }] } } });
    expect(answer.headers.get("Content-Type")).toBe("application/json");
    expect(await rowsOf(agent)).toMatchObject([
      {
        method: "message/send",
        source_id: sender.id,
        target_id: agent.id,
        status: "ok",
        summary: `message/send → ${agent.id}`,
        request_body: { params: { message: { parts: [{ kind: "text", text: "hello" }] } } },
        response_body: answer.body,
        duration_ms: expect.any(Number),
      },
    ]);
  });

  it("reaches the agent byte for byte, big integers and order of keys included", async () => {
    const agent = await aPushAgent("echo");
    const envelope =
      '{"params":{"zeta":1,"message":{"role":"user","messageId":"m-1","parts":[{"text":"ü","kind":"text"}]},"n":12345678901234567890},"jsonrpc":"2.0","method":"message/send","id":9007199254740993}';
    await call(`/workspaces/${agent.id}/a2a`, { body: envelope });
    expect(await agent.player.received()).toMatchObject([
      { body: envelope, headers: { "content-type": "application/json" } },
    ]);
  });

  it("of more than 512 KiB reaches the agent whole and is shown whole", async () => {
    const agent = await aPushAgent("echo");
    const text = "x".repeat(700 * 1024);
    expect((await tell(agent, text)).status).toBe(200);
    const [received] = await agent.player.received();
    expect(JSON.parse(received?.body ?? "").params.message.parts).toEqual([{ kind: "text", text }]);
    const [row] = await rowsOf(agent);
    expect(row.request_body.params.message.parts).toEqual([{ kind: "text", text }]);
  });

  it("that is sent again calls the agent once and is answered with the same words", async () => {
    const agent = await aPushAgent("echo");
    const message = aMessage("once", "same-id");
    const first = await call(`/workspaces/${agent.id}/a2a`, { json: message });
    const second = await call(`/workspaces/${agent.id}/a2a`, { json: message });
    expect(second).toMatchObject({ status: 200, body: first.body });
    expect(await agent.player.received()).toHaveLength(1);
    expect(await rowsOf(agent)).toHaveLength(1);
  });

  it("that is sent twice at once calls the agent once and answers both", async () => {
    const agent = await aPushAgent("hold");
    const message = aMessage("once", "same-id");
    const both = [1, 2].map(() => call(`/workspaces/${agent.id}/a2a`, { json: message }));
    await agent.player.release();
    expect((await Promise.all(both)).map(({ status }) => status)).toEqual([200, 200]);
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("that comes in many times among many others calls the agent once each", async () => {
    const agent = await aPushAgent("echo");
    const messages = ["a", "b", "c", "d"].map((id) => aMessage(`work ${id}`, id));
    const sendings = [...messages, ...messages.toReversed(), ...messages];
    const answers = await Promise.all(sendings.map((json) => call(`/workspaces/${agent.id}/a2a`, { json })));
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await agent.player.received()).toHaveLength(messages.length);
    expect(await rowsOf(agent)).toHaveLength(messages.length);
  });

  it("with the same id and other words is another message", async () => {
    const agent = await aPushAgent("echo");
    for (const text of ["one", "two"]) await call(`/workspaces/${agent.id}/a2a`, { json: aMessage(text, "same-id") });
    expect(await agent.player.received()).toHaveLength(2);
  });

  it("that surely was not delivered is tried again when it is sent again", async () => {
    const player = new PushAgent();
    const agent = await anAgent({ delivery_mode: "push", url: player.url("cloudflare/521") });
    const message = aMessage("again", "same-id");
    expect(await call(`/workspaces/${agent.id}/a2a`, { json: message })).toMatchObject({ status: 502 });
    await call("/registry/register", {
      token: agent.token,
      json: { id: agent.id, delivery_mode: "push", url: player.url("echo"), agent_card: {} },
    });
    expect(await call(`/workspaces/${agent.id}/a2a`, { json: message })).toMatchObject({ status: 200 });
    expect(await player.received()).toHaveLength(2);
  });
});

describe("the outcomes of a push call", () => {
  it("agent answered < 300: status and body pass as application/json, whatever the agent called it", async () => {
    const answer = await tell(await aPushAgent("text/201"), "hello");
    expect(answer).toMatchObject({ status: 201, text: "<html>words</html>" });
    expect(answer.headers.get("Content-Type")).toBe("application/json");
  });

  it.each([400, 404, 500, 502, 504])("agent answered %d: its own status and body pass through", async (status) => {
    const agent = await aPushAgent(`status/${status}`);
    expect(await tell(agent, "hello")).toMatchObject({ status, body: { error: `agent says ${status}` } });
    expect(await rowsOf(agent)).toMatchObject([{ status: "error", error_detail: `agent says ${status}` }]);
  });

  it("agent answered >= 300 without JSON: never runs as HTML under the platform's origin", async () => {
    const answer = await tell(await aPushAgent("text/500"), "hello");
    expect(answer).toMatchObject({ status: 500, text: "<html>words</html>" });
    expect(answer.headers.get("Content-Type")).toBe("text/plain; charset=utf-8");
  });

  it("agent redirects: nothing is followed, the answer passes without its Location", async () => {
    const agent = await aPushAgent("redirect");
    const answer = await tell(agent, "hello");
    expect(answer).toMatchObject({ status: 302, text: "{}" });
    expect(answer.headers.get("Location")).toBeNull();
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("unknown: 404 workspace not found for the canvas, the hierarchy's 403 for a workspace", async () => {
    const nobody = { id: crypto.randomUUID(), token: "" };
    expect(await tell(nobody, "hello")).toMatchObject({ status: 404, body: { error: "workspace not found" } });
    expect(await tell(nobody, "hello", await anAgent())).toMatchObject({ status: 403 });
  });

  it("no url: 503 with the status", async () => {
    const agent = await aPushAgent("echo");
    await becomeUrlless(agent.id);
    const answer = await tell(agent, "hello");
    expect(answer).toMatchObject({ status: 503, body: { error: "workspace has no URL", status: "online" } });
  });

  it("url not public: 502, nothing is sent", async () => {
    const agent = await aPushAgent("echo");
    await becomeUnroutable(agent.id);
    expect(await tell(agent, "hello")).toMatchObject({
      status: 502,
      body: { error: "workspace URL is not publicly routable" },
    });
    expect(await agent.player.received()).toHaveLength(0);
    expect(await rowsOf(agent)).toMatchObject([{ status: "error" }]);
  });

  it("connect failure: 502, unknown, and no word of a restart", async () => {
    const agent = await aPushAgent("reset");
    const answer = await tell(agent, "hello");
    expect(answer).toMatchObject({
      status: 502,
      body: { error: "failed to reach workspace agent", delivery_confirmed: false },
    });
    expect(answer.body.restarting).toBeUndefined();
    const [row] = await rowsOf(agent);
    expect(row).toMatchObject({ status: "error", summary: expect.stringMatching(/^A2A request to .* failed: /) });
    expect(row.response_body).toBeUndefined();
    expect((await call(`/workspaces/${agent.id}`)).body.status).toBe("online");
  });

  it("answer cut: 502 with the delivery confirmed", async () => {
    expect(await tell(await aPushAgent("cut"), "hello")).toMatchObject({
      status: 502,
      body: { error: "failed to read agent response", delivery_confirmed: true },
    });
  });

  it("answer of 3 MiB: passes whole and is shown whole", async () => {
    const bytes = 3 * 1024 * 1024;
    const agent = await aPushAgent(`large/${bytes}`);
    const answer = await tell(agent, "hello");
    expect(answer.status).toBe(200);
    expect(answer.text).toHaveLength(bytes);
    const [row] = await rowsOf(agent);
    expect(row.response_body).toEqual(answer.body);
  });

  it("answer of more than 10 MiB: failed, never cut", async () => {
    const agent = await aPushAgent(`large/${10 * 1024 * 1024 + 1}`);
    expect(await tell(agent, "hello")).toMatchObject({ status: 502, body: { delivery_confirmed: true } });
    expect(await rowsOf(agent)).toMatchObject([{ status: "error" }]);
  });

  it.each([520, 522, 524])(
    "Cloudflare answered %d: unknown, its page never passes as the agent's words",
    async (code) => {
      expect(await tell(await aPushAgent(`cloudflare/${code}`), "hello")).toMatchObject({
        status: 502,
        body: { error: "failed to reach workspace agent", delivery_confirmed: false },
      });
    },
  );

  it.each([521, 523, 530])("Cloudflare answered %d: surely not delivered", async (code) => {
    const { status, body } = await tell(await aPushAgent(`cloudflare/${code}`), "hello");
    expect(status).toBe(502);
    expect(body.delivery_confirmed).toBeUndefined();
  });

  it.each([429, 503])("busy (%d): 202 with a queue id, and no row until there is an answer", async (code) => {
    const agent = await aPushAgent(`status/${code}`);
    expect(await tell(agent, "hello")).toMatchObject({
      status: 202,
      body: { queued: true, queue_id: expect.any(String), queue_depth: 1, message: expect.any(String) },
    });
    expect(await rowsOf(agent)).toEqual([]);
  });

  it("busy, heartbeat capability session: 503, nothing is queued", async () => {
    const agent = await aPushAgent("status/503");
    await beat(agent, { runtime_metadata: { capabilities: { session: true } } });
    const answer = await tell(agent, "hello");
    expect(answer).toMatchObject({
      status: 503,
      body: {
        error: "workspace agent busy — adapter handles retry (native_session)",
        busy: true,
        retry_after: 30,
        native_session: true,
      },
    });
    expect(answer.headers.get("Retry-After")).toBe("30");
  });

  it("busy, queue full: 503 with a time to wait", async () => {
    const agent = await aPushAgent("status/503");
    await fillQueue(agent.id);
    expect(await tell(agent, "hello")).toMatchObject({
      status: 503,
      body: { error: "workspace agent busy — retry after a short backoff", busy: true, retry_after: 30 },
    });
  });
});
