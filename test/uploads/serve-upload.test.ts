import { beforeAll, describe, expect, it } from "vitest";
import { MemoryBlobStore, R2BlobStore } from "../../src/storage/blob-store.ts";
import { type StoredFile, serveUpload } from "../../src/uploads/serve-upload.ts";
import { aBucket, bytesOf, digestOf } from "../storage/blobs.ts";

const CONTENT = "0123456789";
const bytes = new TextEncoder().encode(CONTENT);
const key = crypto.randomUUID();
const file: StoredFile = {
  key,
  offset: 5,
  length: 10,
  sha256: digestOf(bytes),
  name: "alpha.txt",
  mimeType: "text/plain",
};
const ETAG = `"${file.sha256}"`;
const empty: StoredFile = { ...file, length: 0, mimeType: "" };

const calls: string[] = [];
const blobs = new R2BlobStore(aBucket(calls));
beforeAll(() => blobs.put(key, new TextEncoder().encode(`.....${CONTENT}.....`)));

function serve(headers: Record<string, string> = {}, of = file, method = "GET"): Promise<Response> {
  calls.length = 0;
  return serveUpload(new Request("http://posthouse.test/content", { method, headers }), of, blobs);
}
const textOf = async (response: Response) => new TextDecoder().decode(await bytesOf(response.body));

describe("the content of a file", () => {
  it("is exactly its bytes, told what it is, to be saved and not shown", async () => {
    const response = await serve();
    expect(response.status).toBe(200);
    expect(Object.fromEntries(response.headers)).toEqual({
      "accept-ranges": "bytes",
      "cache-control": "private, no-cache",
      "content-disposition": `attachment; filename="alpha.txt"; filename*=UTF-8''alpha.txt`,
      "content-length": "10",
      "content-type": "text/plain",
      etag: ETAG,
      "x-content-type-options": "nosniff",
    });
    expect(await textOf(response)).toBe(CONTENT);
    expect(calls).toEqual(["get"]);
  });

  it("of no known type is an octet stream, and of no length needs no read", async () => {
    const response = await serve({}, empty);
    expect(response.headers.get("content-type")).toBe("application/octet-stream");
    expect(response.headers.get("content-length")).toBe("0");
    expect(await textOf(response)).toBe("");
    expect(calls).toEqual([]);
  });

  it("is described by HEAD without a read, whatever range is asked for", async () => {
    const response = await serve({ range: "bytes=0-1" }, file, "HEAD");
    expect([response.status, response.headers.get("content-length"), response.body]).toEqual([200, "10", null]);
    expect(calls).toEqual([]);
  });

  it.each([
    ["bytes=0-3", "0123", "bytes 0-3/10"],
    ["bytes=4-", "456789", "bytes 4-9/10"],
    ["bytes=8-99", "89", "bytes 8-9/10"],
    ["bytes=-3", "789", "bytes 7-9/10"],
    ["bytes=-99", CONTENT, "bytes 0-9/10"],
    ["bytes=9-9", "9", "bytes 9-9/10"],
  ])("is given in the range %s with one read", async (range, text, contentRange) => {
    const response = await serve({ range });
    expect([response.status, response.headers.get("content-range")]).toEqual([206, contentRange]);
    expect(response.headers.get("content-length")).toBe(String(text.length));
    expect(await textOf(response)).toBe(text);
    expect(calls).toEqual(["get"]);
  });

  it.each(["bytes=0-1,4-5", "bytes=5-2", "bytes=-", "bytes=x-y", "lines=1-2"])(
    "is given whole for %s",
    async (range) => {
      const response = await serve({ range });
      expect([response.status, await textOf(response)]).toEqual([200, CONTENT]);
    },
  );

  it.each(["bytes=10-", "bytes=99-100", "bytes=-0"])("is refused with its length for %s", async (range) => {
    const response = await serve({ range });
    expect([response.status, response.headers.get("content-range")]).toEqual([416, "bytes */10"]);
    expect(await response.json()).toMatchObject({ code: "upload.range_unsatisfiable" });
    expect(calls).toEqual([]);
  });

  it("that is empty is given whole whatever range is asked for", async () => {
    expect((await serve({ range: "bytes=0-" }, empty)).status).toBe(200);
  });

  it("is resumed only when If-Range names this very content", async () => {
    expect((await serve({ range: "bytes=2-", "if-range": ETAG })).status).toBe(206);
    expect((await serve({ range: "bytes=2-", "if-range": `W/${ETAG}` })).status).toBe(200);
    expect((await serve({ range: "bytes=2-", "if-range": "Wed, 21 Oct 2026 07:28:00 GMT" })).status).toBe(200);
  });

  it.each([ETAG, `"x", W/${ETAG}`, "*"])("is not sent again to whoever has it: If-None-Match %s", async (tag) => {
    const response = await serve({ "if-none-match": tag, range: "bytes=0-1" });
    expect([response.status, response.headers.get("etag"), response.body]).toEqual([304, ETAG, null]);
    expect(calls).toEqual([]);
  });

  it("is sent again to whoever has another version", async () => {
    expect((await serve({ "if-none-match": '"x"' })).status).toBe(200);
  });

  it("whose bytes are gone is refused as not found", async () => {
    const gone = serveUpload(new Request("http://posthouse.test/"), file, new MemoryBlobStore());
    await expect(gone).rejects.toMatchObject({ code: "upload.not_found" });
  });
});
