import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ProfileStore } from "../../src/durable-objects/workspace/profile-store.ts";
import { aMachine, callsOf, listed, machines, registered, ring, statusBecomes, tokenOf } from "../support/machines.ts";
import { aMessage, anAgent, call, poll, tell } from "../support/platform.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;

afterEach(() => {
  vi.useRealTimers();
});

const post = (id: string, verb: string, options = {}) =>
  call(`/workspaces/${id}/${verb}`, { method: "POST", ...options });

/** The types of the events of a workspace, oldest first, once there are so many. */
async function eventsOf(id: string, count: number): Promise<{ type: string; payload: Record<string, unknown> }[]> {
  return until(`${count} events of ${id}`, async () => {
    const { body } = await call(`/events/${id}`);
    const events = (body ?? []).map((event: Record<string, unknown>) => ({
      type: event.event_type,
      payload: event.payload,
    }));
    return events.length >= count && events.reverse();
  });
}

describe("a workspace whose machine the platform runs", () => {
  it("answers its creation at once, starts one machine with all it needs, and is online once its agent registers", async () => {
    const parent = await aMachine({ name: "parent of one" });
    const { status, body } = await call("/workspaces", {
      json: {
        name: "builder",
        role: "builds",
        runtime: "claude-code",
        model: "anthropic/claude",
        parent_id: parent,
        secrets: { API_KEY: "s3cret" },
      },
    });
    expect(status).toBe(201);
    expect(body).toEqual({
      id: body.id,
      status: "provisioning",
      awareness_namespace: `workspace:${body.id}`,
      workspace_access: "none",
    });
    expect(await listed(body.id)).toMatchObject({ status: "provisioning", runtime: "claude-code", tier: 3 });
    await until("it is started", async () => machines.runningFor(body.id).length === 1);
    const order = machines.callsFor(body.id)[0]?.order;
    expect(order).toMatchObject({
      name: "builder",
      role: "builds",
      parentId: parent,
      runtime: "claude-code",
      tier: 3,
      platformUrl: "http://posthouse.test",
      env: {
        API_KEY: "s3cret",
        MODEL: "anthropic/claude",
        LLM_PROVIDER: "anthropic",
      },
    });
    await registered(body.id);
    expect(await listed(body.id)).toMatchObject({ status: "online" });
    expect(callsOf(body.id)).toEqual(["start"]);
  });

  it("fails with a message, and the event that says so, when the backend refuses", async () => {
    const id = crypto.randomUUID();
    const created = await call("/workspaces", { json: { name: id, runtime: "codex" } });
    machines.play(created.body.id, "start", "refuse");
    await statusBecomes(created.body.id, "failed");
    expect(await listed(created.body.id)).toMatchObject({ last_sample_error: "provisioning failed" });
    const events = await eventsOf(created.body.id, 2);
    expect(events.at(-1)).toEqual({
      type: "WORKSPACE_PROVISION_FAILED",
      payload: { error: "provisioning failed" },
    });
    expect(machines.runningFor(created.body.id)).toEqual([]);
  });

  it("stops what an unknown start may have left, and starts nothing a second time", async () => {
    const created = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "codex" } });
    const { id } = created.body;
    machines.play(id, "start", "lose_answer");
    await statusBecomes(id, "failed");
    await until("nothing runs", async () => machines.runningFor(id).length === 0);
    expect(callsOf(id)).toEqual(["start", "stop"]);
  });

  it("takes the failure that a watcher saw only while it is waited for, and stops the machine", async () => {
    const id = await aMachine();
    await until("it runs", async () => machines.runningFor(id).length === 1);
    const report = { error: " no disk ", log_tail: "boot\nfull" };
    const path = `/admin/workspaces/${id}/bootstrap-failed`;
    expect((await call(path, { json: report })).body).toEqual({ ok: true });
    expect(await listed(id)).toMatchObject({ status: "failed", last_sample_error: "no disk\n\nboot\nfull" });
    expect((await call(path, { json: report })).body).toEqual({ ok: true, no_change: true });
    expect((await call(path, { json: 7 })).status).toBe(400);
    expect((await eventsOf(id, 2)).at(-1)?.payload).toEqual({
      error: "no disk",
      log_tail: "boot\nfull",
      source: "bootstrap_watcher",
    });
    await until("nothing runs", async () => machines.runningFor(id).length === 0);
  });

  it("has no bootstrap to fail where nobody is, or nobody is any more", async () => {
    const fail = (id: string) => call(`/admin/workspaces/${id}/bootstrap-failed`, { json: { error: "no disk" } });
    const noChange = { status: 200, body: { ok: true, no_change: true } };
    const [removed, { id: purged }] = [await aMachine(), await anAgent()];
    await call(`/workspaces/${removed}`, { method: "DELETE" });
    const purge = () => call(`/workspaces/${purged}?purge=true`, { method: "DELETE" });
    await purge();
    expect(await fail(purged)).toMatchObject(noChange);
    await until("the purge has ended", async () => {
      await runDurableObjectAlarm(env.WORKSPACE.getByName(purged));
      return (await purge()).body.pending === undefined;
    });
    for (const id of [crypto.randomUUID(), removed, purged]) expect(await fail(id)).toMatchObject(noChange);
    expect(await fail(removed.toUpperCase())).toMatchObject({ status: 400, body: { code: "workspace.invalid_id" } });
    await until("nothing runs", async () => machines.runningFor(removed).length === 0);
  });

  it("is given up at the time that lists and views show, not a moment before", async () => {
    const id = await aMachine({ runtime: "hermes" });
    await until("it runs", async () => machines.runningFor(id).length === 1);
    const { provision_timeout_ms: limit } = await listed(id);
    expect((await call(`/workspaces/${id}`)).body.provision_timeout_ms).toBe(limit);
    const wishedAt = await runInDurableObject(
      env.WORKSPACE.getByName(id),
      (_, { storage }) => storage.sql.exec<{ wished_at: number }>("SELECT wished_at FROM lifecycle").one().wished_at,
    );
    vi.useFakeTimers({ toFake: ["Date"], now: wishedAt + limit - 1 });
    await ring(id);
    expect(await listed(id)).toMatchObject({ status: "provisioning" });
    vi.setSystemTime(wishedAt + limit);
    await ring(id);
    expect(await listed(id)).toMatchObject({ status: "failed" });
  });

  it("is given up when it takes too long, and the message says where it stands", async () => {
    const id = await aMachine({ runtime: "codex" });
    await until("it runs", async () => machines.runningFor(id).length === 1);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 9 * MINUTE_MS });
    await ring(id);
    expect(await listed(id)).toMatchObject({ status: "provisioning" });
    vi.setSystemTime(Date.now() + 2 * MINUTE_MS);
    await ring(id);
    expect(await listed(id)).toMatchObject({
      status: "failed",
      last_sample_error:
        "provisioning timed out — container started but never called /registry/register. Check container logs and network connectivity to the platform.",
    });
    const beat = { workspace_id: id, error_rate: 0, sample_error: "" };
    expect((await call("/registry/heartbeat", { token: tokenOf(id), json: beat })).status).toBe(200);
    expect(await listed(id)).toMatchObject({
      status: "failed",
      last_sample_error: expect.stringMatching(/^provisioning/),
    });
    const hermes = await aMachine({ runtime: "hermes" });
    vi.setSystemTime(Date.now() + 11 * MINUTE_MS);
    await ring(hermes);
    expect(await listed(hermes)).toMatchObject({ status: "provisioning" });
  });
});

describe("what a creation and a change may not do", () => {
  it("is never failed without a reason, whoever forgets to say it", async () => {
    const id = await aMachine();
    await runInDurableObject(env.WORKSPACE.getByName(id), (_instance, { storage }) => {
      const profile = new ProfileStore(storage.sql);
      profile.set({ status: "failed", sampleError: "" });
      expect(() => profile.commit()).toThrow("failed without a message");
    });
  });

  it("goes on, also where an earlier release forgot the reason", async () => {
    const id = await aMachine();
    const agent = await registered(id);
    await runInDurableObject(env.WORKSPACE.getByName(id), (_instance, { storage: { sql } }) => {
      sql.exec("UPDATE workspace SET status = 'failed', sample_error = ''");
    });
    await evictDurableObject(env.WORKSPACE.getByName(id));
    const beat = { workspace_id: id, active_tasks: 1, uptime_seconds: 5 };
    expect((await call("/registry/heartbeat", { token: agent.token, json: beat })).status).toBe(200);
  });

  it("takes a tier of 0 for none, and keeps a workspace on its side of the platform", async () => {
    const id = await aMachine({ tier: 0 });
    expect(await listed(id)).toMatchObject({ tier: 3 });
    const patch = (runtime: string) => call(`/workspaces/${id}`, { method: "PATCH", json: { runtime } });
    expect(await patch("external")).toMatchObject({
      status: 400,
      body: { error: "runtime cannot become or cease to be external" },
    });
    expect((await patch("hermes")).status).toBe(200);
  });
});

describe("a restart", () => {
  it("stops the machine, then starts one, and ten at once make no more than two", async () => {
    const id = await aMachine();
    await registered(id);
    const answer = await post(id, "restart");
    expect(answer).toMatchObject({
      status: 200,
      body: { status: "provisioning", config_dir: "existing-volume", reset_session: false },
    });
    await until("the next one runs", async () => callsOf(id).length === 3 && machines.runningFor(id).length === 1);
    await registered(id);
    expect(callsOf(id)).toEqual(["start", "stop", "start"]);
    await Promise.all(Array.from({ length: 10 }, () => post(id, "restart", { json: { reset: true } })));
    const starts = () => callsOf(id).filter((verb) => verb === "start").length;
    await until("the last one runs", async () => {
      const before = starts();
      await ring(id);
      await scheduler.wait(20);
      return machines.runningFor(id).length === 1 && callsOf(id).at(-1) === "start" && starts() === before;
    });
    // The first restart of the ten may have begun before the others came.
    expect(starts()).toBeLessThanOrEqual(4);
    await registered(id);
    expect(machines.runningFor(id)).toHaveLength(1);
  });

  it("gives the new machine a new token and revokes the old one", async () => {
    const id = await aMachine();
    const before = await registered(id);
    await post(id, "restart");
    await until(
      "another token is given",
      async () => tokenOf(id) !== before.token && machines.runningFor(id).length === 1,
    );
    expect((await poll(before)).status).toBe(401);
    await registered(id);
    expect((await poll({ id, token: tokenOf(id) })).status).toBe(200);
  });

  it("goes on when the old machine cannot be stopped, and stops it later", async () => {
    const id = await aMachine();
    await registered(id);
    machines.play(id, "stop", "lose_call", "lose_call", "lose_call");
    await post(id, "restart");
    await until("the next one runs", async () => callsOf(id).filter((verb) => verb === "start").length === 2);
    expect(machines.runningFor(id)).toHaveLength(2);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + MINUTE_MS });
    await until("the old one is gone", async () => {
      vi.setSystemTime(Date.now() + MINUTE_MS);
      await ring(id);
      return machines.runningFor(id).length === 1;
    });
  });

  it("is a no-op of an external workspace, whose token stays good", async () => {
    const { body } = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "external" } });
    const agent = { id: body.id, token: body.connection.auth_token };
    expect(await post(body.id, "restart", { token: agent.token })).toMatchObject({
      status: 200,
      body: { status: "noop", runtime: "external" },
    });
    expect((await poll(agent)).status).toBe(200);
  });

  it("is refused below a paused ancestor, and for nobody", async () => {
    const parent = await aMachine({ name: "top of the house" });
    const child = await aMachine({ parent_id: parent });
    await post(parent, "pause");
    expect(await post(child, "restart")).toMatchObject({
      status: 409,
      body: { error: 'parent workspace "top of the house" is paused — resume it first' },
    });
    expect(await post(crypto.randomUUID(), "restart")).toMatchObject({
      status: 404,
      body: { error: "workspace not found" },
    });
  });
});

describe("a new secret", () => {
  it("restarts the machines that read it, and nobody else's", async () => {
    const [own, reader, sleeper] = [await aMachine(), await aMachine({ secrets: { SHARED: "own" } }), await aMachine()];
    await Promise.all([own, reader, sleeper].map((id) => registered(id)));
    await post(sleeper, "hibernate");
    await statusBecomes(sleeper, "hibernated");
    await call(`/workspaces/${own}/secrets`, { method: "PUT", json: { key: "MINE", value: "1" } });
    const starts = (id: string) => machines.callsFor(id).filter(({ verb }) => verb === "start");
    await until("it is started anew", async () => starts(own).length === 2);
    expect(starts(own)[1]?.order?.env).toMatchObject({ MINE: "1" });
    await registered(own);
    await call("/settings/secrets", { method: "PUT", json: { key: "SHARED", value: "all" } });
    await until("it is started anew", async () => starts(own).length === 3);
    expect(starts(own)[2]?.order?.env).toMatchObject({ MINE: "1", SHARED: "all" });
    expect([starts(reader).length, starts(sleeper).length]).toEqual([1, 1]);
    await call(`/workspaces/${reader}/model`, { method: "PUT", json: { model: "sonnet" } });
    await until("it is started anew", async () => starts(reader).length === 2);
    expect(starts(reader)[1]?.order?.env).toMatchObject({ SHARED: "own", MODEL: "sonnet" });
    await call("/settings/secrets/SHARED", { method: "DELETE" });
  });

  it("waits for the end of a pause above the workspace", async () => {
    const parent = await aMachine();
    await registered(parent);
    await post(parent, "pause");
    const child = await aMachine({ parent_id: parent });
    await registered(child);
    expect(
      (await call(`/workspaces/${child}/secrets`, { method: "PUT", json: { key: "LATE", value: "1" } })).status,
    ).toBe(200);
    await env.WORKSPACE.getByName(child).wake();
    expect(await listed(child)).toMatchObject({ status: "online" });
    expect(callsOf(child)).toEqual(["start"]);
  });
});

describe("a pause", () => {
  it("stops a workspace with all below it, and its end starts them again", async () => {
    const parent = await aMachine();
    const child = await aMachine({ parent_id: parent });
    const external = (
      await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "external", parent_id: parent } })
    ).body.id;
    await Promise.all([registered(parent), registered(child)]);
    expect((await post(parent, "pause")).body).toEqual({ status: "paused", paused_count: 3 });
    for (const id of [parent, child, external]) expect(await listed(id)).toMatchObject({ status: "paused", url: "" });
    await until("nothing runs", async () => [parent, child].every((id) => machines.runningFor(id).length === 0));
    expect(await post(parent, "pause")).toMatchObject({
      status: 404,
      body: { error: "workspace not found or already paused" },
    });
    expect(await post(child, "resume")).toMatchObject({ status: 409 });
    expect((await post(parent, "resume")).body).toEqual({ status: "provisioning", resumed_count: 3 });
    await Promise.all([registered(parent), registered(child)]);
    expect(await listed(external)).toMatchObject({ status: "awaiting_agent" });
    expect(callsOf(external)).toEqual([]);
    expect(await post(parent, "resume")).toMatchObject({
      status: 404,
      body: { error: "workspace not found or not paused" },
    });
    expect((await call(`/workspaces/${parent}/state`)).body).toMatchObject({ paused: false });
  });

  it("lets a machine that is still starting be stopped when it has started", async () => {
    const id = await aMachine();
    await post(id, "pause");
    await until("it was stopped", async () => {
      await ring(id);
      return machines.runningFor(id).length === 0 && (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null;
    });
    expect(await listed(id)).toMatchObject({ status: "paused" });
  });
});

describe("hibernation", () => {
  it("stops an idle workspace, and a message wakes it", async () => {
    const id = await aMachine();
    await registered(id, "push");
    expect((await post(id, "hibernate")).body.status).toBe("hibernated");
    await statusBecomes(id, "hibernated");
    expect(machines.runningFor(id)).toEqual([]);
    const waking = await call(`/workspaces/${id}/a2a`, { json: aMessage("wake up") });
    expect(waking).toMatchObject({
      status: 503,
      body: {
        error: "workspace is waking from hibernation — retry in ~15 seconds",
        waking: true,
        retry_after: 15,
      },
    });
    expect(waking.headers.get("retry-after")).toBe("15");
    await until("it runs", async () => machines.runningFor(id).length === 1);
    expect(await listed(id)).toMatchObject({ status: "provisioning" });
  });

  it("keeps a message for an agent that polls while it wakes it", async () => {
    const id = await aMachine();
    const agent = await registered(id);
    await post(id, "hibernate");
    await statusBecomes(id, "hibernated");
    expect((await tell(agent, "good morning")).status).toBe(200);
    const woken = await registered(id);
    expect((await poll(woken)).text).toContain("good morning");
  });

  it("ends for a task that another workspace gives", async () => {
    const caller = await aMachine();
    const sleeper = await aMachine({ parent_id: caller });
    const agent = await registered(caller);
    await registered(sleeper);
    await post(sleeper, "hibernate");
    await statusBecomes(sleeper, "hibernated");
    const task = { target_id: sleeper, task: "wake up and work" };
    expect((await call(`/workspaces/${caller}/delegate`, { token: agent.token, json: task })).status).toBe(202);
    const woken = await until("it runs", async () => machines.runningFor(sleeper).length === 1 && registered(sleeper));
    expect((await poll(woken)).text).toContain("wake up and work");
  });

  it("is refused while work is done, unless forced, and where nothing is online", async () => {
    const id = await aMachine();
    expect(await post(id, "hibernate")).toMatchObject({
      status: 404,
      body: { error: "workspace not found or not in a hibernatable state (must be online or degraded)" },
    });
    const agent = await registered(id);
    await call("/registry/heartbeat", { token: agent.token, json: { workspace_id: id, active_tasks: 2 } });
    expect(await post(id, "hibernate")).toMatchObject({ status: 409, body: { active_tasks: 2 } });
    expect((await post(id, "hibernate?force=true")).status).toBe(200);
    await statusBecomes(id, "hibernated");
    expect((await post(crypto.randomUUID(), "hibernate")).status).toBe(404);
  });
});

describe("a removal", () => {
  it("says how many machines have still to be stopped, and stops them though the workspace is gone", async () => {
    const parent = await aMachine();
    const child = await aMachine({ parent_id: parent });
    await Promise.all([registered(parent), registered(child)]);
    const removed = await call(`/workspaces/${parent}?confirm=true`, { method: "DELETE" });
    expect(removed).toMatchObject({ status: 200, body: { status: "removed", cascade_deleted: 1, stops_pending: 2 } });
    await until("nothing runs", async () => [parent, child].every((id) => machines.runningFor(id).length === 0));
    expect(callsOf(child)).toEqual(["start", "stop", "cleanUp"]);
  });

  it("stops a machine that starts after it", async () => {
    const id = await aMachine();
    await call(`/workspaces/${id}`, { method: "DELETE" });
    await until("all is settled", async () => {
      await ring(id);
      return (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null;
    });
    expect(machines.runningFor(id)).toEqual([]);
    expect((await call(`/workspaces/${id}`)).status).toBe(410);
  });

  it("cleans up after a machine that was stopped before", async () => {
    const id = await aMachine();
    await registered(id);
    await post(id, "pause");
    await until("nothing runs", async () => machines.runningFor(id).length === 0);
    await call(`/workspaces/${id}`, { method: "DELETE" });
    await until("its volumes are gone", async () => callsOf(id).at(-1) === "cleanUp");
  });

  it("is not undone by a stop that fails for long", async () => {
    const id = await aMachine();
    await registered(id);
    machines.play(id, "stop", "lose_call", "lose_call", "lose_call");
    await call(`/workspaces/${id}`, { method: "DELETE" });
    await until("three were made", async () => callsOf(id).filter((verb) => verb === "stop").length === 3);
    expect(machines.runningFor(id)).toHaveLength(1);
    await evictDurableObject(env.WORKSPACE.getByName(id));
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 2 * MINUTE_MS });
    await until("it is gone", async () => {
      vi.setSystemTime(Date.now() + MINUTE_MS);
      await ring(id);
      return machines.runningFor(id).length === 0;
    });
  });
});

describe("a collapse", () => {
  it("removes everything below a workspace and keeps itself", async () => {
    const parent = await aMachine();
    const child = await aMachine({ parent_id: parent, name: "child" });
    const grandchild = await aMachine({ parent_id: child, name: "grandchild" });
    expect((await post(parent, "collapse")).body).toEqual({ status: "collapsed", removed: ["child", "grandchild"] });
    expect((await call(`/workspaces/${grandchild}`)).status).toBe(410);
    expect((await call(`/workspaces/${parent}`)).status).toBe(200);
    const events = await eventsOf(parent, 2);
    expect(events).toContainEqual({
      type: "WORKSPACE_COLLAPSED",
      payload: { removed_children: ["child", "grandchild"] },
    });
    expect((await post(parent, "collapse")).body).toEqual({ status: "collapsed", removed: [] });
  });
});

describe("console and viewport", () => {
  it("shows what the backend has of a console", async () => {
    const id = await aMachine();
    expect((await call(`/workspaces/${id}/console`)).body).toEqual({ output: `console of ${id}` });
    machines.play(id, "console", "lose_call");
    expect(await call(`/workspaces/${id}/console`)).toMatchObject({
      status: 502,
      body: { error: "control plane returned an error fetching console output" },
    });
  });

  it("keeps one viewport for everybody, absent numbers as 0", async () => {
    const put = (json: unknown) => call("/canvas/viewport", { method: "PUT", json });
    expect(await put({ x: 1.5, y: -2, zoom: 0.75 })).toMatchObject({ status: 200, body: { status: "saved" } });
    expect((await call("/canvas/viewport")).body).toEqual({ x: 1.5, y: -2, zoom: 0.75 });
    await put({ x: 3 });
    expect((await call("/canvas/viewport")).body).toEqual({ x: 3, y: 0, zoom: 0 });
    expect(await put({ x: "left" })).toMatchObject({ status: 400, body: { error: "invalid viewport data" } });
  });
});
