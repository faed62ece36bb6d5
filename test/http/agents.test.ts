import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { losing } from "../support/lost-words.ts";
import { type Agent, anAgent, call } from "../support/platform.ts";
import { until } from "../support/until.ts";

afterEach(() => {
  vi.useRealTimers();
});

const directory = () => env.DIRECTORY.getByName("default");
const assign = (id: string, model: unknown, token?: string) =>
  call(`/workspaces/${id}/agent`, { json: { model }, ...(token === undefined ? {} : { token }) });
const replace = (id: string, model: unknown) => call(`/workspaces/${id}/agent`, { method: "PATCH", json: { model } });
const remove = (id: string) => call(`/workspaces/${id}/agent`, { method: "DELETE" });
const move = (id: string, target: unknown) =>
  call(`/workspaces/${id}/agent/move`, { json: { target_workspace_id: target } });

/** The workspaces that own this agent. */
function ownersOf(agentId: string): Promise<string[]> {
  return runInDurableObject(directory(), (_instance, { storage }) =>
    storage.sql
      .exec<{ owner: string }>("SELECT workspace_id AS owner FROM agents WHERE agent_id = ?", agentId)
      .toArray()
      .map(({ owner }) => owner),
  );
}

/** The events of agents that the ledger has of a workspace, oldest first, once there are so many. */
async function agentEvents({ id }: Pick<Agent, "id">, count: number): Promise<[string, Record<string, string>][]> {
  return until(`${count} events of ${id}`, async () => {
    const { body } = await call(`/events/${id}`);
    const events = (body as { event_type: string; payload: Record<string, string> }[])
      .filter(({ event_type }) => event_type.startsWith("AGENT_") && event_type !== "AGENT_CARD_UPDATED")
      .map(({ event_type, payload }): [string, Record<string, string>] => [event_type, payload]);
    return events.length >= count && events.reverse();
  });
}

describe("the agent of a workspace", () => {
  it("is assigned, replaced, moved and removed, and its history stands with the workspaces", async () => {
    const [one, other] = [await anAgent(), await anAgent()];
    const assigned = await assign(one.id, "anthropic/claude");
    expect(assigned).toMatchObject({ status: 201, body: { model: "anthropic/claude" } });
    const first = assigned.body.agent_id;
    const replaced = await replace(one.id, "openai/gpt");
    const second = replaced.body.agent_id;
    expect(replaced).toMatchObject({ status: 200, body: { model: "openai/gpt", old_model: "anthropic/claude" } });
    expect(second).not.toBe(first);
    expect((await move(one.id, other.id)).body).toEqual({
      agent_id: second,
      model: "openai/gpt",
      from_workspace: one.id,
      to_workspace: other.id,
    });
    expect(await ownersOf(second)).toEqual([other.id]);
    expect((await remove(other.id)).body).toEqual({ status: "removed", agent_id: second });
    expect(await ownersOf(second)).toEqual([]);
    const shown = { agent_id: second, model: "openai/gpt" };
    expect(await agentEvents(one, 3)).toEqual([
      ["AGENT_ASSIGNED", { agent_id: first, model: "anthropic/claude" }],
      ["AGENT_REPLACED", { ...shown, old_model: "anthropic/claude" }],
      ["AGENT_MOVED", { ...shown, target_workspace_id: other.id }],
    ]);
    expect(await agentEvents(other, 2)).toEqual([
      ["AGENT_MOVED", { ...shown, source_workspace_id: one.id }],
      ["AGENT_REMOVED", shown],
    ]);
  });

  it("is at most one, and what is not there can be neither replaced, moved nor removed", async () => {
    const [one, other] = [await anAgent(), await anAgent()];
    const none = { status: 404, body: { code: "agent.not_found" } };
    for (const answer of [await replace(one.id, "m"), await remove(one.id), await move(one.id, other.id)]) {
      expect(answer).toMatchObject(none);
    }
    const answers = await Promise.all([assign(one.id, "a"), assign(one.id, "b"), assign(other.id, "c")]);
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 201, 409]);
    const taken = { status: 409, body: { code: "agent.exists" } };
    expect(await move(one.id, other.id)).toMatchObject(taken);
    expect(await move(one.id, one.id)).toMatchObject(taken);
    const stays = (await Promise.all(answers.map(({ body }) => body.agent_id && ownersOf(body.agent_id)))).flat();
    expect(stays.filter(Boolean).sort()).toEqual([one.id, other.id].sort());
  });

  it("has one owner after two moves at once, and after one whose telling was lost", async () => {
    const [one, left, right] = [await anAgent(), await anAgent(), await anAgent()];
    const { agent_id: agentId } = (await assign(one.id, "m")).body;
    const moves = await Promise.all([move(one.id, left.id), move(one.id, right.id)]);
    expect(moves.map(({ status }) => status).sort()).toEqual([200, 404]);
    const [owner = ""] = await ownersOf(agentId);
    expect([left.id, right.id]).toContain(owner);
    expect(await losing("noted", 2, () => move(owner, one.id))).toMatchObject({ status: 200 });
    expect(await ownersOf(agentId)).toEqual([one.id]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
    await runDurableObjectAlarm(directory());
    vi.useRealTimers();
    const moved = ["AGENT_MOVED", expect.objectContaining({ source_workspace_id: owner })];
    expect((await agentEvents(one, 3)).at(-1)).toEqual(moved);
  });

  it("goes with its workspace, and none is given to one that is gone or was never there", async () => {
    const [removed, purged, alive] = [await anAgent(), await anAgent(), await anAgent()];
    const agents = [(await assign(removed.id, "m")).body.agent_id, (await assign(purged.id, "m")).body.agent_id];
    await assign(alive.id, "m");
    await call(`/workspaces/${removed.id}`, { method: "DELETE" });
    await call(`/workspaces/${purged.id}?purge=true`, { method: "DELETE" });
    expect((await Promise.all(agents.map(ownersOf))).flat()).toEqual([]);
    for (const { id } of [removed, purged]) {
      const gone = { status: 410, body: { code: "workspace.removed" } };
      expect(await assign(id, "m")).toMatchObject(gone);
      expect(await move(alive.id, id)).toMatchObject(gone);
    }
    const nobody = crypto.randomUUID();
    for (const answer of [await assign(nobody, "m"), await move(alive.id, nobody), await remove(nobody)]) {
      expect(answer).toMatchObject({ status: 404, body: { error: "workspace not found" } });
    }
  });

  it("has a model of at most 100 bytes in one line, and a target that is a workspace's id", async () => {
    const { id } = await anAgent();
    const invalid = { status: 400, body: { error: "invalid request body" } };
    for (const model of ["", "a\nb", "a\rb", "ä".repeat(51), 7, null]) {
      expect(await assign(id, model), JSON.stringify(model)).toMatchObject(invalid);
      expect(await replace(id, model), JSON.stringify(model)).toMatchObject(invalid);
    }
    expect((await assign(id, "ä".repeat(50))).status).toBe(201);
    for (const target of ["nobody", id.toUpperCase(), 7, null]) expect(await move(id, target)).toMatchObject(invalid);
  });
});

describe("who may change an agent", () => {
  it("is the workspace itself and operators, and nobody else", async () => {
    const [own, other] = [await anAgent(), await anAgent()];
    const closed = aDeployment();
    const path = `/workspaces/${own.id}/agent`;
    const json = { model: "m" };
    expect((await closed.call(path, { json })).status).toBe(401);
    expect((await closed.call(path, { json, token: other.token })).status).toBe(401);
    expect((await closed.call(path, { json, token: own.token })).status).toBe(201);
    expect((await closed.call(path, { json, method: "PATCH", token: ADMIN_TOKEN })).status).toBe(200);
    expect((await closed.call(path, { method: "DELETE", token: own.token })).status).toBe(200);
  });

  it("moves it with a right on both workspaces only, and learns nothing of a target without", async () => {
    const [own, other] = [await anAgent(), await anAgent()];
    const closed = aDeployment();
    const path = `/workspaces/${own.id}/agent`;
    const moved = async (target: string, token: string) => {
      const answer = await closed.call(`${path}/move`, { json: { target_workspace_id: target }, token });
      const { request_id: _, ...body } = answer.body;
      return { status: answer.status, body };
    };
    await closed.call(path, { json: { model: "m" }, token: own.token });
    const refused = await moved(other.id, own.token);
    expect(refused).toMatchObject({ status: 403, body: { code: "agent.target_forbidden" } });
    expect(await moved(crypto.randomUUID(), own.token)).toEqual(refused);
    expect((await moved(own.id, own.token)).status).toBe(409);
    expect((await moved(own.id, other.token)).status).toBe(401);
    expect((await moved(other.id, ADMIN_TOKEN)).status).toBe(200);
  });
});
