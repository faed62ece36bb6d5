import { Buffer } from "node:buffer";
import { createHash, type Hash } from "node:crypto";
import { baseName, sanitiseFilenameBytes } from "../domain/filename.ts";
import { normaliseMimeType } from "../domain/mime-type.ts";
import { Refusal } from "../domain/refusal.ts";
import type { UploadLimits } from "../domain/upload.ts";
import { parseHeaderValue } from "./header-value.ts";
import { headersEnd, PART_HEADERS_BYTES_MAX, parsePartHeaders } from "./part-headers.ts";

/** How much of an oversized file's own name is repeated in its refusal. */
export const SHOWN_NAME_BYTES_MAX = 1_024;
const BOUNDARY_CHARACTERS_MAX = 256;
/** What describes a file beside its names: a digest in hex and two numbers. */
const DESCRIPTION_BYTES = 80;

/** A file inside the body: `length` bytes from `offset` of it. */
export interface FilePart {
  readonly offset: number;
  readonly length: number;
  /** Lower-case hex. */
  readonly sha256: string;
  /** Sanitised. */
  readonly name: string;
  /** Normalised, may be `""`. */
  readonly mimeType: string;
}

export interface OversizedFile {
  /** Base name as the client wrote it, unsafe characters and all. */
  readonly name: string;
  readonly size: number;
}

/** What a whole body contained. `files` has at most `filesMax` entries, `fileCount` counts them all. */
export interface MultipartContents {
  readonly files: readonly FilePart[];
  readonly fileCount: number;
  /** The first file over `fileBytesMax`, if any. */
  readonly oversized: OversizedFile | null;
}

/** The boundary that a Content-Type names; null when it is no `multipart/form-data` with one. */
export function boundaryOf(contentType: string | null): string | null {
  const header = parseHeaderValue(contentType ?? "");
  if (header?.value !== "multipart/form-data") return null;
  const boundary = header.parameters.get("boundary") ?? "";
  return boundary.length <= BOUNDARY_CHARACTERS_MAX && /^[\x20-\x7e]*[\x21-\x7e]$/.test(boundary) ? boundary : null;
}

type Place =
  /** In the preamble, a part's content, or what an ignored part contains. */
  | "content"
  /** Behind a complete boundary: the next two bytes tell whether it was one. */
  | "boundary"
  | "padding"
  /** Behind the two dashes of the final boundary: only padding and the end of the line may follow. */
  | "closing"
  | "headers"
  | "epilogue";

interface OpenFile {
  readonly offset: number;
  readonly hash: Hash;
  length: number;
  readonly name: string;
  readonly mimeType: string;
  readonly shownName: Uint8Array;
}

const CR = 0x0d;
const LF = 0x0a;
const DASH = 0x2d;
const SPACE = 0x20;
const TAB = 0x09;
const CRLF_BYTES = 2;

const malformed = () => new Refusal("upload.malformed");

/**
 * Watches a multipart/form-data body flow by, in chunks of any size, and notes where its files lie. It keeps no
 * content: `heldBytesMax` counts the most that was ever held, the chunk in hand included.
 */
export class MultipartParser {
  heldBytesMax = 0;
  readonly #limits: Pick<UploadLimits, "fileBytesMax" | "filesMax">;
  readonly #delimiter: Uint8Array;
  readonly #headers = new Uint8Array(PART_HEADERS_BYTES_MAX);
  #headersFilled = 0;
  readonly #files: FilePart[] = [];
  #describedBytes = 0;
  #fileCount = 0;
  #oversized: OversizedFile | null = null;
  #open: OpenFile | null = null;
  #place: Place = "content";
  /** Bytes of the body before the chunk in hand. */
  #passed = 0;
  /** How much of the delimiter the latest bytes were. The body begins as if a line had just ended. */
  #matched = CRLF_BYTES;
  /** How much of the match lies before the content: a part without content still has its boundary found. */
  #borrowed = CRLF_BYTES;
  /** The first byte behind a boundary, while the second is awaited. */
  #tail: number | null = null;

  constructor(boundary: string, limits: Pick<UploadLimits, "fileBytesMax" | "filesMax">) {
    this.#delimiter = new TextEncoder().encode(`\r\n--${boundary}`);
    this.#limits = limits;
  }

  /** True once the body is bound to be refused for what it contains; reading on only makes the refusal exact. */
  get doomed(): boolean {
    return this.#oversized !== null || this.#fileCount > this.#limits.filesMax || this.#openIsOversized();
  }

  /** Takes the next bytes; they are not kept. Throws `upload.malformed`. */
  push(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) at = this.#step(chunk, at);
    this.#passed += chunk.length;
    const held = chunk.length + this.#headers.length + this.#delimiter.length + this.#describedBytes;
    this.heldBytesMax = Math.max(this.heldBytesMax, held);
  }

  /** Says that the body is over. Throws `upload.malformed` when its final boundary was missing. */
  end(): MultipartContents {
    if (this.#place !== "epilogue" && this.#place !== "closing") throw malformed();
    return { files: this.#files, fileCount: this.#fileCount, oversized: this.#oversized };
  }

  /** Reads some bytes from `at` on and answers where it stopped. */
  #step(chunk: Uint8Array, at: number): number {
    switch (this.#place) {
      case "content":
        return this.#readContent(chunk, at);
      case "boundary":
        return this.#readBehindBoundary(chunk[at], at);
      case "padding":
      case "closing":
        return this.#readPadding(chunk[at], at);
      case "headers":
        return this.#readHeaders(chunk, at);
      case "epilogue":
        return chunk.length;
    }
  }

  #readContent(chunk: Uint8Array, at: number): number {
    if (this.#matched === 0) {
      const end = this.#nextCandidate(chunk, at);
      this.#take(chunk.subarray(at, end));
      if (end === chunk.length) return end;
      this.#matched = 1;
      return end + 1;
    }
    if (chunk[at] !== this.#delimiter[this.#matched]) {
      this.#takeMatched();
      // A carriage return begins the delimiter and occurs nowhere else in it, so nothing of the match is reusable.
      return at;
    }
    this.#matched += 1;
    if (this.#matched === this.#delimiter.length) this.#place = "boundary";
    return at + 1;
  }

  /** Where the next delimiter begins, or the chunk ends in what may be the beginning of one; else the chunk's end. */
  #nextCandidate(chunk: Uint8Array, at: number): number {
    const { buffer, byteOffset, length } = chunk;
    // The native search for all of it: every 256th byte of a binary file is a carriage return.
    const whole = Buffer.from(buffer, byteOffset, length).indexOf(this.#delimiter, at);
    if (whole >= 0) return whole;
    const tail = Math.max(at, length - this.#delimiter.length + 1);
    const cut = chunk.subarray(tail).lastIndexOf(CR);
    return cut < 0 ? length : tail + cut;
  }

  #readBehindBoundary(byte: number | undefined, at: number): number {
    if (this.#tail === null) {
      if (byte === SPACE || byte === TAB) this.#finishPart("padding");
      else if (byte === CR || byte === DASH) this.#tail = byte;
      else return this.#resumeContent(at);
      return at + 1;
    }
    if (this.#tail === CR && byte === LF) this.#finishPart("headers");
    else if (this.#tail === DASH && byte === DASH) this.#finishPart("closing");
    else return this.#resumeContent(at);
    return at + 1;
  }

  /** The line only began like the boundary: it belongs to the content. */
  #resumeContent(at: number): number {
    const tail = this.#tail;
    this.#tail = null;
    this.#place = "content";
    this.#takeMatched();
    if (tail !== null) this.#take(Uint8Array.of(tail));
    return at;
  }

  #readPadding(byte: number | undefined, at: number): number {
    if (this.#tail === CR) {
      if (byte !== LF) throw malformed();
      this.#tail = null;
      this.#place = this.#place === "closing" ? "epilogue" : "headers";
    } else if (byte === CR) this.#tail = CR;
    else if (byte !== SPACE && byte !== TAB) throw malformed();
    return at + 1;
  }

  #readHeaders(chunk: Uint8Array, at: number): number {
    const before = this.#headersFilled;
    const added = chunk.subarray(at, at + PART_HEADERS_BYTES_MAX - before);
    this.#headers.set(added, before);
    this.#headersFilled += added.length;
    const end = headersEnd(this.#headers.subarray(0, this.#headersFilled), before);
    if (end === null) {
      if (this.#headersFilled === PART_HEADERS_BYTES_MAX) throw malformed();
      return at + added.length;
    }
    const next = at + end - before;
    this.#beginPart(this.#headers.subarray(0, end), this.#passed + next);
    this.#headersFilled = 0;
    return next;
  }

  #beginPart(block: Uint8Array, offset: number): void {
    this.#place = "content";
    this.#matched = CRLF_BYTES;
    this.#borrowed = CRLF_BYTES;
    const headers = parsePartHeaders(block);
    if (headers === null) return;
    const { filename, contentType } = headers;
    this.#fileCount += 1;
    const name = sanitiseFilenameBytes(filename);
    const mimeType = normaliseMimeType(contentType);
    const shownName = baseName(filename).slice(0, SHOWN_NAME_BYTES_MAX);
    this.#open = { offset, length: 0, hash: createHash("sha256"), name, mimeType, shownName };
    if (this.#fileCount <= this.#limits.filesMax)
      this.#describedBytes += name.length + mimeType.length + DESCRIPTION_BYTES;
  }

  #finishPart(next: Place): void {
    this.#tail = null;
    this.#matched = 0;
    this.#place = next;
    const file = this.#open;
    if (file === null) return;
    this.#open = null;
    const { offset, length, name, mimeType, shownName } = file;
    if (length > this.#limits.fileBytesMax)
      this.#oversized ??= { name: new TextDecoder().decode(shownName), size: length };
    if (this.#files.length >= this.#limits.filesMax) return;
    this.#files.push({ offset, length, sha256: file.hash.digest("hex"), name, mimeType });
  }

  /** What looked like a delimiter was content after all. */
  #takeMatched(): void {
    this.#take(this.#delimiter.subarray(this.#borrowed, this.#matched));
    this.#matched = 0;
    this.#borrowed = 0;
  }

  #take(bytes: Uint8Array): void {
    if (this.#open === null) return;
    this.#open.hash.update(bytes);
    this.#open.length += bytes.length;
  }

  #openIsOversized(): boolean {
    return this.#open !== null && this.#open.length > this.#limits.fileBytesMax;
  }
}
