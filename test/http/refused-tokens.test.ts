import { describe, expect, it, onTestFinished, vi } from "vitest";
import { REFUSED_MS } from "../../src/http/refused-tokens.ts";
import { aDeployment } from "../support/client-deployment.ts";
import { remove } from "../support/client-tree.ts";
import { costsOf } from "../support/counting.ts";
import { type Agent, aMessage, anAgent, call } from "../support/platform.ts";

/** An agent whose token was revoked. */
async function aRevokedAgent(): Promise<Agent> {
  const agent = await anAgent();
  const { body } = await call(`/workspaces/${agent.id}/tokens`);
  await call(`/workspaces/${agent.id}/tokens/${body.tokens[0].id}`, { method: "DELETE" });
  return agent;
}

function aLimiter(allowed: number) {
  const keys: string[] = [];
  return { keys, limit: async ({ key }: { key: string }) => ({ success: keys.push(key) <= allowed }) };
}

function passTime(ms: number): void {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + ms });
  onTestFinished(() => void vi.useRealTimers());
}

describe("a token that its object does not know", () => {
  it("is counted by address wherever it is shown, and is 429 when there were too many", async () => {
    const headers = { "CF-Connecting-IP": "203.0.113.9" };
    const json = aMessage("hi");
    for (const [path, options] of [
      ["activity", {}],
      ["activity?wait=1", {}],
      ["a2a", { json }],
      ["tokens", {}],
    ] as const) {
      const { id, token } = await aRevokedAgent();
      const limiter = aLimiter(2);
      const closed = aDeployment({ BAD_CREDENTIALS: limiter });
      const attempt = () => closed.call(`/workspaces/${id}/${path}`, { ...options, token, headers });
      expect([(await attempt()).status, (await attempt()).status], path).toEqual([401, 401]);
      expect(await attempt()).toMatchObject({ status: 429, body: { retry_after: 60 } });
      expect(limiter.keys).toEqual(["203.0.113.9", "203.0.113.9", "203.0.113.9"]);
    }
  });

  it("does not wake the object again for a few seconds, and is refused in the same words", async () => {
    const { id, token } = await aRevokedAgent();
    const closed = aDeployment();
    const poll = () => closed.call(`/workspaces/${id}/activity`, { token });
    const first = await poll();
    const costs = await costsOf(async () => {
      expect(await poll()).toMatchObject({ status: 401, body: { code: first.body.code, error: first.body.error } });
    });
    expect(costs.objectRequests).toEqual([]);
    passTime(REFUSED_MS);
    expect((await costsOf(poll)).objectRequests).toEqual(["listActivity"]);
  });

  it("still learns at once that its workspace was removed", async () => {
    const agent = await anAgent();
    await remove(agent);
    const heartbeat = { token: agent.token, json: { workspace_id: agent.id } };
    expect((await call("/registry/heartbeat", heartbeat)).status).toBe(401);
    const state = await call(`/workspaces/${agent.id}/state`, { token: agent.token });
    expect(state).toMatchObject({ status: 404, body: { status: "removed" } });
  });

  it("passes TenantGuard as before", async () => {
    const { id, token } = await aRevokedAgent();
    const guarded = aDeployment({ MOLECULE_ORG_ID: "acme" });
    for (const _ of [1, 2]) expect((await guarded.call(`/workspaces/${id}/activity`, { token })).status).toBe(401);
  });
});

describe("a good token", () => {
  it("costs one request of one object and never asks the limiter", async () => {
    const { id, token } = await anAgent();
    const limiter = aLimiter(0);
    const closed = aDeployment({ BAD_CREDENTIALS: limiter });
    const costs = await costsOf(() => closed.call(`/workspaces/${id}/activity`, { token }));
    expect([costs.objectRequests, limiter.keys]).toEqual([["listActivity"], []]);
  });
});
