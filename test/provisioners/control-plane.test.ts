import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import { ControlPlaneProvisioner } from "../../src/provisioners/control-plane.ts";
import { ConsoleFailure } from "../../src/provisioners/provisioner.ts";
import { aControlPlane, anOrder, type ControlPlaneBackend, SECRET_WORDS } from "../support/machine-server.ts";
import { controlPlaneSettings } from "./settings.ts";

const PROVISION = { method: "POST", path: "/cp/workspaces/provision" };
const SHORT_PATIENCE_MS = 50;
const KIB = 1024;

function aPair(
  settings: Parameters<typeof controlPlaneSettings>[1] = {},
  timeoutMs?: number,
): { controlPlane: ControlPlaneBackend; provisioner: ControlPlaneProvisioner } {
  const controlPlane = aControlPlane();
  const provisioner = new ControlPlaneProvisioner(controlPlaneSettings(controlPlane.url, settings), timeoutMs);
  return { controlPlane, provisioner };
}

async function lastCall(controlPlane: ControlPlaneBackend) {
  const call = (await controlPlane.received()).at(-1);
  if (!call) throw new Error("the control plane got nothing");
  const { authorization, "x-molecule-admin-token": adminToken, "content-type": contentType } = call.headers;
  const body = Buffer.from(call.body, "base64").toString();
  return { method: call.method, path: call.path, authorization, adminToken, contentType, body };
}

describe("a start", () => {
  it("sends exactly the contract's body under both credentials", async () => {
    const { controlPlane, provisioner } = aPair();
    const order = anOrder();
    expect(await provisioner.start(order)).toEqual({ kind: "started", instanceId: expect.any(String), url: null });
    const email = `${order.workspaceId}@workspaces.invalid`;
    expect(await lastCall(controlPlane)).toEqual({
      method: "POST",
      path: "/cp/workspaces/provision",
      authorization: "Bearer shared-secret",
      adminToken: "admin-token",
      contentType: "application/json",
      body:
        `{"org_id":"org-1","workspace_id":"${order.workspaceId}","runtime":"langgraph","tier":2,` +
        `"platform_url":"https://posthouse.test","env":{"GIT_AUTHOR_NAME":"Scribe","GIT_AUTHOR_EMAIL":"${email}",` +
        `"GIT_COMMITTER_NAME":"Scribe","GIT_COMMITTER_EMAIL":"${email}","MODEL":"anthropic:claude-opus-4-7",` +
        `"API_KEY":"key-that-nobody-may-see","MOLECULE_AGENT_ROLE":"writes things down",` +
        `"PARENT_ID":"11111111-2222-4333-8444-555555555555"},"config_files":{"config.yaml":"name: Scribe\\n"}}`,
    });
  });

  it("brings its files up to a mebibyte, none beyond that, and never a token", async () => {
    const { controlPlane, provisioner } = aPair();
    const sent = async (files: Record<string, string>) => {
      await provisioner.start(anOrder({ files: { ...files, ".auth_token": "token-that-nobody-may-see" } }));
      const { body } = await lastCall(controlPlane);
      expect(body).not.toContain("token-that-nobody-may-see");
      return JSON.parse(body);
    };
    expect(await sent({})).not.toHaveProperty("config_files");
    const largest = { "skills/plan/SKILL.md": "☃", "large.md": "" };
    largest["large.md"] = "x".repeat(KIB * KIB - new TextEncoder().encode(JSON.stringify(largest)).length);
    expect((await sent(largest)).config_files).toEqual(largest);
    expect(await sent({ ...largest, "one-more.md": "" })).not.toHaveProperty("config_files");
  });

  it("sends no header for a credential that is not set", async () => {
    const { controlPlane, provisioner } = aPair({ sharedSecret: "", adminToken: "" });
    await provisioner.start(anOrder());
    expect(await lastCall(controlPlane)).toMatchObject({ authorization: undefined, adminToken: undefined });
  });

  it("is made once, whatever comes of it", async () => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...PROVISION, act: "reset" });
    await provisioner.start(anOrder());
    expect(await controlPlane.received()).toHaveLength(1);
  });

  it.each([400, 401, 403, 404, 409, 429, 501])("is refused by a clear %i", async (status) => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...PROVISION, act: "answer", status, body: '{"error":"no room"}' });
    const reason = `the control plane answered ${status}: no room`;
    expect(await provisioner.start(anOrder())).toEqual({ kind: "refused", reason });
  });

  it.each([200, 202, 204, 408, 500, 502, 503, 504, 522, 524])("may have worked after a %i", async (status) => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...PROVISION, act: "answer", status });
    const reason = `the control plane answered ${status}`;
    expect(await provisioner.start(anOrder())).toEqual({ kind: "unknown", reason });
  });

  it.each([
    ["is no JSON", "created"],
    ["names no instance", '{"state":"pending"}'],
    ["names an empty instance", '{"instance_id":""}'],
    ["names a number", '{"instance_id":7}'],
    ["is a list", "[]"],
    ["is empty", ""],
  ])("may have worked when its 201 %s", async (_, body) => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...PROVISION, act: "answer", status: 201, body });
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "unknown" });
  });

  it("may have worked when its 201 is cut off", async () => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...PROVISION, act: "cut", status: 201, body: '{"instance_id":"i-1"' });
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "unknown" });
  });

  it("reads an answer of 64 KiB and none that is larger", async () => {
    const { controlPlane, provisioner } = aPair();
    const padded = (size: number) => '{"instance_id":"i-1"}'.padEnd(size);
    await controlPlane.fail({ ...PROVISION, act: "answer", status: 201, body: padded(64 * KIB) });
    expect(await provisioner.start(anOrder())).toEqual({ kind: "started", instanceId: "i-1", url: null });
    await controlPlane.fail({ ...PROVISION, act: "answer", status: 201, body: padded(64 * KIB + 1) });
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "unknown" });
  });

  it("is refused by a clear status even when the rest of the answer is cut off", async () => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...PROVISION, act: "cut", status: 409, body: '{"error":"' });
    expect(await provisioner.start(anOrder())).toEqual({ kind: "refused", reason: "the control plane answered 409" });
  });

  it("may have worked when no answer comes in time", async () => {
    const { controlPlane, provisioner } = aPair({}, SHORT_PATIENCE_MS);
    await controlPlane.fail({ ...PROVISION, act: "hold" });
    const reason = `no answer within ${SHORT_PATIENCE_MS} ms`;
    expect(await provisioner.start(anOrder())).toEqual({ kind: "unknown", reason });
  });

  it("may have worked when nobody listens", async () => {
    const provisioner = new ControlPlaneProvisioner(controlPlaneSettings("http://127.0.0.1:1"));
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "unknown" });
  });

  it("follows no redirect, which would carry the secrets elsewhere", async () => {
    const { controlPlane, provisioner } = aPair();
    const elsewhere = aControlPlane();
    const headers = { location: `${elsewhere.url}/cp/workspaces/provision` };
    await controlPlane.fail({ ...PROVISION, act: "answer", status: 307, headers });
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "refused" });
    expect(await elsewhere.received()).toEqual([]);
  });

  it("shows nothing of an answer but its error, and no secret in that", async () => {
    const { controlPlane, provisioner } = aPair();
    const error = `bad env ${SECRET_WORDS.join(" ")} for shared-secret\nand admin-token ${"x".repeat(600)}`;
    const body = JSON.stringify({ error, detail: "internal words" });
    await controlPlane.fail({ ...PROVISION, act: "answer", status: 422, body });
    const outcome = await provisioner.start(anOrder());
    if (outcome.kind !== "refused") throw new Error("not refused");
    expect(outcome.reason).toMatch(
      /^the control plane answered 422: bad env \[secret\] \[secret\] for \[secret\] and \[secret\] x+$/,
    );
    expect(outcome.reason).toHaveLength(512);
  });

  it("shows nothing of an answer that is a page", async () => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...PROVISION, act: "answer", status: 500, body: "<h1>stack trace</h1>" });
    expect(await provisioner.start(anOrder())).toEqual({ kind: "unknown", reason: "the control plane answered 500" });
  });
});

describe("a stop", () => {
  it("names the workspace and its instance", async () => {
    const { controlPlane, provisioner } = aPair();
    await provisioner.stop({ workspaceId: "w-1", instanceId: "i-1&force" });
    expect(await lastCall(controlPlane)).toEqual({
      method: "DELETE",
      path: "/cp/workspaces/w-1?instance_id=i-1%26force",
      authorization: "Bearer shared-secret",
      adminToken: "admin-token",
      contentType: undefined,
      body: "",
    });
  });

  it("is asked for by workspace alone when the instance is unknown", async () => {
    const { controlPlane, provisioner } = aPair();
    await provisioner.stop({ workspaceId: "w-1", instanceId: null });
    expect(await lastCall(controlPlane)).toMatchObject({ method: "DELETE", path: "/cp/workspaces/w-1" });
  });

  it.each([302, 400, 404, 409, 500, 503])("has failed after a %i", async (status) => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ method: "DELETE", path: "", act: "answer", status, body: '{"error":"not yet"}' });
    const reason = `w-1: the control plane answered ${status}: not yet`;
    expect(await provisioner.stop({ workspaceId: "w-1", instanceId: "i-1" })).toEqual({ kind: "failed", reason });
  });

  it("has failed when no answer comes in time", async () => {
    const { controlPlane, provisioner } = aPair({}, SHORT_PATIENCE_MS);
    await controlPlane.fail({ method: "DELETE", path: "", act: "hold" });
    expect(await provisioner.stop({ workspaceId: "w-1", instanceId: null })).toMatchObject({ kind: "failed" });
  });
});

describe("a look", () => {
  const DEAD = "stopped stopping shutting-down shutting_down terminated failed exited dead deleted Terminated".split(
    " ",
  );
  const unknown = (state: string) => ({ kind: "unknown", reason: `the control plane told the state "${state}"` });

  it.each<[string, object]>([
    ["running", { kind: "running" }],
    ["RUNNING", { kind: "running" }],
    ...DEAD.map((state): [string, object] => [state, { kind: "not_running" }]),
    ...["", "pending", "provisioning", "starting", "rebooting", "unknown", "not running"].map(
      (state): [string, object] => [state, unknown(state)],
    ),
    [" stopped\n", unknown("stopped")],
    ["x".repeat(51), unknown("x".repeat(50))],
    [`${"x".repeat(45)}shared-secret`, unknown(`${"x".repeat(45)}[secr`)],
  ])("finds the state %j", async (state, running) => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ method: "GET", path: "", act: "answer", status: 200, body: JSON.stringify({ state }) });
    expect(await provisioner.isRunning({ workspaceId: "w-1", instanceId: "i-1" })).toEqual(running);
    expect(await lastCall(controlPlane)).toMatchObject({
      method: "GET",
      path: "/cp/workspaces/w-1/status?instance_id=i-1",
      authorization: "Bearer shared-secret",
    });
  });

  it.each([
    ["404", 404, "{}"],
    ["answer without a state", 200, "{}"],
    ["page", 200, "<html>"],
  ])("tells nothing by a %s", async (_, status, body) => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ method: "GET", path: "", act: "answer", status, body });
    expect(await provisioner.isRunning({ workspaceId: "w-1", instanceId: "i-1" })).toMatchObject({ kind: "unknown" });
  });
});

describe("the console", () => {
  const CONSOLE = { method: "GET", path: "/console" };

  it("is asked for with the operators' token, or with the shared secret where there is none", async () => {
    for (const [consoleToken, bearer] of [
      ["console-token", "Bearer console-token"],
      ["", "Bearer shared-secret"],
    ] as const) {
      const { controlPlane, provisioner } = aPair({ consoleToken });
      await controlPlane.arrange("it boots\n");
      expect(await provisioner.console("w-1")).toBe("it boots\n");
      const path = "/cp/admin/workspaces/w-1/console";
      expect(await lastCall(controlPlane)).toMatchObject({ method: "GET", path, authorization: bearer });
    }
  });

  it("is shown up to 256 KiB", async () => {
    const { controlPlane, provisioner } = aPair();
    const frame = '{"output":""}'.length;
    const body = (size: number) => JSON.stringify({ output: "x".repeat(size - frame) });
    await controlPlane.fail({ ...CONSOLE, act: "answer", status: 200, body: body(256 * KIB) });
    expect(await provisioner.console("w-1")).toHaveLength(256 * KIB - frame);
    await controlPlane.fail({ ...CONSOLE, act: "answer", status: 200, body: body(256 * KIB + 1) });
    await expect(provisioner.console("w-1")).rejects.toThrow(ConsoleFailure);
  });

  it.each([
    ["is refused", { act: "answer", status: 404, body: '{"error":"no such machine"}' }, /404: no such machine$/],
    ["has no output", { act: "answer", status: 200, body: "{}" }, /no readable console/],
    ["gets no answer", { act: "reset" }, /./],
  ] as const)("fails when it %s", async (_, fault, words) => {
    const { controlPlane, provisioner } = aPair();
    await controlPlane.fail({ ...CONSOLE, ...fault });
    const failure = await provisioner.console("w-1").catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ConsoleFailure);
    expect((failure as ConsoleFailure).message).toMatch(words);
  });
});

it("writes a workspace's id into a path so that it leads nowhere else", async () => {
  const { controlPlane, provisioner } = aPair();
  await provisioner.stop({ workspaceId: "../admin?x=1", instanceId: null });
  expect(await lastCall(controlPlane)).toMatchObject({ path: "/cp/workspaces/..%2Fadmin%3Fx%3D1" });
});
