import { env } from "cloudflare:workers";
import { expect, it } from "vitest";
import { anAgent, call } from "../support/platform.ts";

// A deployment that nobody gave a key, objects included: set before anything has read its configuration.
env.SECRETS_KEY = "";

it("a platform without SECRETS_KEY says so when a secret is to be kept, and does everything else", async () => {
  const { id, token } = await anAgent();
  const missing = { status: 503, body: { error: "platform cannot store or read secrets", code: "secret.key_missing" } };
  const json = { key: "K", value: "v" };
  expect(await call(`/workspaces/${id}/secrets`, { method: "PUT", token, json })).toMatchObject(missing);
  expect(await call("/settings/secrets", { method: "PUT", json })).toMatchObject(missing);
  expect((await call(`/workspaces/${id}/secrets`, { token })).body).toEqual([]);
  const { outcome } = await env.DIRECTORY.getByName("default").environmentOf(id);
  expect(outcome).toEqual({ ok: true, value: {} });
  expect((await call("/readyz")).body.findings).toEqual(["open dev mode: requests without a bearer are admitted"]);
});

it("a workspace whose secrets cannot be sealed is not made", async () => {
  const before = (await call("/workspaces")).body.length;
  const name = crypto.randomUUID();
  const answer = await call("/workspaces", { json: { name, runtime: "external", secrets: { API_KEY: "v" } } });
  expect(answer).toMatchObject({
    status: 503,
    body: { error: "failed to encrypt secret: API_KEY", code: "secret.key_missing" },
  });
  expect((await call("/workspaces")).body).toHaveLength(before);
});
