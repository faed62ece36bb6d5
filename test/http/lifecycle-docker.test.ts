import { env } from "cloudflare:test";
import { expect, it } from "vitest";
import { aDockerEngine } from "../support/machine-server.ts";
import { call } from "../support/platform.ts";
import { until } from "../support/until.ts";

const docker = aDockerEngine();

// Docker alone: set before anything has read its configuration.
env.DOCKER_HOST = docker.url;

const post = (path: string, json: unknown = {}) => call(path, { json });

/** The calls that change something, without the version in their path, once there are so many starts and removals. */
async function changesOf(id: string, count: number): Promise<string[]> {
  const name = `ws-${id.slice(0, 12)}`;
  return until(`${count} starts and removals of ${name}`, async () => {
    const changes = (await docker.received())
      .map(({ method, path }) => `${method} ${path.replace(/^.*\/v[\d.]+/, "").replace(/\?.*$/, "")}`)
      .filter((line) => /^POST \/containers\/.*(create|start)$|^DELETE \/containers\//.test(line));
    return changes.filter((line) => !line.endsWith("/create")).length >= count && changes;
  });
}

it("with Docker alone a machine is created and started, and every stop removes its container", async () => {
  const { body, status } = await post("/workspaces", { name: "docked", runtime: "codex" });
  expect(status).toBe(201);
  const { id } = body;
  const created = await changesOf(id, 1);
  expect(created.at(-1)).toMatch(/^POST \/containers\/[^/]+\/start$/);
  await post(`/workspaces/${id}/restart`);
  const restarted = (await changesOf(id, 3)).filter((line) => !line.includes("/volumes/"));
  expect(restarted.map((line) => line.replace(/\/containers\/(?!create)[^/]+/, "/containers/:id")).slice(-4)).toEqual([
    "POST /containers/:id/start",
    "DELETE /containers/:id",
    "POST /containers/create",
    "POST /containers/:id/start",
  ]);
  await call(`/workspaces/${id}`, { method: "DELETE" });
  expect((await changesOf(id, 4)).at(-1)).toMatch(/^DELETE \/containers\//);
  await until("its volumes are gone too", async () => {
    const { volumes } = await docker.show();
    return volumes.every((volume) => !volume.includes(id));
  });
});
