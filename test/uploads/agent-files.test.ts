import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { configOf, parseConfig } from "../../src/config.ts";
import { checkReadablePath, type FileAgent, forwardUpload, readAgentFile } from "../../src/uploads/agent-files.ts";
import { aPushAgent, PushAgent } from "../support/agent-server.ts";
import { aFormOf, upload } from "../support/parcel-post.ts";
import { call } from "../support/platform.ts";

const config = configOf(env);

function anAgentAt(url: string | null, external = true): FileAgent {
  return { url, inboundSecret: "inbound", external };
}

function aRequest(headers: Record<string, string> = { "Content-Type": "multipart/form-data; boundary=x" }): Request {
  return new Request("http://posthouse.test/", { method: "POST", body: new Uint8Array([1, 2]), headers });
}

/** A body of unknown length in pieces of so many bytes. */
function aStream(...pieces: number[]): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      const size = pieces.shift();
      if (size === undefined) controller.close();
      else controller.enqueue(new Uint8Array(size));
    },
  });
}

describe("files of a push agent", () => {
  it("are streamed to it under its inbound secret, and its answer comes back with its type only", async () => {
    const agent = await aPushAgent("echo");
    const answer = await upload(agent.id, aFormOf(1));
    expect(answer.status).toBe(200);
    expect(answer.headers.get("Content-Type")).toBe("application/json");
    const [received] = await agent.player.received();
    expect(received?.body).toContain("content 0");
    expect(received?.headers.authorization).toMatch(/^Bearer .{43}$/);
  });

  it("are read from it by their path", async () => {
    const agent = await aPushAgent("echo");
    const path = `/workspaces/${agent.id}/chat/download?path=/workspace/a.txt`;
    expect((await call(path, { token: agent.token })).status).toBe(200);
  });

  it("cannot be read from an agent that polls", async () => {
    const answer = await readAgentFile(anAgentAt(null), "/workspace/a", config).catch((error) => error);
    expect(answer.message).toBe("workspace has no callback URL — chat download requires push-mode + public URL");
  });

  it.each([
    ["an external agent without a URL", anAgentAt(null), "upload.no_callback_url"],
    ["one of the platform's that still boots", anAgentAt(null, false), "upload.url_not_registered"],
    ["a URL that is not public", anAgentAt("http://169.254.169.254/"), "a2a.not_routable"],
  ])("are refused for %s", async (_what, agent, code) => {
    await expect(forwardUpload(agent, aRequest(), config)).rejects.toMatchObject({ code });
  });

  it("are refused over the request's cap before the agent is called, and without a length as soon as they pass it", async () => {
    const small = parseConfig({ ...env, UPLOAD_REQUEST_BYTES: "1000" });
    const refusal = { code: "upload.request_too_large", options: { details: { max: 1_000 } } };
    const told = aRequest({ "Content-Length": "1001" });
    await expect(forwardUpload(anAgentAt(new PushAgent().url("echo")), told, small)).rejects.toMatchObject(refusal);
    const { player } = await aPushAgent("echo");
    const untold = new Request("http://posthouse.test/", { method: "POST", body: aStream(1_000, 1) });
    await expect(forwardUpload(anAgentAt(player.url("echo")), untold, small)).rejects.toMatchObject(refusal);
    expect(await player.received()).toEqual([]);
  });

  it("are unreadable when their client leaves", async () => {
    const body = new ReadableStream({ pull: (controller) => controller.error(new Error("gone")) });
    const request = new Request("http://posthouse.test/", { method: "POST", body });
    const left = forwardUpload(anAgentAt(new PushAgent().url("echo")), request, config);
    await expect(left).rejects.toMatchObject({ code: "upload.unreadable" });
  });

  it("may be none at all", async () => {
    const request = new Request("http://posthouse.test/", { method: "POST" });
    expect((await forwardUpload(anAgentAt(new PushAgent().url("echo")), request, config)).status).toBe(200);
  });

  it("are 502 when the agent does not answer", async () => {
    const gone = anAgentAt(new PushAgent().url("reset"));
    await expect(forwardUpload(gone, aRequest({}), config)).rejects.toMatchObject({ code: "upload.agent_unreachable" });
  });
});

describe("the path of a download", () => {
  it.each([
    [undefined, "download.path_required"],
    ["", "download.path_required"],
    ["workspace/a", "download.path_not_absolute"],
    ["/etc/passwd", "download.path_outside"],
    ["/workspaces/a", "download.path_outside"],
    ["/workspace/../etc", "download.path_invalid"],
    ["/workspace//a", "download.path_invalid"],
    ["/workspace/./a", "download.path_invalid"],
  ])("%s is refused as %s", (path, code) => {
    expect(() => checkReadablePath(path)).toThrow(expect.objectContaining({ code }));
  });

  it("under one of the four roots is taken as it is", () => {
    for (const path of ["/configs/a", "/workspace/a b", "/home/x/y", "/plugins"])
      expect(checkReadablePath(path)).toBe(path);
  });
});
