import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { aForm, upload } from "../support/parcel-post.ts";
import { anAgent, call, poll, send } from "../support/platform.ts";

describe("a file for an agent that polls", () => {
  it("is staged, announced in the inbox, fetched twice byte by byte, acked, and gone for the agent", async () => {
    const agent = await anAgent();
    const staged = await upload(
      agent.id,
      aForm(["alpha.txt", "alpha"], ["b.bin", new Uint8Array([0, 1, 2, 255]), "application/x-b"]),
    );
    expect(staged.status, staged.text).toBe(200);
    const { files } = staged.body;
    expect(files).toMatchObject([
      { name: "alpha.txt", mimeType: "text/plain", size: 5 },
      { name: "b.bin", mimeType: "application/x-b", size: 4 },
    ]);
    const { body: rows } = await poll(agent);
    const announced = rows.filter((row: { method: string }) => row.method === "chat_upload_receive").reverse();
    expect(announced.map((row: { request_body: { uri: string } }) => row.request_body.uri)).toEqual(
      files.map((file: { uri: string }) => file.uri),
    );
    const content = `/workspaces/${agent.id}/pending-uploads/${announced[1].request_body.file_id}/content`;
    for (const _ of [1, 2]) {
      const response = await send(content, { token: agent.token });
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(new Uint8Array([0, 1, 2, 255]));
      expect(response.headers.get("Content-Type")).toBe("application/x-b");
      expect(response.headers.get("Content-Disposition")).toContain('filename="b.bin"');
    }
    const ack = `/workspaces/${agent.id}/pending-uploads/${announced[1].request_body.file_id}/ack`;
    for (const _ of [1, 2]) {
      expect(await call(ack, { method: "POST", token: agent.token })).toMatchObject({
        status: 200,
        body: { acked: true },
      });
    }
    expect((await call(content, { token: agent.token })).status).toBe(404);
    expect((await call(content)).status).toBe(200);
    expect(await env.BLOBS?.list({ prefix: `${agent.id}/` })).toMatchObject({ objects: [{}] });
  });
});
