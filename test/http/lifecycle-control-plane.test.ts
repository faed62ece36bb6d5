import { env, runDurableObjectAlarm } from "cloudflare:test";
import { afterEach, expect, it, vi } from "vitest";
import { aControlPlane, aDockerEngine } from "../support/machine-server.ts";
import { call } from "../support/platform.ts";
import { until } from "../support/until.ts";

const controlPlane = aControlPlane();
const docker = aDockerEngine();

// Both backends: set before anything has read its configuration.
env.MOLECULE_ORG_ID = "org-of-both";
env.CP_PROVISION_URL = controlPlane.url;
env.DOCKER_HOST = docker.url;

afterEach(() => {
  vi.useRealTimers();
});

const headers = { "X-Molecule-Org-Id": "org-of-both" };
const post = (path: string, json: unknown = {}) => call(path, { json, headers });

/** What the control plane was asked for a workspace, once it was asked so often. */
async function askedOf(id: string, count: number): Promise<string[]> {
  return until(`the control plane was asked ${count} times`, async () => {
    const received = (await controlPlane.received()).filter(({ path, body }) => `${path}${atob(body)}`.includes(id));
    const asked = received.map(
      ({ method, path }) => `${method} ${path.replace(/^.*(?=\/cp\/)/, "").replaceAll(id, ":id")}`,
    );
    return asked.length >= count && asked;
  });
}

/** The agent's first registration, without a token: it gets the only one there is. */
async function firstRegistration(id: string): Promise<string> {
  const json = { id, delivery_mode: "poll", agent_card: { name: "agent" } };
  const { status, body, text } = await call("/registry/register", { json, headers });
  if (status !== 200) throw new Error(text);
  return body.auth_token;
}

it("every machine of a workspace is brought the files of its template, because none finds those of the one before", async () => {
  const name = `template-${crypto.randomUUID()}`;
  await post("/templates/import", { name, files: { "config.yaml": "runtime: codex\n", "AGENTS.md": "be kind" } });
  const { body } = await post("/workspaces", { name: "with files", template: name });
  await askedOf(body.id, 1);
  await until("it runs", async () => (await controlPlane.show()).running.includes(body.id));
  await firstRegistration(body.id);
  await until("its start is known", async () => (await env.WORKSPACE.getByName(body.id).lookAfterMachines()) === null);
  await post(`/workspaces/${body.id}/restart`);
  await askedOf(body.id, 3);
  const starts = (await controlPlane.received())
    .filter(({ method, body: sent }) => method === "POST" && atob(sent).includes(body.id))
    .map(({ body: sent }) => JSON.parse(atob(sent)).config_files["AGENTS.md"]);
  expect(starts).toEqual(["be kind", "be kind"]);
});

it("a workspace that is paused has nothing left to remove, and its removal asks the control plane nothing", async () => {
  const { body } = await post("/workspaces", { name: "at rest", runtime: "codex" });
  const { id } = body;
  await askedOf(id, 1);
  await until("it runs", async () => (await controlPlane.show()).running.includes(id));
  await post(`/workspaces/${id}/pause`);
  await askedOf(id, 2);
  await until("its stop is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
  const removed = await call(`/workspaces/${id}`, { method: "DELETE", headers });
  expect(removed.body).toEqual({ status: "removed", cascade_deleted: 0 });
  expect(await env.WORKSPACE.getByName(id).lookAfterMachines()).toBeNull();
  expect(await askedOf(id, 2)).toHaveLength(2);
});

it("whoever registers before a machine is started does not lock its agent out", async () => {
  const { body } = await post("/workspaces", { name: "early", runtime: "codex" });
  await askedOf(body.id, 1);
  await until("it runs", async () => (await controlPlane.show()).running.includes(body.id));
  await firstRegistration(body.id);
  await post(`/workspaces/${body.id}/restart`);
  const json = { id: body.id, delivery_mode: "poll", agent_card: { name: "stranger" } };
  await call("/registry/register", { json, headers });
  await askedOf(body.id, 3);
  await until("its agent is let in", async () => {
    const { status } = await call("/registry/register", { json, headers });
    return status === 200;
  });
});

it("a machine that went away by itself is asked for by its id once its agent is silent, and replaced", async () => {
  const { body } = await post("/workspaces", { name: "mortal", runtime: "codex" });
  const { id } = body;
  await askedOf(id, 1);
  await until("it runs", async () => (await controlPlane.show()).running.includes(id));
  await firstRegistration(id);
  await until("its start is known", async () => (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null);
  await fetch(`${controlPlane.url}/cp/workspaces/${id}`, { method: "DELETE" });
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 91_000 });
  await until("another one runs", async () => {
    await env.WORKSPACE.getByName(id).wake();
    await runDurableObjectAlarm(env.MACHINE.getByName(id));
    return (await controlPlane.show()).running.includes(id);
  });
  expect((await askedOf(id, 5)).slice(2)).toEqual([
    expect.stringMatching(/^GET \/cp\/workspaces\/:id\/status\?instance_id=i-/),
    expect.stringMatching(/^DELETE \/cp\/workspaces\/:id\?instance_id=i-/),
    "POST /cp/workspaces/provision",
  ]);
});

it("a machine whose start answer is lost is stopped without an id, before another one starts", async () => {
  await controlPlane.fail({ method: "POST", path: "/cp/workspaces/provision", act: "lose_answer" });
  const { body } = await post("/workspaces", { name: "cut", runtime: "codex" });
  const asked = await askedOf(body.id, 2);
  expect(asked).toEqual(["POST /cp/workspaces/provision", "DELETE /cp/workspaces/:id"]);
  await until("it failed", async () => (await call(`/workspaces/${body.id}`, { headers })).body.status === "failed");
});

it("the files of an import, a template and a bundle reach the control plane, and no token does", async () => {
  const file = { "AGENTS.md": `be kind ${crypto.randomUUID()}` };
  expect(
    (await post("/templates/import", { name: "kind", files: { "config.yaml": "tier: 4\n", ...file } })).status,
  ).toBe(201);
  const sentFor = async (id: string) => {
    await askedOf(id, 1);
    const asked = (await controlPlane.received()).map(({ body }) => atob(body)).find((body) => body.includes(id)) ?? "";
    return Object.keys(JSON.parse(asked).config_files).sort();
  };
  const made = await post("/workspaces", { name: "of a template", runtime: "codex", template: "kind" });
  expect(await sentFor(made.body.id)).toEqual(["AGENTS.md", "config.yaml"]);
  const node = { name: "of an import", template: "kind", system_prompt: "be brief" };
  const { body } = await post("/org/import", { template: { name: "org", workspaces: [node] } });
  expect(await sentFor(body.workspaces[0].id)).toEqual(["AGENTS.md", "config.yaml", "system-prompt.md"]);
  const bundle = await post("/bundles/import", { name: "of a bundle", prompts: file });
  expect(await sentFor(bundle.body.workspace_id)).toEqual(["AGENTS.md", "config.yaml"]);
});
