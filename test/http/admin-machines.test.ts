import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { query } from "../support/ledger.ts";
import { aMachine, machines, registered, ring } from "../support/machines.ts";
import { call } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;

afterEach(() => {
  vi.useRealTimers();
});

/** What operators see of a workspace's machines. */
async function shownOf(id: string): Promise<Record<string, unknown>[]> {
  const { body, status } = await call("/admin/machines");
  expect(status).toBe(200);
  return body.machines.filter((machine: { workspace_id: string }) => machine.workspace_id === id);
}

/** A removed workspace whose machine no stop reaches; the machine's id. */
async function anOrphan(id: string): Promise<string> {
  await registered(id);
  await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
  machines.play(id, "stop", ...Array.from({ length: 30 }, () => "lose_call" as const));
  await call(`/workspaces/${id}`, { method: "DELETE" });
  await until("three stops were made", async () => (await shownOf(id))[0]?.stop_failures === 1);
  const [instanceId] = machines.runningFor(id);
  if (instanceId === undefined) throw new Error("nothing runs");
  return instanceId;
}

const forget = (id: string, json: object) => call(`/admin/workspaces/${id}/machines/forget`, { json });

describe("the operator's list of machines", () => {
  it("shows what has still to be stopped, of removed workspaces too, and nothing that is settled", async () => {
    const id = await aMachine({ name: "lost and found" });
    const settled = await aMachine();
    await registered(settled);
    const instance_id = await anOrphan(id);
    expect(await shownOf(id)).toEqual([
      {
        workspace_id: id,
        workspace_name: "lost and found",
        workspace_status: "removed",
        instance_id,
        state: "stopping",
        stop_failures: 1,
        next_attempt_at: expect.stringMatching(/^20/),
      },
    ]);
    await until("the other is settled", async () => (await shownOf(settled)).length === 0);
  });

  it("is for operators", async () => {
    const id = await aMachine();
    const { token } = await registered(id);
    expect((await call("/admin/machines", { token })).status).toBe(401);
    expect((await call(`/admin/workspaces/${id}/machines/forget`, { token, json: {} })).status).toBe(401);
  });
});

describe("a machine that nobody can stop", () => {
  it("can be forgotten, with a reason for the audit trail, and is stopped no more", async () => {
    const id = await aMachine();
    const instance_id = await anOrphan(id);
    const forgotten = await forget(id, { instance_id, reason: "the host was thrown away" });
    expect(forgotten).toMatchObject({
      status: 200,
      body: { status: "forgotten", workspace_id: id, instance_id, stops_pending: 0 },
    });
    expect(await shownOf(id)).toEqual([]);
    const stops = machines.callsFor(id).length;
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60 * MINUTE_MS });
    await ring(id);
    expect(machines.callsFor(id)).toHaveLength(stops);
    vi.useRealTimers();
    await quiet(id);
    const [audited] = await query("SELECT actor, action, subject, reason FROM audit_log WHERE workspace_id = $1", [id]);
    expect(audited).toMatchObject({
      action: "machine.forget",
      subject: instance_id,
      reason: "the host was thrown away",
    });
    expect(await forget(id, { instance_id })).toMatchObject({ status: 404, body: { code: "machine.not_found" } });
  });

  it("no longer holds up a purge once it is forgotten", async () => {
    const id = await aMachine();
    const instance_id = await anOrphan(id);
    expect((await call(`/workspaces/${id}?purge=true`, { method: "DELETE" })).body).toMatchObject({ stops_pending: 1 });
    await forget(id, { instance_id });
    await until("it is purged", async () => {
      const workspace = env.WORKSPACE.getByName(id);
      await runDurableObjectAlarm(workspace);
      const kept = await runInDurableObject(workspace, (_, { storage }) => storage.kv.get<{ step: string }>("purge"));
      return kept?.step === "done";
    });
  });

  it("is not forgotten while it starts, because it may come to run", async () => {
    const id = await aMachine();
    await registered(id);
    await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
    // As a pause leaves it whose start is still under way.
    await runInDurableObject(env.WORKSPACE.getByName(id), (_, { storage: { sql } }) => {
      sql.exec("UPDATE machines SET state = 'starting', instance_id = NULL, wish = 0");
    });
    await env.WORKSPACE.getByName(id).wake();
    expect(await forget(id, { instance_id: null })).toMatchObject({ status: 409, body: { code: "machine.starting" } });
  });

  it("is stopped when it came of a start that nobody knows any more", async () => {
    const id = await aMachine();
    await registered(id);
    await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
    const stray = machines.add(id);
    const end = { kind: "started", instanceId: stray, url: null } as const;
    await env.WORKSPACE.getByName(id).machineEnded({ operation: 999_999, end });
    await until("the stray is gone", async () => !machines.runningFor(id).includes(stray));
    expect(machines.runningFor(id)).toHaveLength(1);
    await env.WORKSPACE.getByName(id).machineEnded({ operation: 999_999, end });
    await until("all is settled", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
  });

  it("is not forgotten while it is wanted, nor where there is none", async () => {
    const id = await aMachine();
    await registered(id);
    await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
    const [instance_id] = machines.runningFor(id);
    expect(await forget(id, { instance_id })).toMatchObject({ status: 409, body: { code: "machine.wanted" } });
    expect((await forget(id, { instance_id: null })).status).toBe(404);
    expect((await forget(crypto.randomUUID(), { instance_id: null })).status).toBe(404);
    expect((await forget(id, {})).status).toBe(400);
  });
});
