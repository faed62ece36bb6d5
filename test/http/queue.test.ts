import { afterEach, describe, expect, it, vi } from "vitest";
import { aPushAgent } from "../support/agent-server.ts";
import { away, back } from "../support/ledger.ts";
import { type Agent, aMessage, anAgent, call, poll, tell } from "../support/platform.ts";
import { beat, itemOf, itemWhen } from "../support/queue-item.ts";
import { until } from "../support/until.ts";

const DAY_MS = 24 * 60 * 60_000;

/** A push agent that is busy for the first message and then as the script says, and the queue id of that message. */
async function aBusyAgent(...then: string[]) {
  const agent = await aPushAgent("script");
  await agent.player.play("status/503", ...then);
  const sender = await anAgent();
  const { body } = await tell(agent, "do it", sender);
  return { agent, sender, queueId: body.queue_id as string };
}

function register(agent: Agent, more: Record<string, unknown>) {
  return call("/registry/register", { token: agent.token, json: { id: agent.id, agent_card: {}, ...more } });
}

afterEach(() => {
  vi.useRealTimers();
});

describe("a request that finds its agent busy", () => {
  it("twice, then idle, is answered: one completed item, one row", async () => {
    const { agent, sender, queueId } = await aBusyAgent("status/429", "echo");
    await beat(agent);
    await itemWhen(agent, queueId, "queued", 1);
    await beat(agent);
    const item = await itemWhen(agent, queueId, "completed");
    expect(item).toMatchObject({
      queue_id: queueId,
      workspace_id: agent.id,
      priority: 50,
      attempts: 2,
      response_body: { result: { parts: [{ kind: "text", text: "echo" }] } },
    });
    expect(item.last_error).toBeUndefined();
    expect(await agent.player.received()).toHaveLength(3);
    expect((await poll(agent)).body).toMatchObject([
      { source_id: sender.id, status: "ok", response_body: item.response_body },
    ]);
  });

  it("waits while the agent has all hands full", async () => {
    const { agent, queueId } = await aBusyAgent("echo");
    await beat(agent, { active_tasks: 1 });
    expect((await itemOf(agent, queueId)).body).toMatchObject({ status: "queued", attempts: 0 });
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("is sent on alone: one item a heartbeat, the oldest first, none while another is in the agent's hands", async () => {
    const { agent, queueId } = await aBusyAgent("status/503", "hold");
    const { body: second } = await tell(agent, "and this");
    expect(second.queue_depth).toBe(2);
    await beat(agent);
    await until("the agent has the first", async () => (await agent.player.received()).length === 3);
    await beat(agent);
    expect((await itemOf(agent, second.queue_id)).body.status).toBe("queued");
    await agent.player.release();
    await itemWhen(agent, queueId, "completed");
  });

  it("fails after five attempts, with the reason", async () => {
    const { agent, queueId } = await aBusyAgent("status/503");
    for (let attempt = 1; attempt <= 5; attempt++) {
      await beat(agent);
      await itemWhen(agent, queueId, attempt < 5 ? "queued" : "failed", attempt);
    }
    expect((await itemOf(agent, queueId)).body).toMatchObject({ last_error: "agent busy (HTTP 503)" });
    await beat(agent);
    expect(await agent.player.received()).toHaveLength(6);
    expect((await poll(agent)).body).toMatchObject([{ status: "error" }]);
  });

  it("is never sent again once it may have been delivered", async () => {
    const { agent, queueId } = await aBusyAgent("reset", "echo");
    await beat(agent);
    expect(await itemWhen(agent, queueId, "failed")).toMatchObject({
      last_error: expect.stringMatching(/^delivery unknown, not repeated: /),
    });
    await beat(agent);
    expect(await agent.player.received()).toHaveLength(2);
  });

  it("gets the same place when it is sent again", async () => {
    const agent = await aPushAgent("status/503");
    const message = aMessage("once", "same-id");
    const first = await call(`/workspaces/${agent.id}/a2a`, { json: message });
    const second = await call(`/workspaces/${agent.id}/a2a`, { json: message });
    expect(second).toMatchObject({ status: 202, body: first.body });
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("lands in the inbox of a target that has turned to polling", async () => {
    const { agent, sender, queueId } = await aBusyAgent("echo");
    await register(agent, { delivery_mode: "poll" });
    const { body: rows } = await poll(agent, { direction: "in" });
    expect(rows).toMatchObject([
      { source_id: sender.id, method: "message/send", request_body: { params: { message: { role: "user" } } } },
    ]);
    expect((await itemOf(agent, queueId)).body).toMatchObject({
      status: "completed",
      response_body: { status: "queued", delivery_mode: "poll", activity_id: rows[0].id },
    });
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("is dropped when it was not worth sending any longer", async () => {
    const agent = await aPushAgent("status/503");
    const { method, params } = aMessage("soon");
    const { body } = await call(`/workspaces/${agent.id}/a2a`, {
      json: { method, params: { ...params, expires_in_seconds: 30 } },
    });
    expect((await itemOf(agent, body.queue_id)).body.expires_at).toBeDefined();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 31_000 });
    await beat(agent);
    expect((await itemOf(agent, body.queue_id)).body).toMatchObject({
      status: "dropped",
      last_error: "expired before the agent was free",
    });
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("takes any number for its end, however large", async () => {
    const agent = await aPushAgent("status/503");
    const { method, params } = aMessage("whenever");
    const json = { method, params: { ...params, expires_in_seconds: 1e300 } };
    expect(await call(`/workspaces/${agent.id}/a2a`, { json })).toMatchObject({ status: 202 });
  });
});

describe("a queue item", () => {
  it("is shown to its caller, its target and operators, and does not exist for anybody else", async () => {
    const { agent, sender, queueId } = await aBusyAgent();
    const stranger = await anAgent();
    const show = (token?: string, id = queueId) =>
      call(`/workspaces/${agent.id}/a2a/queue/${id}`, token === undefined ? {} : { token });
    for (const token of [sender.token, agent.token, undefined]) {
      expect(await show(token)).toMatchObject({ status: 200, body: { queue_id: queueId, status: "queued" } });
    }
    const absent = { status: 404, body: { error: "queue item not found", code: "a2a.queue_item_not_found" } };
    expect(await show(stranger.token)).toMatchObject(absent);
    for (const id of ["not-a-uuid", crypto.randomUUID(), queueId.replace(/.$/, (end) => (end === "0" ? "1" : "0"))]) {
      expect(await show(sender.token, id)).toMatchObject(absent);
    }
    expect(await call(`/workspaces/${crypto.randomUUID()}/a2a/queue/${queueId}`)).toMatchObject(absent);
    expect(await show("mol_wrong")).toMatchObject({ status: 401 });
    const claimed = { "X-Workspace-ID": sender.id };
    expect(
      await call(`/workspaces/${agent.id}/a2a/queue/${queueId}`, { token: stranger.token, headers: claimed }),
    ).toMatchObject({ status: 401 });
  });

  it("shows an answer of more than 512 KiB whole", async () => {
    const { agent, queueId } = await aBusyAgent(`large/${1024 * 1024}`);
    await beat(agent);
    const { response_body } = await itemWhen(agent, queueId, "completed");
    expect(JSON.stringify(response_body)).toHaveLength(1024 * 1024);
  });
});

describe("operators", () => {
  it("see what waits, the oldest first, and how much for which target", async () => {
    const { agent, queueId } = await aBusyAgent("status/503");
    const { body: second } = await tell(agent, "and this");
    const list = () => call(`/admin/queue?workspace_id=${agent.id}`);
    const { body } = await until("the ledger has both", async () => {
      const answer = await list();
      return answer.body.count === 2 && answer;
    });
    expect(body.items).toMatchObject([
      { queue_id: queueId, workspace_id: agent.id, status: "queued" },
      { queue_id: second.queue_id },
    ]);
    expect(body.targets).toMatchObject([
      { workspace_id: agent.id, queued: 2, dispatched: 0, oldest_enqueued_at: expect.stringMatching(/Z$/) },
    ]);
    expect((await call(`/admin/queue?status=completed&workspace_id=${agent.id}`)).body).toMatchObject({ count: 0 });
  });

  it.each([
    "/admin/queue?status=bogus",
    "/admin/queue?limit=0",
    "/admin/queue?limit=1001",
    "/admin/queue?workspace_id=x",
  ])("are told when %s makes no sense", async (path) => {
    expect(await call(path)).toMatchObject({ status: 400, body: { hint: expect.any(String) } });
  });

  it("are told when the ledger is away, and can still clear one queue", async () => {
    const { agent, queueId } = await aBusyAgent();
    await away();
    try {
      expect(await call("/admin/queue")).toMatchObject({ status: 503, body: { code: "platform_unavailable" } });
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 2 * 60 * 60_000 });
      const path = `/admin/a2a-queue/drop-stale?workspace_id=${agent.id}`;
      expect(await call(path, { method: "POST" })).toMatchObject({ status: 200, body: { dropped: 1 } });
      expect(await call(path, { method: "POST" })).toMatchObject({ body: { dropped: 0 } });
    } finally {
      await back();
    }
    expect((await itemOf(agent, queueId)).body).toMatchObject({
      status: "dropped",
      last_error: "dropped as stale by an operator",
    });
  });

  it("clear every queue of what is too old, and of nothing else", async () => {
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() - 3 * DAY_MS });
    const old = await aBusyAgent();
    vi.useRealTimers();
    const young = await aBusyAgent();
    await until("the ledger has it", async () => {
      const { body } = await call(`/admin/queue?workspace_id=${old.agent.id}`);
      return body.count === 1;
    });
    const { body } = await call("/admin/a2a-queue/drop-stale?max_age_minutes=1440", { method: "POST" });
    expect(body.dropped).toBeGreaterThanOrEqual(1);
    expect((await itemOf(old.agent, old.queueId)).body.status).toBe("dropped");
    expect((await itemOf(young.agent, young.queueId)).body.status).toBe("queued");
    expect(await call("/admin/a2a-queue/drop-stale?max_age_minutes=x", { method: "POST" })).toMatchObject({
      status: 400,
    });
  });

  it("alone may do this", async () => {
    const { token } = await anAgent();
    expect(await call("/admin/queue", { token })).toMatchObject({ status: 401 });
    expect(await call("/admin/a2a-queue/drop-stale", { token, method: "POST" })).toMatchObject({ status: 401 });
  });
});
