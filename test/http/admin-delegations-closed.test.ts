import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { query } from "../support/ledger.ts";
import { type Agent, call } from "../support/platform.ts";
import { until } from "../support/until.ts";

const ADMIN = "the operator's secret";

// A closed deployment, objects included: set before anything has read its configuration.
env.MOLECULE_ENV = "production";
env.ADMIN_TOKEN = ADMIN;
env.LOCAL_PLATFORM = "";

async function anAgent(): Promise<Agent> {
  const { body } = await call("/workspaces", {
    token: ADMIN,
    json: { name: crypto.randomUUID(), runtime: "external" },
  });
  return { id: body.id, token: body.connection.auth_token };
}

async function aDelegation(): Promise<{ caller: Agent; callee: Agent; id: string }> {
  const [caller, callee] = [await anAgent(), await anAgent()];
  const { body } = await call(`/workspaces/${caller.id}/delegate`, {
    token: caller.token,
    json: { target_id: callee.id, task: "a private task" },
  });
  const id: string = body.delegation_id;
  await until("the ledger has it", async () => {
    const [row] = await query("SELECT status FROM delegations WHERE delegation_id = $1", [id]);
    return row?.status === "dispatched";
  });
  return { caller, callee, id };
}

it("admin routes are closed to everybody but operators, callers and callees included, and say nothing", async () => {
  const { caller, callee, id } = await aDelegation();
  const routes = [
    { path: `/admin/delegations?caller_id=${caller.id}` },
    { path: "/admin/delegations/stats" },
    { path: `/admin/delegations/${id}/retry`, json: { force: true } },
    { path: `/admin/delegations/${id}/cancel`, json: {} },
    { path: "/admin/delegations/bulk", json: { filter: { status: "in_flight" }, action: "cancel", dry_run: false } },
  ];
  for (const { path, json } of routes) {
    const body = json === undefined ? {} : { json };
    expect(await call(path, body), path).toMatchObject({ status: 401, body: { code: "auth.admin_required" } });
    for (const token of [caller.token, callee.token, "wrong"]) {
      const answer = await call(path, { token, ...body });
      expect(answer, path).toMatchObject({ status: 401, body: { code: "auth.invalid_admin_token" } });
      expect(answer.text).not.toContain("private");
    }
  }
  const { body } = await call(`/admin/delegations?caller_id=${caller.id}`, { token: ADMIN });
  expect(body.delegations).toMatchObject([{ delegation_id: id, status: "dispatched", task_preview: "a private task" }]);
});

it("the audit row of an order names the operator", async () => {
  const { caller, id } = await aDelegation();
  const { status } = await call(`/admin/delegations/${id}/cancel`, { token: ADMIN, json: { reason: "a drill" } });
  expect(status).toBe(200);
  const row = await until("the audit row is there", async () => {
    const [found] = await query("SELECT * FROM audit_log WHERE subject = $1", [id]);
    return found;
  });
  expect(row).toMatchObject({ workspace_id: caller.id, actor: "admin", reason: "a drill" });
});
