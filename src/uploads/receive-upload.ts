import { Refusal } from "../domain/refusal.ts";
import { INTENT_RENEWAL_MS, type UploadLimits } from "../domain/upload.ts";
import { log } from "../log.ts";
import type { BlobStore, BlobWriter } from "../storage/blob-store.ts";
import { uploadKey } from "../storage/keys.ts";
import { IdleGuard } from "./body-reader.ts";
import { boundaryOf, type FilePart, type MultipartContents, MultipartParser } from "./multipart.ts";

/** With the parser's 16 KiB of headers and what describes 64 files, an upload holds less than 64 KiB. */
export const READ_BYTES = 20 * 1024;
/** Uploads without a length hold a part of 5 MiB each, so only so many run in one isolate. */
export const UNSIZED_UPLOADS_MAX = 2;
export const UNSIZED_RETRY_AFTER_S = 5;

/** What receiving needs of its surroundings; the first four are calls to the workspace's object. */
export interface UploadDeps {
  /** Notes durably that bytes are about to come under the upload's key. `declaredBytes` is null when nobody knows. */
  openIntent(uploadId: string, declaredBytes: number | null): Promise<void>;
  /** Keeps the intent alive; false when it is no longer open. */
  renewIntent(uploadId: string): Promise<boolean>;
  /**
   * Stages all files with their inbox rows in one turn, or none; null when the intent is not open. It is asked again
   * when an answer was lost, so an upload that was committed should be answered as before. A refusal or null means
   * that nothing happened, any other error that nobody knows.
   */
  commit(uploadId: string, files: readonly FilePart[], key: string): Promise<readonly UploadedFile[] | null>;
  /** Ends an open intent for good, so that no commit can follow; `failed` when the blob store was the reason. */
  abandon(uploadId: string, failed: boolean): Promise<unknown>;
  readonly blobs: BlobStore;
  readonly limits: UploadLimits;
  /** How long the body may bring no byte. */
  readonly idleMs: number;
  /** Milliseconds since the epoch. */
  now(): number;
}

/** What an uploader is told of a file; `size` in bytes. */
export interface UploadedFile {
  readonly uri: string;
  readonly name: string;
  readonly mimeType: string;
  readonly size: number;
}

export interface UploadAnswer {
  /** In the order of the body. */
  readonly files: readonly UploadedFile[];
}

interface Upload {
  readonly workspaceId: string;
  readonly uploadId: string;
  readonly key: string;
  readonly boundary: string;
  /** Null without a Content-Length. */
  readonly declaredBytes: number | null;
  readonly body: ReadableStream<Uint8Array>;
}

/**
 * Takes a multipart upload for a workspace that polls: intent, one put of the whole body while it is read, one commit.
 * Throws a refusal (`upload.*`, or what the object refuses with); whatever goes wrong, nothing is left behind. Hand
 * the promise to `waitUntil`, so that it can clean up after a client that left.
 */
export async function receiveUpload(workspaceId: string, request: Request, deps: UploadDeps): Promise<UploadAnswer> {
  const upload = admit(workspaceId, request, deps.limits);
  if (upload.declaredBytes !== null) return receive(upload, deps);
  if (unsizedUploads >= UNSIZED_UPLOADS_MAX) throw new Refusal("upload.busy", { retryAfter: UNSIZED_RETRY_AFTER_S });
  unsizedUploads += 1;
  try {
    return await receive(upload, deps);
  } finally {
    unsizedUploads -= 1;
  }
}

/** Counted for the isolate: it guards the isolate's memory. */
let unsizedUploads = 0;

/** Everything that can be refused before a byte is read. */
function admit(workspaceId: string, { headers, body }: Request, limits: UploadLimits): Upload {
  const boundary = boundaryOf(headers.get("content-type"));
  if (boundary === null || body === null) throw new Refusal("upload.malformed");
  const length = headers.get("content-length") ?? "";
  const declaredBytes = /^\d+$/.test(length) ? Number(length) : null;
  if (declaredBytes !== null && declaredBytes > limits.requestBytesMax) throw requestTooLarge(limits, declaredBytes);
  const uploadId = crypto.randomUUID();
  return { workspaceId, uploadId, key: uploadKey(workspaceId, uploadId), boundary, declaredBytes, body };
}

async function receive(upload: Upload, deps: UploadDeps): Promise<UploadAnswer> {
  await deps.openIntent(upload.uploadId, upload.declaredBytes);
  const { files } = await store(upload, deps);
  return { files: await commit(upload, files, deps) };
}

/** Streams the body into the blob store while its files are found. Nothing is left when it throws. */
async function store(upload: Upload, deps: UploadDeps): Promise<MultipartContents> {
  const parser = new MultipartParser(upload.boundary, deps.limits);
  const writer = deps.blobs.open(upload.key, upload.declaredBytes);
  try {
    const size = await pump(upload, parser, writer, deps);
    const contents = judge(parser.end(), deps.limits);
    if (size < (upload.declaredBytes ?? 0)) throw new Refusal("upload.unreadable");
    await stored(writer.close());
    log.info("upload.stored", { ...named(upload), size, held_bytes_max: parser.heldBytesMax });
    return contents;
  } catch (error) {
    await writer.abort();
    await undo(upload, deps, error);
    throw error;
  }
}

async function commit(upload: Upload, files: readonly FilePart[], deps: UploadDeps): Promise<readonly UploadedFile[]> {
  const attempt = async () => {
    const committed = await deps.commit(upload.uploadId, files, upload.key);
    if (committed === null) throw new Refusal("upload.storage_failed");
    return committed;
  };
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof Refusal)) return askAgain(attempt, error, upload);
    await undo(upload, deps, error);
    throw error;
  }
}

/** Nobody knows whether the commit happened, so the bytes stay: with their files, or until the object's intent dies. */
async function askAgain<T>(attempt: () => Promise<T>, lost: unknown, upload: Upload): Promise<T> {
  try {
    return await attempt();
  } catch {
    log.warn("upload.outcome_unknown", { ...named(upload), reason: String(lost) });
    throw lost;
  }
}

/** Answers how many bytes came. A body bound to be refused is read to its end, so that the refusal is exact. */
async function pump(upload: Upload, parser: MultipartParser, writer: BlobWriter, deps: UploadDeps): Promise<number> {
  let size = 0;
  let renewedAt = deps.now();
  for await (const chunk of chunksOf(upload.body, deps.idleMs)) {
    size += chunk.length;
    checkSize(size, upload, deps.limits);
    parser.push(chunk);
    if (!parser.doomed) await stored(writer.write(chunk));
    if (deps.now() - renewedAt < INTENT_RENEWAL_MS) continue;
    renewedAt = deps.now();
    if (!(await deps.renewIntent(upload.uploadId))) throw new Refusal("upload.storage_failed");
  }
  return size;
}

/**
 * The body in chunks that share one buffer: each is valid until the next is asked for. What is left of a body that is
 * refused stays to be read.
 */
async function* chunksOf(body: ReadableStream<Uint8Array>, idleMs: number): AsyncGenerator<Uint8Array> {
  const reader = body.getReader({ mode: "byob" });
  const guard = new IdleGuard(reader, idleMs);
  let buffer = new ArrayBuffer(READ_BYTES);
  try {
    for (;;) {
      const { done, value } = await guard.read(() => reader.read(new Uint8Array(buffer)));
      if (done) return;
      yield value;
      buffer = value.buffer;
    }
  } catch {
    throw new Refusal("upload.unreadable");
  } finally {
    guard.end();
    reader.releaseLock();
  }
}

function checkSize(size: number, { declaredBytes }: Upload, limits: UploadLimits): void {
  if (declaredBytes !== null && size > declaredBytes) throw new Refusal("upload.malformed");
  if (size > limits.requestBytesMax) throw requestTooLarge(limits, size);
}

function judge(contents: MultipartContents, { filesMax, fileBytesMax }: UploadLimits): MultipartContents {
  const { fileCount, oversized } = contents;
  if (fileCount === 0) throw new Refusal("upload.no_files");
  if (fileCount > filesMax) throw new Refusal("upload.too_many_files", { error: `too many files (limit ${filesMax})` });
  if (oversized !== null) {
    const details = { filename: oversized.name, size: oversized.size, max: fileBytesMax };
    throw new Refusal("upload.file_too_large", { details });
  }
  return contents;
}

function requestTooLarge({ requestBytesMax }: UploadLimits, size: number): Refusal {
  return new Refusal("upload.request_too_large", { details: { size, max: requestBytesMax } });
}

/** What the blob store did not take is our failure, told in the contract's words. */
async function stored(operation: Promise<void>): Promise<void> {
  try {
    await operation;
  } catch (error) {
    log.error("upload.storage_failed", { reason: String(error) });
    throw new Refusal("upload.storage_failed");
  }
}

/** Ends the intent of an upload that failed and deletes what was stored of it. */
async function undo(upload: Upload, deps: UploadDeps, reason: unknown): Promise<void> {
  const failed = reason instanceof Refusal && reason.code === "upload.storage_failed";
  const steps = await Promise.allSettled([deps.abandon(upload.uploadId, failed), deps.blobs.delete([upload.key])]);
  const failure = steps.find((step) => step.status === "rejected");
  if (failure === undefined) log.info("upload.abandoned", named(upload));
  // The intent is durable: when it dies, the object deletes the key once more.
  else log.warn("upload.left_to_its_intent", { ...named(upload), reason: String(failure.reason) });
}

function named({ workspaceId, uploadId }: Upload) {
  return { workspace_id: workspaceId, upload_id: uploadId };
}
