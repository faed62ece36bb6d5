import type { BlobStore } from "./blob-store.ts";
import { largeBodyKey } from "./keys.ts";

/** A text of more bytes than this lives in the blob store, with its key in the row. */
export const LARGE_BODY_BYTES = 512 * 1024;

export function isLargeBody(bytes: Uint8Array): boolean {
  return bytes.length > LARGE_BODY_BYTES;
}

/** Stores a body under a fresh key of the workspace; answers the key and how many bytes it has. */
export async function storeLargeBody(
  blobs: BlobStore,
  workspaceId: string,
  body: Uint8Array | ReadableStream<Uint8Array>,
): Promise<{ key: string; size: number }> {
  const key = largeBodyKey(workspaceId, crypto.randomUUID());
  if (body instanceof ReadableStream) return { key, size: await storeStream(blobs, key, body) };
  await blobs.put(key, body);
  return { key, size: body.length };
}

/** The bytes as a stream; null when they are gone. */
export async function readLargeBody(blobs: BlobStore, key: string): Promise<ReadableStream<Uint8Array> | null> {
  return (await blobs.get(key))?.stream ?? null;
}

async function storeStream(blobs: BlobStore, key: string, body: ReadableStream<Uint8Array>): Promise<number> {
  const writer = blobs.open(key, null);
  let size = 0;
  try {
    for await (const chunk of body) {
      await writer.write(chunk);
      size += chunk.length;
    }
    await writer.close();
  } catch (error) {
    await writer.abort();
    throw error;
  }
  return size;
}
