import { describe, expect, it } from "vitest";
import { aPushAgent, PushAgent } from "../support/agent-server.ts";
import { aDeployment } from "../support/client-deployment.ts";
import { aRemovedAgent } from "../support/client-tree.ts";
import { aForm, aFormOf, encoded, heldBy, stageOne, upload, uploadBytes } from "../support/parcel-post.ts";
import { anAgent, call } from "../support/platform.ts";
import { becomeUnroutable, becomeUrlless } from "../support/push-rows.ts";

const noUrl = (what: string) => `workspace has no callback URL — chat ${what} requires push-mode + public URL`;
const download = (id: string, path = "/workspace/a.txt") =>
  call(`/workspaces/${id}/chat/download?path=${encodeURIComponent(path)}`);

describe("files for a push agent", () => {
  it("reach it as they were sent, under the secret of its registration, and rest nowhere on the way", async () => {
    const player = new PushAgent();
    const id = crypto.randomUUID();
    const registered = await call("/registry/register", {
      json: { id, delivery_mode: "push", url: player.url("echo"), agent_card: { name: "pushed" } },
    });
    const { body, headers } = await encoded(aForm(["a b.txt", "alpha\r\n--x"], ["ü.txt", "beta"]));
    expect((await uploadBytes({ id }, body, headers["Content-Type"] ?? "")).status).toBe(200);
    const [received] = await player.received();
    expect(received?.body).toBe(new TextDecoder().decode(body));
    expect(received?.headers["content-type"]).toBe(headers["Content-Type"]);
    expect(received?.headers.authorization).toBe(`Bearer ${registered.body.platform_inbound_secret}`);
    expect(await heldBy({ id })).toEqual({ files: 0, uploads: 0, rows: 0, keys: 0 });
  });

  it("need no length", async () => {
    const agent = await aPushAgent("echo");
    const { body, headers } = await encoded(aFormOf(2));
    const stream = new Blob([body]).stream().pipeThrough(new IdentityTransformStream());
    expect((await uploadBytes(agent, stream, headers["Content-Type"] ?? "")).status).toBe(200);
    const [received] = await agent.player.received();
    expect(received?.body).toBe(new TextDecoder().decode(body));
  });

  it.each([
    ["status/413", 413, '{"error":"agent says 413"}', "application/json"],
    ["status/500", 500, '{"error":"agent says 500"}', "application/json"],
    ["text/200", 200, "<html>words</html>", "text/html"],
    ["redirect", 302, "{}", null],
  ])("are answered with the agent's own words (%s), of whose headers only the type comes back", async (...row) => {
    const [behaviour, status, text, type] = row;
    const agent = await aPushAgent("script");
    await agent.player.play(behaviour);
    const answers = [await upload(agent.id, aFormOf(1)), await download(agent.id)];
    for (const answer of answers) {
      expect(answer).toMatchObject({ status, text });
      expect(answer.headers.get("Content-Type")).toBe(type);
      expect(answer.headers.get("Location")).toBeNull();
    }
    expect(await agent.player.received()).toHaveLength(2);
  });

  it("are 502 when nobody answers, 422 when the agent never told a URL, and refused for one that may not be called", async () => {
    const dead = await aPushAgent("reset");
    const urlless = await aPushAgent("echo");
    const unroutable = await aPushAgent("echo");
    await Promise.all([becomeUrlless(urlless.id), becomeUnroutable(unroutable.id)]);
    expect(await upload(dead.id, aFormOf(1))).toMatchObject({ status: 502, body: { error: "workspace unreachable" } });
    expect(await upload(urlless.id, aFormOf(1))).toMatchObject({ status: 422, body: { error: noUrl("upload") } });
    expect(await upload(unroutable.id, aFormOf(1))).toMatchObject({ body: { code: "a2a.not_routable" } });
    for (const { player } of [urlless, unroutable]) expect(await player.received()).toEqual([]);
  });

  it("come to rest here as soon as the agent polls instead", async () => {
    const agent = await aPushAgent("echo");
    const json = { id: agent.id, delivery_mode: "poll", agent_card: {} };
    expect((await call("/registry/register", { json, token: agent.token })).status).toBe(200);
    expect(await stageOne(agent)).toMatchObject({ name: "alpha.txt" });
    expect(await agent.player.received()).toEqual([]);
  });
});

describe("a file of an agent's own disk", () => {
  it.each([
    ["", "path query required"],
    ["workspace/a", "path must be absolute"],
    ["/etc/../workspace/a", "path must be under /configs, /workspace, /home, or /plugins"],
    ["/workspace/../etc/passwd", "invalid path"],
  ])("at %j is 400 before the agent is asked", async (path, error) => {
    const agent = await aPushAgent("echo");
    expect(await download(agent.id, path)).toMatchObject({ status: 400, body: { error } });
    expect(await agent.player.received()).toEqual([]);
  });

  it("is 422 for an agent that polls, 404 where nobody is, 410 where somebody was", async () => {
    const [polling, removed] = await Promise.all([anAgent(), aRemovedAgent()]);
    expect(await download(polling.id)).toMatchObject({ status: 422, body: { error: noUrl("download") } });
    expect(await download(crypto.randomUUID())).toMatchObject({ status: 404, body: { error: "workspace not found" } });
    expect(await download(removed.id)).toMatchObject({ status: 410, body: { id: removed.id } });
  });

  it("is nobody's without a good bearer on a closed deployment", async () => {
    const [agent, other] = await Promise.all([aPushAgent("echo"), anAgent()]);
    const path = `/workspaces/${agent.id}/chat/download?path=/workspace/a`;
    expect((await aDeployment().call(path)).status).toBe(401);
    expect((await call(path, { token: other.token })).status).toBe(401);
    expect(await agent.player.received()).toEqual([]);
  });
});
