import { describe, expect, it, onTestFinished, vi } from "vitest";
import { aBucket, digestOf, randomBytes } from "../storage/blobs.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aWorkspace, remove } from "../support/client-tree.ts";
import { ack, aForm, keysOf, read, stage, stageOne, uploadBytes } from "../support/parcel-post.ts";
import { anAgent, call, poll, send } from "../support/platform.ts";
import { BOUNDARY, fileHeaders, multipartBody } from "../uploads/bodies.ts";

const MIB = 1024 * 1024;

describe("the content of a staged file", () => {
  it("of 24 MiB is the very bytes that were uploaded, found by the inbox, and twice the same", async () => {
    const agent = await anAgent();
    const bytes = randomBytes(24 * MIB);
    await stageOne(agent, bytes, "large.bin");
    const [row] = (await poll(agent)).body;
    expect(row.request_body).toMatchObject({ name: "large.bin", size: bytes.length });
    const file = `/workspaces/${agent.id}/pending-uploads/${row.request_body.file_id}`;
    for (const _ of [1, 2]) {
      const response = await send(`${file}/content`, { token: agent.token });
      expect(response.headers.get("ETag")).toBe(`"${digestOf(bytes)}"`);
      expect(digestOf(new Uint8Array(await response.arrayBuffer()))).toBe(digestOf(bytes));
    }
    expect((await call(`${file}/ack`, { method: "POST", token: agent.token })).body).toEqual({ acked: true });
  });

  it("is never merged with another's, whatever lines that look like a boundary are in it", async () => {
    const agent = await anAgent();
    const contents = [
      `one\r\n--${BOUNDARY}x\r\nContent-Disposition: form-data; name="files"; filename="trap"\r\n\r\ntrap`,
      "",
      `\r\n--${BOUNDARY.slice(1)}--\r\n`,
      `--${BOUNDARY}`.slice(0, -1),
      "\r\n\r\n--",
    ];
    const parts = contents.map((content, index) => ({ headers: fileHeaders(`${index}.txt`), content }));
    const { body } = await uploadBytes(agent, multipartBody(parts), `multipart/form-data; boundary=${BOUNDARY}`);
    expect(body.files.map(({ size }: { size: number }) => size)).toEqual(contents.map(({ length }) => length));
    const texts = await Promise.all(
      body.files.map(async ({ uri }: { uri: string }) => {
        const path = `/workspaces/${agent.id}/pending-uploads/${uri.split("/").at(-1)}/content`;
        return (await call(path, { token: agent.token })).text;
      }),
    );
    expect(texts).toEqual(contents);
    expect(await keysOf(agent)).toHaveLength(1);
  });

  it("is a download that no browser shows or sniffs, whatever it says it is", async () => {
    const agent = await anAgent();
    const [page] = await stage(agent, aForm(["page.html", "<script>alert(1)</script>", "text/html; charset=utf-8"]));
    if (!page) throw new Error("one file");
    const { headers } = await read(page, agent.token);
    expect(headers.get("Content-Type")).toBe("text/html");
    expect(headers.get("Content-Disposition")).toBe(`attachment; filename="page.html"; filename*=UTF-8''page.html`);
    expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
    expect(headers.get("Content-Security-Policy")).toBe("default-src 'self'");
    expect(headers.get("Cache-Control")).toBe("private, no-cache");
  });

  it("comes in ranges of its own, though its neighbours lie in the same object", async () => {
    const agent = await anAgent();
    const [, middle] = await stage(agent, aForm(["a", "aaaaa"], ["b", "0123456789"], ["c", "ccccc"]));
    if (!middle) throw new Error("three files");
    const range = (value: string, more: Record<string, string> = {}) =>
      call(middle.content, { token: agent.token, headers: { Range: value, ...more } });
    for (const [asked, text, contentRange] of [
      ["bytes=0-3", "0123", "bytes 0-3/10"],
      ["bytes=7-", "789", "bytes 7-9/10"],
      ["bytes=-2", "89", "bytes 8-9/10"],
      ["bytes=5-999", "56789", "bytes 5-9/10"],
    ] as const) {
      const answer = await range(asked);
      expect(answer).toMatchObject({ status: 206, text });
      expect(answer.headers.get("Content-Range")).toBe(contentRange);
      expect(answer.headers.get("Content-Length")).toBe(String(text.length));
    }
    const beyond = await range("bytes=10-");
    expect(beyond).toMatchObject({ status: 416, body: { code: "upload.range_unsatisfiable" } });
    expect(beyond.headers.get("Content-Range")).toBe("bytes */10");
    expect(await range("bytes=0-1,4-5")).toMatchObject({ status: 200, text: "0123456789" });
    expect(await range("bytes=0-1", { "If-Range": '"another"' })).toMatchObject({ status: 200, text: "0123456789" });
  });

  it("is described by HEAD, and not sent again to whoever has it", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    const etag = (await read(parcel, agent.token)).headers.get("ETag") ?? "";
    const head = await call(parcel.content, { method: "HEAD", token: agent.token });
    expect(head).toMatchObject({ status: 200, text: "" });
    expect(head.headers.get("Content-Length")).toBe("5");
    expect(head.headers.get("ETag")).toBe(etag);
    const again = await call(parcel.content, { token: agent.token, headers: { "If-None-Match": etag } });
    expect(again).toMatchObject({ status: 304, text: "" });
    await ack(parcel, agent.token);
    for (const method of ["GET", "HEAD"]) {
      const gone = await call(parcel.content, { method, token: agent.token, headers: { "If-None-Match": etag } });
      expect(gone.status).toBe(404);
    }
  });

  it("is 404 when its bytes have gone from the bucket, and 500 in JSON while the bucket is away", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    const get = vi.spyOn(Object.getPrototypeOf(aBucket()), "get").mockRejectedValueOnce(new Error("bucket away"));
    onTestFinished(() => get.mockRestore());
    const away = await read(parcel, agent.token);
    expect(away).toMatchObject({ status: 500, body: { error: "storage error", code: "upload.storage_away" } });
    expect(away.text).not.toContain("bucket away");
    expect((await read(parcel, agent.token)).status).toBe(200);
    await aBucket().delete(await keysOf(agent));
    expect(await read(parcel, agent.token)).toMatchObject({ status: 404, body: { code: "upload.not_found" } });
  });
});

describe("who may read a file", () => {
  it("is its agent until the ack, and the user, by an operator's token or the open canvas, beyond it", async () => {
    const closed = aDeployment();
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    const readers = [
      () => read(parcel, agent.token),
      () => closed.call(parcel.content, { token: agent.token }),
      () => read(parcel),
      () => closed.call(parcel.content, { token: ADMIN_TOKEN }),
    ];
    const statuses = async () => {
      const answers = [];
      for (const reader of readers) answers.push((await reader()).status);
      return answers;
    };
    expect(await statuses()).toEqual([200, 200, 200, 200]);
    await ack(parcel, agent.token);
    expect(await statuses()).toEqual([404, 404, 200, 200]);
  });

  it("is nobody without a good bearer on a closed deployment: 401, before anything about the file is said", async () => {
    const closed = aDeployment();
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const { content, ack } = await stageOne(agent);
    const invented = content.replace(/[^/]+\/content$/, "not-a-uuid/content");
    for (const token of [undefined, "nonsense", other.token]) {
      const options = token === undefined ? {} : { token };
      expect((await closed.call(content, options)).status).toBe(401);
      expect((await closed.call(invented, options)).status).toBe(401);
      expect((await closed.call(ack, { ...options, method: "POST" })).status).toBe(401);
    }
  });

  it("is an operator after the workspace was removed; its agent's token is 401", async () => {
    const agent = await aWorkspace({ delivery_mode: "poll" });
    const parcel = await stageOne(agent);
    await remove(agent);
    expect((await read(parcel, agent.token)).status).toBe(401);
    expect((await ack(parcel, agent.token)).status).toBe(401);
    expect(await read(parcel)).toMatchObject({ status: 200, text: "alpha" });
  });

  it("asks for it by lower-case UUIDs: any other spelling is 400, an unknown workspace has no file", async () => {
    const agent = await anAgent();
    const { id } = await stageOne(agent);
    const file = (workspaceId: string, fileId: string) =>
      `/workspaces/${workspaceId}/pending-uploads/${fileId}/content`;
    for (const [path, status, error] of [
      [file("not-a-uuid", id), 400, "invalid workspace ID"],
      [file(agent.id, id.toUpperCase()), 400, "invalid file_id"],
      [file(agent.id, id.replaceAll("-", "")), 400, "invalid file_id"],
      [file(crypto.randomUUID(), crypto.randomUUID()), 404, "pending upload not found, expired, or already acked"],
    ] as const)
      expect(await call(path)).toMatchObject({ status, body: { error } });
  });
});
