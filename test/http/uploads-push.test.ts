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
    ["status/413", 413, '{"error":"agent says 413"}'],
    ["status/500", 500, '{"error":"agent says 500"}'],
    ["redirect", 302, "{}"],
    ["text/200", 200, "<html>words</html>"],
  ])("are answered with the agent's own words (%s), and none of its other headers", async (...row) => {
    const [behaviour, status, text] = row;
    const agent = await aPushAgent("script");
    await agent.player.play(behaviour);
    for (const answer of [await upload(agent.id, aFormOf(1)), await download(agent.id)]) {
      expect(answer).toMatchObject({ status, text });
      expect(answer.headers.get("Location")).toBeNull();
    }
    expect(await agent.player.received()).toHaveLength(2);
  });

  it("are answered as JSON, or as bytes to be saved: an agent's page never runs here", async () => {
    const agent = await aPushAgent("script");
    const headersOf = async (behaviour: string) => {
      await agent.player.play(behaviour);
      const { headers } = await upload(agent.id, aFormOf(1));
      expect(headers.get("Content-Security-Policy")).toBe("sandbox");
      expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
      return [headers.get("Content-Type"), headers.get("Content-Disposition")];
    };
    expect(await headersOf("echo")).toEqual(["application/json", null]);
    expect(await headersOf("type/application%2Fjson;charset=utf-8")).toEqual(["application/json;charset=utf-8", null]);
    for (const type of ["text%2Fhtml", "application%2Fjson,%20text%2Fhtml", "application%2Fjson;x,%20text%2Fhtml"]) {
      expect(await headersOf(`type/${type}`), type).toEqual(["application/octet-stream", "attachment"]);
    }
    expect(await headersOf("redirect")).toEqual(["application/octet-stream", "attachment"]);
  });

  it("are 502 for a client that writes all of a large one before it reads, though the agent takes nothing", async () => {
    const chunks = 24;
    let taken = 0;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          if (taken === chunks) return controller.close();
          taken += 1;
          controller.enqueue(new Uint8Array(1024 * 1024));
        },
      },
      { highWaterMark: 0 },
    );
    const agent = await anAgent({ delivery_mode: "push", url: "http://127.0.0.1:1/" });
    const answer = await uploadBytes(agent, body, "multipart/form-data; boundary=b");
    expect(answer).toMatchObject({ status: 502, body: { error: "workspace unreachable" } });
    expect(taken).toBe(chunks);
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

  it("is saved under the agent's name for it, or its own, and is never shown as the platform's", async () => {
    const agent = await aPushAgent("script");
    const dispositionOf = async (behaviour: string, path?: string) => {
      await agent.player.play(behaviour);
      const { headers } = await download(agent.id, path);
      expect(headers.get("Content-Security-Policy")).toBe("sandbox");
      expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
      return headers.get("Content-Disposition");
    };
    const saved = (name: string) => `attachment; filename="${name}"; filename*=UTF-8''${name}`;
    expect(await dispositionOf("text/200", "/workspace/über us.html")).toBe(saved("_ber_us.html"));
    const named = (disposition: string) => dispositionOf(`disposition/${encodeURIComponent(disposition)}`);
    expect(await named('inline; filename="report 1.html"')).toBe(saved("report_1.html"));
    expect(await named("inline; filename*=UTF-8''r%C3%BC.svg")).toBe(saved("r_.svg"));
    expect((await download(agent.id)).headers.get("Content-Length")).toBe("17");
    expect(await named("inline")).toBe(saved("a.txt"));
    expect(await named('inline; filename="a"; filename="b"')).toBe(saved("a.txt"));
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
