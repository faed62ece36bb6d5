import { afterEach, describe, expect, it, vi } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aRemovedAgent } from "../support/client-tree.ts";
import { type Agent, anAgent, call, poll } from "../support/platform.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

function notify({ id, token }: Agent, json: unknown) {
  return call(`/workspaces/${id}/notify`, { token, json });
}

describe("an agent's words to its user", () => {
  it("are a row of its own feed, from nobody to nobody, with the text as its result", async () => {
    const agent = await anAgent();
    expect(await notify(agent, { message: "done", type: "info" })).toMatchObject({
      status: 200,
      text: '{"status":"sent"}',
    });
    const [row] = (await poll(agent)).body;
    expect(row).toMatchObject({
      activity_type: "a2a_receive",
      method: "notify",
      source_id: null,
      target_id: null,
      status: "ok",
      summary: "Agent message: done",
      response_body: { result: "done" },
    });
    expect(row).not.toHaveProperty("request_body");
    expect((await poll(agent, { direction: "in" })).body).toEqual([]);
    expect((await poll(agent, { source: "canvas" })).body).toHaveLength(1);
  });

  it("are summarised by their first 80 characters, whatever the script", async () => {
    const agent = await anAgent();
    const words = ["🐎".repeat(81), "漢".repeat(80), "a".repeat(79)];
    for (const message of words) await notify(agent, { message });
    const summaries = (await poll(agent)).body.map((row: { summary: string }) => row.summary).reverse();
    expect(summaries).toEqual([
      `Agent message: ${"🐎".repeat(80)}…`,
      `Agent message: ${"漢".repeat(80)}`,
      `Agent message: ${"a".repeat(79)}`,
    ]);
  });

  it("may be blanks, and are a new row each time", async () => {
    const agent = await anAgent();
    for (let times = 0; times < 2; times++) expect((await notify(agent, { message: " " })).status).toBe(200);
    expect((await poll(agent)).body).toHaveLength(2);
  });

  it("carry attachments as file parts, with only what was given, and with any uri", async () => {
    const agent = await anAgent();
    const attachments = [
      { uri: "workspace:/tmp/a.png", name: "a.png", mimeType: "image/png", size: 7, extra: 1 },
      { uri: "https://example.com/b", name: "b", mimeType: null, size: 0 },
    ];
    expect((await notify(agent, { message: "two files", attachments })).status).toBe(200);
    const [row] = (await poll(agent)).body;
    expect(row.response_body).toEqual({
      result: "two files",
      parts: [
        { kind: "file", file: { uri: "workspace:/tmp/a.png", name: "a.png", mimeType: "image/png", size: 7 } },
        { kind: "file", file: { uri: "https://example.com/b", name: "b" } },
      ],
    });
  });

  it("name the first attachment that lacks uri or name, and leave no row", async () => {
    const agent = await anAgent();
    const good = { uri: "u", name: "n" };
    for (const bad of [{ name: "n" }, { uri: "u", name: "" }, { uri: null, name: "n" }]) {
      expect(await notify(agent, { message: "m", attachments: [good, bad] })).toMatchObject({
        status: 400,
        body: { error: "attachment[1]: uri and name are required" },
      });
    }
    for (const attachments of ["x", {}, [7], [{ uri: 7, name: "n" }]]) {
      expect(await notify(agent, { message: "m", attachments })).toMatchObject({
        status: 400,
        body: { error: "message is required" },
      });
    }
    expect((await notify(agent, { message: "m", attachments: null })).status).toBe(200);
    expect((await poll(agent)).body).toHaveLength(1);
  });

  it("of an unknown or removed workspace are 404 for an operator, 401 for the old bearer", async () => {
    const removed = await aRemovedAgent();
    expect((await notify(removed, { message: "m" })).status).toBe(401);
    for (const id of [removed.id, crypto.randomUUID()]) {
      expect(await call(`/workspaces/${id}/notify`, { json: { message: "m" } })).toMatchObject({
        status: 404,
        body: { error: "workspace not found" },
      });
    }
  });

  it("need the workspace's own bearer or an operator's", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const closed = aDeployment();
    const path = `/workspaces/${agent.id}/notify`;
    expect((await notify({ id: agent.id, token: other.token }, { message: "m" })).status).toBe(401);
    expect((await closed.call(path, { json: { message: "m" } })).status).toBe(401);
    expect((await closed.call(path, { json: { message: "m" }, token: ADMIN_TOKEN })).status).toBe(200);
    expect((await poll(agent)).body).toHaveLength(1);
  });

  it("never reach the log", async () => {
    const agent = await anAgent();
    const logged = vi.spyOn(console, "log");
    await notify(agent, { message: "a-secret-word" });
    const lines = JSON.stringify(logged.mock.calls);
    expect(lines).not.toContain("a-secret-word");
    expect(lines).not.toContain(agent.token);
  });
});
