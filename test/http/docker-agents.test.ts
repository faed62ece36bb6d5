import { env } from "cloudflare:test";
import { describe, expect, inject, it } from "vitest";
import { aDockerEngine } from "../support/machine-server.ts";
import { aForm } from "../support/parcel-post.ts";
import { aMessage, call } from "../support/platform.ts";
import { until } from "../support/until.ts";
import { tokenInContainer } from "../support/verb-calls.ts";

const docker = aDockerEngine();
const ADMIN = "the operator's secret";

// A closed deployment beside its Docker engine: set before anything has read its configuration.
env.MOLECULE_ENV = "production";
env.ADMIN_TOKEN = ADMIN;
env.LOCAL_PLATFORM = "";
env.DOCKER_HOST = docker.url;

/** A workspace whose container is published where the agent server of this run answers; with its token. */
async function aContainer(): Promise<{ id: string; token: string }> {
  await docker.arrange({ hostPort: new URL(inject("agentServer")).port });
  const json = { name: crypto.randomUUID(), runtime: "langgraph" };
  const { body, text } = await call("/workspaces", { token: ADMIN, json });
  if (!body?.id) throw new Error(text);
  const token = await tokenInContainer(docker, body.id);
  return { id: body.id, token };
}

function register({ id, token }: { id: string; token: string }, url: string | null) {
  const json = { id, ...(url === null ? {} : { url }), agent_card: { name: "agent", skills: [] } };
  return call("/registry/register", { token, json });
}

async function urlOf(id: string): Promise<string> {
  const { body } = await call("/workspaces", { token: ADMIN });
  return body.find((entry: { id: string }) => entry.id === id).url;
}

const tell = (id: string) => call(`/workspaces/${id}/a2a`, { token: ADMIN, json: aMessage("hello") });

describe("the agent of a container", () => {
  it("is called where its engine publishes it, whatever name it gives itself", async () => {
    const container = await aContainer();
    const registered = await register(container, `http://ws-${container.id.slice(0, 12)}:8000`);
    expect(registered).toMatchObject({ status: 200, body: { delivery_mode: "push" } });
    await until("its port is known", async () => (await urlOf(container.id)) === inject("agentServer"));
    expect(await tell(container.id)).toMatchObject({ status: 200, body: { result: { parts: [{ text: "echo" }] } } });
  });

  it("may leave its URL out", async () => {
    const container = await aContainer();
    expect((await register(container, null)).status).toBe(200);
    await until("its port is known", async () => (await urlOf(container.id)) === inject("agentServer"));
    expect((await tell(container.id)).status).toBe(200);
  });

  it("is found by its kin at the platform, which alone can call it there", async () => {
    const container = await aContainer();
    await register(container, null);
    await until("its port is known", async () => (await urlOf(container.id)) !== "");
    const found = await call(`/registry/discover/${container.id}`, {
      token: container.token,
      headers: { "X-Workspace-ID": container.id },
    });
    expect(found).toMatchObject({
      status: 200,
      body: { id: container.id, url: `http://posthouse.test/workspaces/${container.id}/a2a` },
    });
  });

  it("is not taken for another one that answers at its address once it is gone", async () => {
    const container = await aContainer();
    await register(container, null);
    await until("its port is known", async () => (await urlOf(container.id)) === inject("agentServer"));
    const name = `ws-${container.id.slice(0, 12)}`;
    const gone = (await docker.show()).containers.find((shown) => shown.name === name);
    await fetch(`${docker.url}/v1.41/containers/${gone?.id}?force=true`, { method: "DELETE" });
    const upload = await call(`/workspaces/${container.id}/chat/uploads`, {
      token: ADMIN,
      body: aForm(["a.txt", "secret"]),
    });
    expect(upload.status).toBe(502);
    expect(await tell(container.id)).toMatchObject({
      status: 503,
      body: { code: "a2a.restarting", restarting: true },
    });
    const looks = (await docker.received()).filter(
      ({ method, path }) => method === "GET" && path.includes(`${gone?.id}`),
    );
    // At its start for its port, before the upload and before the message; what was seen is not asked again.
    expect(looks).toHaveLength(3);
    expect((await tell(container.id)).body.delivery_confirmed).toBeUndefined();
  });

  it("takes files where its engine publishes it", async () => {
    const container = await aContainer();
    await register(container, null);
    await until("its port is known", async () => (await urlOf(container.id)) === inject("agentServer"));
    const path = `/workspaces/${container.id}/chat/download?path=/workspace/a.txt`;
    const download = await call(path, { token: ADMIN });
    expect(download.text).toContain("no such behaviour");
  });

  it("lets nobody else name a private address", async () => {
    const json = { name: crypto.randomUUID(), runtime: "external" };
    const { body } = await call("/workspaces", { token: ADMIN, json });
    const refused = await call("/registry/register", {
      token: body.connection.auth_token,
      json: { id: body.id, url: inject("agentServer"), agent_card: { name: "agent" } },
    });
    expect(refused).toMatchObject({ status: 400, body: { error: "url targets a blocked address: loopback" } });
  });
});
