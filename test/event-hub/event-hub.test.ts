import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { digestOf } from "../../src/domain/credential.ts";
import type { HubListener } from "../../src/domain/hub-listener.ts";
import { CREDENTIAL_ENDED, KEEP_ALIVE_MS, SOCKET_CHARS_MAX } from "../../src/durable-objects/event-hub/audience.ts";
import { HISTORY_EVENTS_MAX, REPLAY_CHARS_MAX } from "../../src/durable-objects/event-hub/history.ts";
import { anAgent, call } from "../support/platform.ts";
import { aHub, anEvent, ask, CANVAS, listen } from "./listening.ts";

const MEBIBYTE = 1024 * 1024;

function aWorkspace() {
  const workspaceId = crypto.randomUUID();
  return { workspaceId, path: [workspaceId] };
}

function atFixedTime(): void {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => {
    vi.useRealTimers();
  });
}

function passTime(ms: number): void {
  vi.setSystemTime(Date.now() + ms);
}

describe("a listener", () => {
  it("gets one frame per event, in order, with exactly the four keys and the hub's number", async () => {
    const hub = aHub();
    const canvas = await listen(hub);
    const { workspaceId, path } = aWorkspace();
    await hub.publish({ workspaceId, path, events: [anEvent(1, { first: 1 }), anEvent(2, { second: 2 })] });
    const [first, second] = await canvas.framesOf(workspaceId, 2);
    expect(first).toEqual({
      event: "ACTIVITY_LOGGED",
      workspace_id: workspaceId,
      timestamp: "2026-11-23T09:00:00.5Z",
      id: expect.any(Number),
      payload: { first: 1 },
    });
    expect(second).toMatchObject({ payload: { second: 2 } });
    expect(second.id).toBeGreaterThan(first.id);
  });

  it("gets an event once however often its workspace tells it, also after the hub was evicted", async () => {
    const hub = aHub();
    const canvas = await listen(hub);
    const { workspaceId, path } = aWorkspace();
    const events = [anEvent(1), anEvent(1, {}, "A2A_RESPONSE"), anEvent(2)];
    await hub.publish({ workspaceId, path, events });
    await hub.publish({ workspaceId, path, events });
    await evictDurableObject(hub);
    await hub.publish({ workspaceId, path, events: [...events, anEvent(3, { last: true })] });
    const frames = await canvas.framesOf(workspaceId, 4);
    expect(frames.map(({ event }) => event)).toEqual([
      "ACTIVITY_LOGGED",
      "A2A_RESPONSE",
      "ACTIVITY_LOGGED",
      "ACTIVITY_LOGGED",
    ]);
    expect(frames[3].payload).toEqual({ last: true });
  });

  it("gets what is told only once, each time it is told", async () => {
    const hub = aHub();
    const canvas = await listen(hub);
    const { workspaceId, path } = aWorkspace();
    const beat = anEvent(null, { active_tasks: 0 }, "WORKSPACE_HEARTBEAT");
    await hub.publish({ workspaceId, path, events: [beat] });
    await hub.publish({ workspaceId, path, events: [beat] });
    expect(await canvas.framesOf(workspaceId, 2)).toMatchObject([{ id: 0 }, { id: 0 }]);
  });

  it("is let down gently by a payload that no row can hold", async () => {
    const hub = aHub();
    const canvas = await listen(hub);
    const { workspaceId, path } = aWorkspace();
    await hub.publish({ workspaceId, path, events: [anEvent(1, { text: "x".repeat(2 * MEBIBYTE) })] });
    expect((await canvas.frame()).payload).toEqual({ payload_too_large: true });
  });

  it("is sent away when it is sent more than it can surely take", async () => {
    const hub = aHub();
    const canvas = await listen(hub);
    const { workspaceId, path } = aWorkspace();
    const events = Array.from({ length: SOCKET_CHARS_MAX / MEBIBYTE + 1 }, (_, index) =>
      anEvent(index + 1, { text: "x".repeat(MEBIBYTE) }),
    );
    await hub.publish({ workspaceId, path, events });
    expect(await canvas.closed()).toBe(1013);
  });

  it("hears of its own workspace and of those that it may talk to", async () => {
    const hub = aHub();
    const [parent, child, stranger] = [aWorkspace(), aWorkspace(), aWorkspace()];
    const root = crypto.randomUUID();
    const listener: HubListener = { ...CANVAS, filter: { kind: "kin", path: [root, parent.workspaceId] } };
    const agent = await listen(hub, { listener });
    await hub.publish({ ...stranger, path: [crypto.randomUUID(), stranger.workspaceId], events: [anEvent(1)] });
    await hub.publish({ ...child, path: [root, parent.workspaceId, child.workspaceId], events: [anEvent(1)] });
    await hub.publish({ ...parent, path: [root, parent.workspaceId], events: [anEvent(1)] });
    expect((await agent.frame()).workspace_id).toBe(child.workspaceId);
    expect((await agent.frame()).workspace_id).toBe(parent.workspaceId);
  });

  it("is kept through eviction, ignored when it speaks, and answered when it pings or leaves", async () => {
    const hub = aHub();
    const canvas = await listen(hub);
    const leaving = await listen(hub);
    await evictDurableObject(hub);
    canvas.send("anything");
    canvas.send("ping");
    expect(await canvas.text()).toBe("pong");
    leaving.close();
    expect(await leaving.closed()).toBe(1000);
    const { workspaceId, path } = aWorkspace();
    await hub.publish({ workspaceId, path, events: [anEvent(1)] });
    expect(await canvas.framesOf(workspaceId, 1)).toHaveLength(1);
  });
});

describe("a listener that comes back", () => {
  it("gets what it missed, of what it may hear, and then what comes", async () => {
    const hub = aHub();
    const [mine, other] = [aWorkspace(), aWorkspace()];
    const before = await listen(hub);
    await hub.publish({ ...mine, events: [anEvent(1)] });
    const { id: since } = await before.frame();
    before.close();
    await hub.publish({ ...mine, events: [anEvent(2, { missed: 1 })] });
    await hub.publish({ ...other, events: [anEvent(1, { other: true })] });
    await evictDurableObject(hub);
    const listener: HubListener = { ...CANVAS, filter: { kind: "one", workspaceId: mine.workspaceId } };
    const again = await listen(hub, { since, listener });
    await hub.publish({ ...mine, events: [anEvent(3, { live: 1 })] });
    expect((await again.frame()).payload).toEqual({ missed: 1 });
    expect((await again.frame()).payload).toEqual({ live: 1 });
  });

  it("misses nothing when nothing happened", async () => {
    const hub = aHub();
    const fresh = await listen(hub, { since: 0 });
    const mine = aWorkspace();
    await hub.publish({ ...mine, events: [anEvent(1)] });
    const { id: since } = await fresh.frame();
    const again = await listen(hub, { since });
    await hub.publish({ ...mine, events: [anEvent(2, { next: true })] });
    expect((await again.frame()).payload).toEqual({ next: true });
  });

  it("is told to read anew when it comes from another life of the hub", async () => {
    const hub = aHub();
    expect(await (await listen(hub, { since: 7 })).frame()).toEqual({
      event: "resync",
      workspace_id: "",
      timestamp: expect.any(String),
      id: 0,
      payload: {},
    });
    const mine = aWorkspace();
    const canvas = await listen(hub);
    await hub.publish({ ...mine, events: [anEvent(1)] });
    const { id } = await canvas.frame();
    for (const since of [-1, id - 1, id + 1]) {
      expect(await (await listen(hub, { since })).frame()).toMatchObject({ event: "resync", id });
    }
  });

  it("is told to read anew when what it missed is gone or too much", async () => {
    const hub = aHub();
    const mine = aWorkspace();
    const canvas = await listen(hub);
    await hub.publish({ ...mine, events: [anEvent(1)] });
    const { id: first } = await canvas.frame();
    canvas.close();
    const large = Array.from({ length: REPLAY_CHARS_MAX / MEBIBYTE + 1 }, (_, index) =>
      anEvent(index + 2, { text: "x".repeat(MEBIBYTE) }),
    );
    await hub.publish({ ...mine, events: large });
    expect((await (await listen(hub, { since: first })).frame()).event).toBe("resync");
    const many = Array.from({ length: HISTORY_EVENTS_MAX }, (_, index) => anEvent(index + 100));
    await hub.publish({ ...mine, events: many });
    expect((await (await listen(hub, { since: first })).frame()).event).toBe("resync");
    const kept = await runInDurableObject(hub, (_, { storage }) =>
      storage.sql.exec<{ kept: number }>("SELECT count(*) AS kept FROM hub_events").one(),
    );
    expect(kept).toEqual({ kept: HISTORY_EVENTS_MAX });
  });
});

describe("a quiet hub", () => {
  it("sends one keep-alive every 25 s in the listener's format, and none when nobody listens", async () => {
    atFixedTime();
    const hub = aHub();
    const canvas = await listen(hub);
    const stream = await listen(hub, { listener: { ...CANVAS, format: "stream" } });
    for (const _ of [1, 2]) {
      passTime(KEEP_ALIVE_MS);
      await evictDurableObject(hub);
      expect(await runDurableObjectAlarm(hub)).toBe(true);
      expect(await canvas.frame()).toMatchObject({ event: "KEEP_ALIVE", workspace_id: "", payload: {} });
      expect(await stream.text()).toBe("id: 0\n: keep-alive\n\n");
    }
    canvas.close();
    stream.close();
    await Promise.all([canvas.closed(), stream.closed()]);
    passTime(KEEP_ALIVE_MS);
    await runDurableObjectAlarm(hub);
    expect(await runDurableObjectAlarm(hub)).toBe(false);
  });

  it("ends sockets whose pass has expired or whose credential is no longer accepted, and spares the others", async () => {
    atFixedTime();
    const hub = aHub();
    const expired = await listen(hub, { listener: { ...CANVAS, until: Date.now() + KEEP_ALIVE_MS } });
    const foreign = await listen(hub, {
      listener: { ...CANVAS, credential: { kind: "admin", digest: digestOf("an admin token that was replaced") } },
    });
    const good = await listen(hub, { listener: { ...CANVAS, until: Date.now() + 2 * KEEP_ALIVE_MS } });
    passTime(KEEP_ALIVE_MS);
    await runDurableObjectAlarm(hub);
    expect(await expired.closed()).toBe(CREDENTIAL_ENDED);
    expect(await foreign.closed()).toBe(CREDENTIAL_ENDED);
    expect(await good.frame()).toMatchObject({ event: "KEEP_ALIVE" });
  });
});

describe("an agent's socket", () => {
  async function anAgentListening(hub = aHub()) {
    const agent = await anAgent();
    const listener: HubListener = {
      filter: { kind: "kin", path: [agent.id] },
      format: "frame",
      credential: { kind: "workspace", id: agent.id, digest: digestOf(agent.token) },
      until: null,
    };
    return { hub, agent, socket: await listen(hub, { listener }) };
  }

  it("ends at the next keep-alive after its token was revoked, and lives on while it is good", async () => {
    atFixedTime();
    const { hub, agent, socket } = await anAgentListening();
    const other = await anAgentListening(hub);
    const { body } = await call(`/workspaces/${agent.id}/tokens`, { token: agent.token });
    await call(`/workspaces/${agent.id}/tokens/${body.tokens[0].id}`, { method: "DELETE", token: agent.token });
    passTime(KEEP_ALIVE_MS);
    await runDurableObjectAlarm(hub);
    expect(await socket.closed()).toBe(CREDENTIAL_ENDED);
    expect(await other.socket.frame()).toMatchObject({ event: "KEEP_ALIVE" });
    await other.hub.publish({ workspaceId: other.agent.id, path: [other.agent.id], events: [anEvent(1)] });
    expect(await other.socket.framesOf(other.agent.id, 1)).toHaveLength(1);
  });

  it("ends as soon as its workspace says that credentials were rotated", async () => {
    const { hub, agent, socket } = await anAgentListening();
    const { body } = await call(`/workspaces/${agent.id}/tokens`, { token: agent.token });
    await call(`/workspaces/${agent.id}/tokens/${body.tokens[0].id}`, { method: "DELETE", token: agent.token });
    const events = [anEvent(1, { workspace_id: agent.id }, "EXTERNAL_CREDENTIALS_ROTATED")];
    await hub.publish({ workspaceId: agent.id, path: [agent.id], events });
    expect(await socket.closed()).toBe(CREDENTIAL_ENDED);
  });

  it("follows its workspace through the tree", async () => {
    const { hub, agent, socket } = await anAgentListening();
    const root = crypto.randomUUID();
    await hub.publish({ workspaceId: agent.id, path: [root, agent.id], events: [anEvent(1)] });
    const sibling = crypto.randomUUID();
    await hub.publish({ workspaceId: crypto.randomUUID(), path: [crypto.randomUUID()], events: [anEvent(1)] });
    await hub.publish({ workspaceId: sibling, path: [root, sibling], events: [anEvent(1)] });
    expect((await socket.frame()).workspace_id).toBe(agent.id);
    expect((await socket.frame()).workspace_id).toBe(sibling);
  });
});

describe("a ticket", () => {
  it("opens one socket, also when the hub was evicted in between", async () => {
    const hub = aHub();
    const ticket = { nonce: crypto.randomUUID(), expiresAt: Date.now() + 60_000 };
    expect((await ask(hub, { ticket })).status).toBe(101);
    await evictDurableObject(hub);
    const again = await ask(hub, { ticket });
    expect(await again.json()).toMatchObject({ ok: false, code: "hub.invalid_ticket" });
  });
});

describe("a hub of a newer version", () => {
  it("writes nothing and refuses listeners until the deployment has finished", async () => {
    const hub = aHub();
    const mine = aWorkspace();
    await hub.publish({ ...mine, events: [anEvent(1)] });
    await runInDurableObject(hub, (_, { storage }) => {
      storage.sql.exec("INSERT INTO schema_steps (id) VALUES (1000)");
    });
    await evictDurableObject(hub);
    await expect(
      runInDurableObject(hub, (instance) => instance.publish({ ...mine, events: [anEvent(2)] })),
    ).rejects.toThrow("schema ahead");
    expect(await (await ask(hub)).json()).toMatchObject({ ok: false, code: "schema.ahead" });
  });
});
