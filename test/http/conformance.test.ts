import { describe, expect, it } from "vitest";
import { aDeployment } from "../support/client-deployment.ts";
import { aRemovedAgent } from "../support/client-tree.ts";
import { anAgent, BASE, call, poll, tell } from "../support/platform.ts";

const ZERO_UUID = "00000000-0000-0000-0000-000000000000";

// The rows of the contract's section 11 that are about registry and inbox, by their numbers.
describe("conformance", () => {
  it("1: registering a fresh uuid in poll mode with only a card says registered and shows a token", async () => {
    const answer = await call("/registry/register", {
      json: { id: crypto.randomUUID(), delivery_mode: "poll", agent_card: { name: "e2e" } },
    });
    expect(answer.status).toBe(200);
    expect(answer.text).toContain('"status":"registered"');
    expect(answer.body.auth_token.length).toBeGreaterThan(0);
  });

  it("10: the zero UUID as a cursor is 410", async () => {
    const agent = await anAgent();
    expect((await poll(agent, { since_id: ZERO_UUID })).status).toBe(410);
    await tell(agent, "now there is a row");
    expect((await poll(agent, { since_id: ZERO_UUID, limit: "1" })).status).toBe(410);
  });

  it("11: a row of A as a cursor on B is 410", async () => {
    const [a, b] = await Promise.all([anAgent(), anAgent()]);
    await Promise.all([tell(a, "to A"), tell(b, "to B")]);
    const [{ id }] = (await poll(a)).body;
    expect((await poll(b, { since_id: id })).status).toBe(410);
  });

  it("12: of three rows, a poll with the first one's id brings the two later ones ascending", async () => {
    const agent = await anAgent();
    for (const text of ["1", "2", "3"]) await tell(agent, text);
    const [third, second, first] = (await poll(agent)).body;
    expect((await poll(agent, { since_id: first.id })).body).toEqual([second, third]);
  });

  it("13: without a cursor rows come descending", async () => {
    const agent = await anAgent();
    const sent = [];
    for (const text of ["1", "2", "3"]) sent.push((await tell(agent, text)).body.activity_id);
    expect((await poll(agent)).body.map((row: { id: string }) => row.id)).toEqual(sent.toReversed());
  });

  it("14: a peer's message to a poll target is answered by the envelope and is one row from that peer", async () => {
    const [agent, peer] = await Promise.all([anAgent(), anAgent()]);
    const { status, body } = await tell(agent, "hi", peer);
    expect(status).toBe(200);
    expect(body).toEqual({
      status: "queued",
      delivery_mode: "poll",
      method: "message/send",
      activity_id: expect.any(String),
    });
    expect((await poll(agent)).body).toMatchObject([{ source_id: peer.id, method: "message/send" }]);
  });

  it("15: a poll registration with a bad URL is 200; the mode `pull` is 400", async () => {
    const register = (more: object) =>
      call("/registry/register", { json: { id: crypto.randomUUID(), agent_card: {}, ...more } });
    for (const url of ["not a url", "http://127.0.0.1", "ftp://x", "http://169.254.169.254"]) {
      expect((await register({ url, delivery_mode: "poll" })).status, url).toBe(200);
    }
    expect(await register({ delivery_mode: "pull" })).toMatchObject({
      status: 400,
      body: { error: "delivery_mode must be 'push' or 'poll'" },
    });
  });

  it("16: registering again without a bearer after a token exists is 401", async () => {
    const agent = await anAgent();
    await poll(agent);
    const json = { id: agent.id, delivery_mode: "poll", agent_card: { name: "agent", skills: [] } };
    expect(await call("/registry/register", { json })).toMatchObject({
      status: 401,
      body: { error: "missing workspace auth token" },
    });
  });

  it("17: a minimal heartbeat is 200", async () => {
    const { id, token } = await anAgent();
    const answer = await call("/registry/heartbeat", { token, json: { workspace_id: id } });
    expect(answer.status).toBe(200);
    expect(answer.text).toContain('"status":"ok"');
  });

  it("18: since_secs=0, source=x, peer_id=x and before_ts=x are 400 each", async () => {
    const agent = await anAgent();
    for (const query of [{ since_secs: "0" }, { source: "x" }, { peer_id: "x" }, { before_ts: "x" }]) {
      expect(await poll(agent, query)).toMatchObject({ status: 400, body: { error: expect.any(String) } });
    }
  });

  it("29: an Origin equal to the own URL is never 403", async () => {
    const { id, token } = await anAgent();
    const requests: [string, string, unknown?][] = [
      ["GET", "/health"],
      ["POST", "/registry/register", { id, delivery_mode: "poll", agent_card: {} }],
      ["POST", "/registry/heartbeat", { workspace_id: id }],
      ["POST", "/registry/update-card", { workspace_id: id, agent_card: {} }],
      ["GET", `/registry/discover/${id}`],
      ["GET", `/registry/${id}/peers`],
      ["POST", "/registry/check-access", { caller_id: id, target_id: id }],
      ["GET", `/workspaces/${id}`],
      ["GET", `/workspaces/${id}/activity`],
      ["POST", `/workspaces/${id}/activity`, { activity_type: "agent_log" }],
      ["POST", `/workspaces/${id}/notify`, { message: "m" }],
      ["GET", `/workspaces/${id}/session-search`],
      ["GET", `/workspaces/${id}/tokens`],
      ["POST", `/workspaces/${id}/a2a`, { parts: [] }],
    ];
    for (const Origin of [BASE, `${BASE}/`]) {
      for (const [method, path, json] of requests) {
        const headers = { Origin, "X-Workspace-ID": id };
        const answer = await call(path, { method, token, headers, ...(json === undefined ? {} : { json }) });
        expect(answer.status, `${method} ${path}`).toBe(200);
      }
      for (const path of ["/workspaces", "/admin/pending-uploads", "/readyz", "/no/such/route"]) {
        expect((await call(path, { token, headers: { Origin } })).status, path).not.toBe(403);
      }
    }
  });

  it("30: of a removed workspace the public view is 410, bearer calls are 401, and so is its heartbeat", async () => {
    const removed = await aRemovedAgent();
    const { id, token } = removed;
    expect(await call(`/workspaces/${id}`)).toMatchObject({ status: 410, body: { error: "workspace removed", id } });
    const requests: [string, unknown?][] = [
      [`/workspaces/${id}/activity`],
      [`/workspaces/${id}/activity?wait=1`],
      [`/workspaces/${id}/tokens`],
      [`/workspaces/${id}/session-search`],
      [`/workspaces/${id}/notify`, { message: "m" }],
      [`/workspaces/${id}/activity`, { activity_type: "error" }],
      [`/workspaces/${id}/activity/ack`, { acked_seq: 1 }],
      [`/workspaces/${id}/a2a`, { parts: [] }],
      ["/registry/heartbeat", { workspace_id: id }],
      ["/registry/update-card", { workspace_id: id, agent_card: {} }],
      [`/registry/${id}/peers`],
      ["/registry/check-access", { caller_id: id, target_id: id }],
    ];
    for (const deployment of [{ call }, aDeployment()]) {
      for (const [path, json] of requests) {
        const answer = await deployment.call(path, { token, ...(json === undefined ? {} : { json }) });
        expect(answer.status, path).toBe(401);
        expect(answer.body.error).toMatch(/^invalid (workspace|caller) auth token$/);
      }
    }
  });

  // Row 19, the limits, is in cursor.test.ts; rows 2 to 9, 20 and 21 are in uploads.test.ts.
});
