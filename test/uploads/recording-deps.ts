import { DEFAULT_UPLOAD_LIMITS, pendingUri } from "../../src/domain/upload.ts";
import { R2BlobStore } from "../../src/storage/blob-store.ts";
import type { FilePart } from "../../src/uploads/multipart.ts";
import type { UploadDeps, UploadedFile } from "../../src/uploads/receive-upload.ts";
import { aBucket } from "../storage/blobs.ts";

/** What a workspace's object does for uploads, kept in memory, with every call written down. */
export interface RecordingDeps extends UploadDeps {
  readonly calls: string[];
  readonly bucketCalls: string[];
  readonly openIntents: Set<string>;
  readonly committed: { key: string; files: readonly FilePart[]; told: readonly UploadedFile[] }[];
  /** The key that the upload would have been stored under. */
  keyOf(workspaceId: string): string;
}

export function recordingDeps(changed: Partial<UploadDeps> = {}): RecordingDeps {
  const calls: string[] = [];
  const bucketCalls: string[] = [];
  const openIntents = new Set<string>();
  const committed: RecordingDeps["committed"] = [];
  let latest = "";
  return {
    calls,
    bucketCalls,
    openIntents,
    committed,
    keyOf: (workspaceId) => `${workspaceId}/${latest}`,
    async openIntent(uploadId) {
      calls.push("openIntent");
      openIntents.add(uploadId);
      latest = uploadId;
    },
    async renewIntent(uploadId) {
      calls.push("renewIntent");
      return openIntents.has(uploadId);
    },
    async commit(uploadId, files, key) {
      calls.push("commit");
      const earlier = committed.find((upload) => upload.key === key);
      if (earlier) return earlier.told;
      if (!openIntents.delete(uploadId)) return null;
      const told = files.map(({ name, mimeType, length }) => {
        return { uri: pendingUri("w", crypto.randomUUID()), name, mimeType, size: length };
      });
      committed.push({ key, files, told });
      return told;
    },
    async abandon(uploadId) {
      calls.push("abandon");
      openIntents.delete(uploadId);
    },
    blobs: new R2BlobStore(aBucket(bucketCalls)),
    limits: DEFAULT_UPLOAD_LIMITS,
    idleMs: 30_000,
    now: () => 0,
    ...changed,
  };
}

const CHUNK_BYTES = 100_000;

/** A POST of the body in pieces, as a client sends it; after so many bytes the client is gone, or sends no more. */
export function anUpload(
  body: Uint8Array,
  contentType: string,
  options: { declaredBytes?: number | null; breaksAfter?: number; stallsAfter?: number } = {},
): Request {
  const { declaredBytes = body.length, breaksAfter, stallsAfter } = options;
  let at = 0;
  const stream = new ReadableStream({
    type: "bytes",
    pull(controller) {
      if (at === stallsAfter) return new Promise(() => {});
      const end = Math.min(at + CHUNK_BYTES, stallsAfter ?? breaksAfter ?? body.length);
      if (end > at) controller.enqueue(body.slice(at, end));
      at = end;
      if (at === breaksAfter) controller.error(new Error("client is gone"));
      else if (at === body.length) controller.close();
    },
  });
  const headers = new Headers({ "content-type": contentType });
  if (declaredBytes !== null) headers.set("content-length", String(declaredBytes));
  return new Request("http://posthouse.test/upload", { method: "POST", headers, body: stream });
}
