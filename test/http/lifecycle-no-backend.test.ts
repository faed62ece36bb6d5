import { env } from "cloudflare:test";
import { expect, it } from "vitest";
import { NO_BACKEND } from "../../src/provisioners/backend.ts";
import { aMessage, anAgent, call } from "../support/platform.ts";
import { until } from "../support/until.ts";

const post = (id: string, verb: string) => call(`/workspaces/${id}/${verb}`, { method: "POST" });

async function statusOf(id: string) {
  const { body } = await call("/workspaces");
  return body.find((entry: { id: string }) => entry.id === id);
}

it("without a backend a created workspace fails at once, and says why", async () => {
  const { status, body } = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "codex" } });
  expect(status).toBe(201);
  expect(body.status).toBe("provisioning");
  expect(await statusOf(body.id)).toMatchObject({ status: "failed", last_sample_error: NO_BACKEND });
  const events = await until("its events are in the ledger", async () => {
    const { body: recorded } = await call(`/events/${body.id}`);
    return recorded.length === 2 && recorded;
  });
  expect(events[0]).toMatchObject({ event_type: "WORKSPACE_PROVISION_FAILED", payload: { error: NO_BACKEND } });
});

it("without a backend restart and resume are refused, and nothing is changed by that", async () => {
  const { body } = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "codex" } });
  const refused = { status: 503, body: { error: "provisioner not available" } };
  expect(await post(body.id, "restart")).toMatchObject(refused);
  expect((await post(body.id, "pause")).body).toEqual({ status: "paused", paused_count: 1 });
  expect(await post(body.id, "resume")).toMatchObject(refused);
  expect(await statusOf(body.id)).toMatchObject({ status: "paused" });
  expect(await call(`/workspaces/${body.id}`, { method: "DELETE" })).toMatchObject({
    status: 200,
    body: { status: "removed", cascade_deleted: 0 },
  });
});

it("without a backend every other verb answers as ever, and nothing is left to be stopped", async () => {
  const { body } = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "codex" } });
  const child = await call("/workspaces", { json: { name: "child", runtime: "codex", parent_id: body.id } });
  const secret = { method: "PUT", json: { key: "NEW", value: "1" } };
  expect((await call(`/workspaces/${body.id}/secrets`, secret)).status).toBe(200);
  expect((await post(body.id, "hibernate")).status).toBe(404);
  expect(await call(`/workspaces/${body.id}/a2a`, { json: aMessage("anybody?") })).toMatchObject({
    status: 503,
    body: { code: "a2a.no_url", status: "failed" },
  });
  expect((await post(body.id, "collapse")).body).toEqual({ status: "collapsed", removed: ["child"] });
  const workspaces = [{ name: crypto.randomUUID(), runtime: "codex" }];
  const imported = await call("/org/import", { json: { template: { name: "org", workspaces } } });
  expect(imported.status).toBe(201);
  const bundle = { id: crypto.randomUUID(), name: crypto.randomUUID() };
  const bundled = await call("/bundles/import", { json: bundle });
  expect(bundled.status).toBe(201);
  for (const id of [body.id, imported.body.workspaces[0].id, bundled.body.workspace_id]) {
    expect(await statusOf(id)).toMatchObject({ status: "failed", last_sample_error: NO_BACKEND });
  }
  expect((await call(`/workspaces/${body.id}?purge=true`, { method: "DELETE" })).body).not.toHaveProperty(
    "stops_pending",
  );
  for (const id of [body.id, child.body.id]) expect(await env.WORKSPACE.getByName(id).lookAfterMachines()).toBeNull();
  expect((await call("/admin/machines")).body).toEqual({ machines: [], count: 0, unanswered: 0 });
});

it("without a backend an external workspace is paused, resumed and hibernated by its marks alone", async () => {
  const agent = await anAgent();
  expect((await post(agent.id, "pause")).status).toBe(200);
  expect(await statusOf(agent.id)).toMatchObject({ status: "paused" });
  expect((await post(agent.id, "resume")).body).toEqual({ status: "provisioning", resumed_count: 1 });
  expect(await statusOf(agent.id)).toMatchObject({ status: "awaiting_agent" });
  await call("/registry/heartbeat", { token: agent.token, json: { workspace_id: agent.id } });
  expect((await post(agent.id, "hibernate")).body).toEqual({ status: "hibernated" });
  expect((await call(`/workspaces/${agent.id}/console`)).status).toBe(501);
});
