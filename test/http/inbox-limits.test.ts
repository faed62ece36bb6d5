import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { anAgent, call, poll, tell } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

function workspaceOf({ id }: { id: string }) {
  return env.WORKSPACE.get(env.WORKSPACE.idFromName(id));
}

afterEach(() => {
  vi.useRealTimers();
});

describe("retention of the inbox", () => {
  it("drops what was read after a week, and its row stays a valid cursor", async () => {
    const agent = await anAgent();
    await tell(agent, "one");
    await tell(agent, "two");
    const [two, one] = (await poll(agent)).body;
    await poll(agent, { since_id: two.id });
    await quiet(agent.id);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 8 * DAY_MS });
    await runDurableObjectAlarm(workspaceOf(agent));
    expect((await poll(agent)).body).toEqual([]);
    expect(await poll(agent, { since_id: one.id })).toMatchObject({ status: 200, text: "[]" });
  });

  it("keeps what nobody read for thirty days, and then says so to an older cursor with 410", async () => {
    const agent = await anAgent();
    await tell(agent, "one");
    const [one] = (await poll(agent)).body;
    await tell(agent, "never read");
    await quiet(agent.id);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 8 * DAY_MS });
    await runDurableObjectAlarm(workspaceOf(agent));
    expect((await poll(agent, { since_id: one.id })).body).toHaveLength(1);
    vi.setSystemTime(Date.now() + 30 * DAY_MS);
    await runInDurableObject(workspaceOf(agent), (_instance, { storage }) => storage.setAlarm(Date.now()));
    await runDurableObjectAlarm(workspaceOf(agent));
    expect((await poll(agent, { since_id: one.id })).status).toBe(410);
  });

  it("drops the events of a workspace that nobody ever wrote to, once ledger and hub have them", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 8 * DAY_MS });
    await runInDurableObject(workspaceOf(agent), (_instance, { storage }) => storage.setAlarm(Date.now()));
    await runDurableObjectAlarm(workspaceOf(agent));
    await runInDurableObject(workspaceOf(agent), (_instance, { storage: { sql } }) => {
      const old = sql.exec("SELECT 1 FROM events WHERE created_at < ?", (Date.now() - 7 * DAY_MS) * 1000).toArray();
      expect(old).toEqual([]);
    });
  });
});

describe("live events of a busy agent", () => {
  it("tell a task that changes on every beat once in ten seconds, and its last state by the next beat", async () => {
    const agent = await anAgent();
    vi.useFakeTimers({ toFake: ["Date"] });
    const beat = (task: string) =>
      call("/registry/heartbeat", { token: agent.token, json: { workspace_id: agent.id, current_task: task } });
    const told: string[] = [];
    const response = await call(`/workspaces/${agent.id}`, {});
    expect(response.status).toBe(200);
    const hub = env.EVENT_HUB.get(env.EVENT_HUB.idFromName("default"));
    const restore = await runInDurableObject(hub, (instance) => {
      const prototype = Object.getPrototypeOf(instance) as { publish(message: Published): Promise<void> };
      const original = prototype.publish;
      prototype.publish = function (message) {
        if (message.workspaceId === agent.id)
          told.push(...message.events.map(({ event, payload }) => `${event} ${payload}`));
        return original.call(this, message);
      };
      return () => {
        prototype.publish = original;
      };
    });
    for (const task of ["a", "b", "c"]) await beat(task);
    vi.setSystemTime(Date.now() + 11_000);
    await beat("c");
    await vi.waitFor(() => expect(told.filter((line) => line.startsWith("TASK_UPDATED"))).toHaveLength(2));
    restore();
    expect(told.filter((line) => line.startsWith("TASK_UPDATED")).at(-1)).toContain('"current_task":"c"');
    expect(told.filter((line) => line.startsWith("WORKSPACE_HEARTBEAT"))).toHaveLength(2);
  });
});

interface Published {
  readonly workspaceId: string;
  readonly events: readonly { readonly event: string; readonly payload: string }[];
}
