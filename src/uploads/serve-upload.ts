import { UNKNOWN_MIME_TYPE } from "../domain/mime-type.ts";
import { REFUSALS, Refusal } from "../domain/refusal.ts";
import { log } from "../log.ts";
import type { BlobStore } from "../storage/blob-store.ts";
import { attachment } from "./header-value.ts";

/** A file as it lies in its upload's body: `length` bytes from `offset` of the blob under `key`. */
export interface StoredFile {
  readonly key: string;
  readonly offset: number;
  readonly length: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Sanitised: it goes into a header as it is. */
  readonly name: string;
  readonly mimeType: string;
}

/** First byte and number of bytes. */
interface Span {
  readonly offset: number;
  readonly length: number;
}

/**
 * The answer to GET or HEAD of a file's content: 200, 206, 304 or 416, with at most one read of the blob store.
 * Throws `upload.not_found` when the bytes are gone, `upload.storage_away` when the store does not answer.
 */
export async function serveUpload(request: Request, file: StoredFile, blobs: BlobStore): Promise<Response> {
  const etag = `"${file.sha256}"`;
  const headers = new Headers({
    ETag: etag,
    "Accept-Ranges": "bytes",
    "Cache-Control": "private, no-cache",
    "X-Content-Type-Options": "nosniff",
  });
  if (isFresh(request.headers.get("if-none-match"), etag)) return new Response(null, { status: 304, headers });
  describe(file, headers);
  if (request.method === "HEAD") return new Response(null, { headers });

  const range = rangeAskedFor(request.headers, etag, file.length);
  if (range === "unsatisfiable") return rangeRefused(file);
  if (range === null) return new Response(await read(file, { offset: 0, length: file.length }, blobs), { headers });
  headers.set("Content-Length", String(range.length));
  headers.set("Content-Range", `bytes ${range.offset}-${range.offset + range.length - 1}/${file.length}`);
  return new Response(await read(file, range, blobs), { status: 206, headers });
}

function describe({ mimeType, length, name }: StoredFile, headers: Headers): void {
  headers.set("Content-Type", mimeType === "" ? UNKNOWN_MIME_TYPE : mimeType);
  headers.set("Content-Length", String(length));
  headers.set("Content-Disposition", attachment(name));
}

async function read(file: StoredFile, { offset, length }: Span, blobs: BlobStore): Promise<ReadableStream | null> {
  if (length === 0) return null;
  const blob = await blobs.get(file.key, { offset: file.offset + offset, length }).catch((error: unknown) => {
    log.error("upload.not_read", { key: file.key, reason: String(error) });
    throw new Refusal("upload.storage_away");
  });
  if (blob === null) throw new Refusal("upload.not_found");
  return blob.stream;
}

function isFresh(ifNoneMatch: string | null, etag: string): boolean {
  const known = (ifNoneMatch ?? "").split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  return known.includes(etag) || known.includes("*");
}

/** Null for the whole file: no range, several ranges, a broken one, or one of another version of the file. */
function rangeAskedFor(headers: Headers, etag: string, size: number): Span | "unsatisfiable" | null {
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(headers.get("range")?.trim() ?? "") ?? [];
  const ifRange = headers.get("if-range");
  // Some clients ask for a range of every file; an empty one is given to them whole.
  if ((first === "" && last === "") || size === 0 || (ifRange !== null && ifRange !== etag)) return null;
  if (first === "") return spanOf(Math.max(0, size - Number(last)), size - 1);
  if (last !== "" && Number(last) < Number(first)) return null;
  return Number(first) >= size ? "unsatisfiable" : spanOf(Number(first), Math.min(Number(last || size), size - 1));
}

function spanOf(first: number, last: number): Span | "unsatisfiable" {
  return last < first ? "unsatisfiable" : { offset: first, length: last - first + 1 };
}

function rangeRefused({ length }: StoredFile): Response {
  const code = "upload.range_unsatisfiable";
  const { status, error, hint } = REFUSALS[code];
  return Response.json({ error, code, hint }, { status, headers: { "Content-Range": `bytes */${length}` } });
}
