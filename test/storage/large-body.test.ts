import { describe, expect, it } from "vitest";
import { R2BlobStore } from "../../src/storage/blob-store.ts";
import { workspacePrefix } from "../../src/storage/keys.ts";
import { isLargeBody, LARGE_BODY_BYTES, readLargeBody, storeLargeBody } from "../../src/storage/large-body.ts";
import { aBucket, bytesOf, digestOf, randomBytes } from "./blobs.ts";

describe("a large body", () => {
  it("is one of more than 512 KiB", () => {
    expect(isLargeBody(new Uint8Array(LARGE_BODY_BYTES))).toBe(false);
    expect(isLargeBody(new Uint8Array(LARGE_BODY_BYTES + 1))).toBe(true);
  });

  it("is read back byte for byte, from bytes and from a stream alike", async () => {
    const blobs = new R2BlobStore(aBucket());
    const bytes = randomBytes(LARGE_BODY_BYTES + 1);
    for (const body of [bytes, new Response(bytes).body ?? bytes]) {
      const stored = await storeLargeBody(blobs, crypto.randomUUID(), body);
      expect(stored.size).toBe(bytes.length);
      expect(digestOf(await bytesOf(await readLargeBody(blobs, stored.key)))).toBe(digestOf(bytes));
    }
  });

  it("goes with everything else of its workspace", async () => {
    const blobs = new R2BlobStore(aBucket());
    const workspaceId = crypto.randomUUID();
    const { key } = await storeLargeBody(blobs, workspaceId, randomBytes(10));
    await blobs.deleteUnder(workspacePrefix(workspaceId));
    expect(await readLargeBody(blobs, key)).toBeNull();
  });

  it("whose stream breaks is an error and leaves nothing", async () => {
    const calls: string[] = [];
    const blobs = new R2BlobStore(aBucket(calls));
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        controller.enqueue(new Uint8Array(10));
        controller.error(new Error("gone"));
      },
    });
    await expect(storeLargeBody(blobs, crypto.randomUUID(), broken)).rejects.toThrow("gone");
    expect(calls).toEqual([]);
  });
});
