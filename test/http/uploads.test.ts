import { describe, expect, it } from "vitest";
import { listeningTo } from "../event-hub/listening.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { ack, aForm, encoded, keysOf, read, stage, stageOne, uploadBytes } from "../support/parcel-post.ts";
import { anAgent, call, poll, send, tell } from "../support/platform.ts";
import { BOUNDARY, multipartBody } from "../uploads/bodies.ts";

/** A body of one part whose Content-Disposition and type are these bytes. */
function aPart(disposition: string, type = "text/plain"): Uint8Array {
  return multipartBody([
    {
      headers: `Content-Disposition: form-data; name="files"; ${disposition}\r\nContent-Type: ${type}`,
      content: "x",
    },
  ]);
}

describe("a file for an agent that polls", () => {
  it("is staged, announced in the inbox, fetched twice byte by byte, acked, and gone for the agent", async () => {
    const agent = await anAgent();
    const [alpha, bytes] = await stage(
      agent,
      aForm(["alpha.txt", "alpha"], ["b.bin", new Uint8Array([0, 1, 2, 255]), "application/x-b"]),
    );
    if (!alpha || !bytes) throw new Error("two files");
    expect([alpha, bytes]).toMatchObject([
      { name: "alpha.txt", mimeType: "text/plain", size: 5 },
      { name: "b.bin", mimeType: "application/x-b", size: 4 },
    ]);
    const announced = (await poll(agent)).body.toReversed();
    expect(announced.map((row: { request_body: { uri: string } }) => row.request_body.uri)).toEqual([
      alpha.uri,
      bytes.uri,
    ]);
    for (const _ of [1, 2]) {
      const response = await send(bytes.content, { token: agent.token });
      expect(new Uint8Array(await response.arrayBuffer())).toEqual(new Uint8Array([0, 1, 2, 255]));
      expect(response.headers.get("Content-Type")).toBe("application/x-b");
      expect(response.headers.get("Content-Disposition")).toContain('filename="b.bin"');
    }
    for (const _ of [1, 2]) {
      expect(await ack(bytes, agent.token)).toMatchObject({ status: 200, body: { acked: true } });
    }
    expect((await read(bytes, agent.token)).status).toBe(404);
    expect((await read(bytes)).status).toBe(200);
    expect(await keysOf(agent)).toHaveLength(1);
  });

  it("is one row of its inbox with the contract's keys, from nobody, and one event", async () => {
    const agent = await anAgent();
    const socket = await listeningTo(await send("/ws", { headers: { Upgrade: "websocket" } }));
    const { id, uri } = await stageOne(agent, "alpha", "my file.txt");
    const requestBody = { file_id: id, name: "my_file.txt", mimeType: "text/plain", size: 5, uri };
    const [row] = (await poll(agent)).body;
    expect(row).toEqual({
      id: expect.any(String),
      workspace_id: agent.id,
      activity_type: "a2a_receive",
      source_id: null,
      target_id: agent.id,
      method: "chat_upload_receive",
      summary: "chat_upload_receive: my_file.txt",
      duration_ms: null,
      status: "ok",
      error_detail: null,
      created_at: expect.any(String),
      seq: expect.any(Number),
      request_body: requestBody,
    });
    expect(Object.keys(row.request_body)).toEqual(["file_id", "name", "mimeType", "size", "uri"]);
    const [logged] = await socket.framesOf(agent.id, 1);
    expect(logged).toMatchObject({
      event: "ACTIVITY_LOGGED",
      payload: { method: "chat_upload_receive", request_body: requestBody },
    });
    socket.close();
  });

  it("is told of before the message that was sent after it", async () => {
    const agent = await anAgent();
    await tell(agent, "before");
    await stage(agent, aForm(["a.txt", "a"], ["b.txt", "b"]));
    await tell(agent, "after");
    const methods = (await poll(agent)).body.map(({ method }: { method: string }) => method).toReversed();
    expect(methods).toEqual(["message/send", "chat_upload_receive", "chat_upload_receive", "message/send"]);
  });

  it("wakes a poll that waits for it", async () => {
    const agent = await anAgent();
    const held = poll(agent, { wait: "20" });
    const parcel = await stageOne(agent);
    expect((await held).body).toMatchObject([{ request_body: { file_id: parcel.id } }]);
  });

  it("is its own, whoever sends many at once under one name", async () => {
    const agent = await anAgent();
    const contents = Array.from({ length: 12 }, (_, index) => `content ${index}`);
    const parcels = await Promise.all(contents.map((content) => stageOne(agent, content, "same.txt")));
    expect(new Set(parcels.map(({ id }) => id)).size).toBe(12);
    const texts = await Promise.all(parcels.map(async (parcel) => (await read(parcel, agent.token)).text));
    expect(texts).toEqual(contents);
    expect((await poll(agent)).body).toHaveLength(12);
  });

  it("is delivered alike from its own agent, an operator and the open canvas; other fields of a form are not files", async () => {
    const closed = aDeployment();
    const agent = await anAgent();
    const form = aForm(["a.txt", "a"]);
    form.append("note", "words");
    form.append("file", new File(["x"], "other-field.txt"));
    await stage(agent, form);
    await stage(agent, form, agent.token);
    const byOperator = await closed.call(`/workspaces/${agent.id}/chat/uploads`, {
      ...(await encoded(form)),
      token: ADMIN_TOKEN,
    });
    expect(byOperator).toMatchObject({ status: 200, body: { files: [{ name: "a.txt" }] } });
    const { body } = await poll(agent);
    expect(body).toMatchObject(Array(3).fill({ method: "chat_upload_receive", source_id: null }));
  });
});

describe("what a file is called", () => {
  it.each([
    ['filename="hello world!.pdf"', "hello_world_.pdf"],
    ['filename="../../etc/passwd"', "passwd"],
    ['filename="日本.txt"', "__.txt"],
    ['filename="👩‍💻 notes.md"', "____notes.md"],
    ["filename=\"fallback.txt\"; filename*=UTF-8''na%C3%AFve.txt", "na_ve.txt"],
    ['filename=".env"', ".env"],
    ['filename=".."', "file"],
    ['filename="/"', "_"],
    ['filename="a%22b.txt"', "a_b.txt"],
    [`filename="${"a".repeat(120)}.txt"`, `${"a".repeat(96)}.txt`],
  ])("%s is staged, announced and served as %s", async (disposition, name) => {
    const agent = await anAgent();
    const { body } = await uploadBytes(agent, aPart(disposition), `multipart/form-data; boundary=${BOUNDARY}`);
    expect(body.files).toMatchObject([{ name }]);
    const [row] = (await poll(agent)).body;
    expect(row).toMatchObject({ summary: `chat_upload_receive: ${name}`, request_body: { name } });
    const content = `/workspaces/${agent.id}/pending-uploads/${row.request_body.file_id}/content`;
    const { headers } = await call(content, { token: agent.token });
    expect(headers.get("Content-Disposition")).toBe(`attachment; filename="${name}"; filename*=UTF-8''${name}`);
  });

  it.each([
    ["text/plain; charset=utf-8", "text/plain", "text/plain"],
    ["Image/PNG", "Image/PNG", "Image/PNG"],
    ["", "", "application/octet-stream"],
    ["nonsense", "application/octet-stream", "application/octet-stream"],
    ["a/b/c", "application/octet-stream", "application/octet-stream"],
  ])("says of the type %j that it is %j, and is served as %s", async (type, mimeType, served) => {
    const agent = await anAgent();
    const body = aPart('filename="a.txt"', type);
    const answer = await uploadBytes(agent, body, `multipart/form-data; boundary=${BOUNDARY}`);
    expect(answer.body.files).toMatchObject([{ mimeType }]);
    const [row] = (await poll(agent)).body;
    expect(row.request_body.mimeType).toBe(mimeType);
    const content = `/workspaces/${agent.id}/pending-uploads/${row.request_body.file_id}/content`;
    expect((await call(content, { token: agent.token })).headers.get("Content-Type")).toBe(served);
  });
});
