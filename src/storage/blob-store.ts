/** Part of a blob, in bytes; it has at least one byte and lies inside the blob, else `get` throws. */
export interface BlobRange {
  readonly offset: number;
  readonly length: number;
}

export interface Blob {
  /** The bytes asked for. */
  readonly stream: ReadableStream<Uint8Array>;
  /** Length of the whole blob in bytes, whatever was asked for. */
  readonly size: number;
}

/**
 * A blob being written. It exists for certain once `close` has resolved, but may from the last announced byte on:
 * whoever aborts after that has a key to delete.
 */
export interface BlobWriter {
  /** Resolves when the bytes have been taken; the caller may then reuse their buffer. More than announced throws. */
  write(bytes: Uint8Array): Promise<void>;
  /** Throws when fewer bytes than announced were written; then nothing is stored. */
  close(): Promise<void>;
  /** Gives up; never throws. */
  abort(): Promise<void>;
}

/** What a list tells of a blob. */
export interface BlobEntry {
  readonly key: string;
  readonly size: number;
}

/** Where bytes live. Every method throws when the store does not answer. */
export interface BlobStore {
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** False, and nothing is stored, where something is stored under the key: of two at once one wins. */
  putNew(key: string, bytes: Uint8Array): Promise<boolean>;
  /** `length` in bytes; null where nobody knows it, which holds `PART_BYTES` in memory and costs one operation a part. */
  open(key: string, length: number | null): BlobWriter;
  /** Null when nothing is stored under the key. */
  get(key: string, range?: BlobRange): Promise<Blob | null>;
  /** All blobs whose keys begin with the prefix, in the order of their keys' bytes. */
  list(prefix: string): Promise<readonly BlobEntry[]>;
  /** Keys under which nothing is stored are no error. */
  delete(keys: readonly string[]): Promise<void>;
  /** Deletes every key that begins with the prefix. */
  deleteUnder(prefix: string): Promise<void>;
}

/** R2 wants all parts but the last to be equal and at least this long. */
export const PART_BYTES = 5 * 1024 * 1024;
/** How many keys R2 deletes, or lists, in one operation. */
export const KEYS_PER_OPERATION_MAX = 1_000;

/** The one place that decides where bytes live; null where the deployment has no bucket. */
export function blobStoreOf(env: { readonly BLOBS?: R2Bucket }): BlobStore | null {
  return env.BLOBS === undefined ? null : new R2BlobStore(env.BLOBS);
}

export class R2BlobStore implements BlobStore {
  readonly #bucket: R2Bucket;

  constructor(bucket: R2Bucket) {
    this.#bucket = bucket;
  }

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.#bucket.put(key, bytes);
  }

  async putNew(key: string, bytes: Uint8Array): Promise<boolean> {
    return (await this.#bucket.put(key, bytes, { onlyIf: { etagDoesNotMatch: "*" } })) !== null;
  }

  open(key: string, length: number | null): BlobWriter {
    return length === null ? new PartsWriter(this.#bucket, key) : new SinglePutWriter(this.#bucket, key, length);
  }

  async get(key: string, range?: BlobRange): Promise<Blob | null> {
    const object = await this.#bucket.get(key, range === undefined ? {} : { range });
    if (object === null) return null;
    // R2 cuts a range that reaches over the end without a word.
    if (range !== undefined && range.offset + range.length > object.size) {
      await object.body.cancel();
      throw new RangeError("the range lies outside the blob");
    }
    return { stream: object.body, size: object.size };
  }

  async list(prefix: string): Promise<readonly BlobEntry[]> {
    const entries: BlobEntry[] = [];
    let options: R2ListOptions | null = { prefix, limit: KEYS_PER_OPERATION_MAX };
    while (options !== null) {
      const page: R2Objects = await this.#bucket.list(options);
      entries.push(...page.objects.map(({ key, size }) => ({ key, size })));
      options = page.truncated ? { ...options, cursor: page.cursor } : null;
    }
    return entries;
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += KEYS_PER_OPERATION_MAX)
      await this.#bucket.delete(keys.slice(at, at + KEYS_PER_OPERATION_MAX));
  }

  async deleteUnder(prefix: string): Promise<void> {
    let page: R2Objects;
    do {
      page = await this.#bucket.list({ prefix, limit: KEYS_PER_OPERATION_MAX });
      await this.delete(page.objects.map(({ key }) => key));
    } while (page.truncated);
  }
}

/** One put of known length; holds no more than the bytes being written. */
class SinglePutWriter implements BlobWriter {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #put: Promise<unknown>;
  #left: number;

  constructor(bucket: R2Bucket, key: string, length: number) {
    const { readable, writable } = new FixedLengthStream(length);
    this.#writer = writable.getWriter();
    this.#put = bucket.put(key, readable);
    this.#left = length;
    // Both are told to the caller by write and close; without handlers here they would count as unhandled as well.
    this.#writer.closed.catch(() => {});
    this.#put.catch((error: unknown) => this.#writer.abort(error).catch(() => {}));
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#left -= bytes.length;
    // FixedLengthStream itself takes a write beyond its end without a word.
    if (this.#left < 0) throw new TypeError("more bytes than announced");
    await this.#writer.write(bytes);
  }

  async close(): Promise<void> {
    await this.#writer.close();
    await this.#put;
  }

  async abort(): Promise<void> {
    await this.#writer.abort().catch(() => {});
    // The put must have ended before anybody deletes the key.
    await this.#put.catch(() => {});
  }
}

/** R2 multipart, begun when the first part is full; a shorter body is one plain put. */
class PartsWriter implements BlobWriter {
  readonly #bucket: R2Bucket;
  readonly #key: string;
  readonly #part = new Uint8Array(PART_BYTES);
  readonly #uploaded: R2UploadedPart[] = [];
  #upload: R2MultipartUpload | null = null;
  #filled = 0;

  constructor(bucket: R2Bucket, key: string) {
    this.#bucket = bucket;
    this.#key = key;
  }

  async write(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    while (rest.length > 0) {
      const taken = rest.subarray(0, PART_BYTES - this.#filled);
      this.#part.set(taken, this.#filled);
      this.#filled += taken.length;
      rest = rest.subarray(taken.length);
      if (this.#filled === PART_BYTES) await this.#flush();
    }
  }

  async close(): Promise<void> {
    if (this.#upload === null) {
      await this.#bucket.put(this.#key, this.#part.subarray(0, this.#filled));
      return;
    }
    if (this.#filled > 0) await this.#flush();
    await this.#upload.complete(this.#uploaded);
  }

  async abort(): Promise<void> {
    await this.#upload?.abort().catch(() => {});
  }

  async #flush(): Promise<void> {
    this.#upload ??= await this.#bucket.createMultipartUpload(this.#key);
    const number = this.#uploaded.length + 1;
    this.#uploaded.push(await this.#upload.uploadPart(number, this.#part.subarray(0, this.#filled)));
    this.#filled = 0;
  }
}

/** The twin for tests and trials; it forgets everything with the process. */
export class MemoryBlobStore implements BlobStore {
  readonly #blobs = new Map<string, Uint8Array>();

  async put(key: string, bytes: Uint8Array): Promise<void> {
    this.#blobs.set(key, bytes.slice());
  }

  async putNew(key: string, bytes: Uint8Array): Promise<boolean> {
    if (this.#blobs.has(key)) return false;
    this.#blobs.set(key, bytes.slice());
    return true;
  }

  open(key: string, length: number | null): BlobWriter {
    let written = new Uint8Array(0);
    return {
      write: async (bytes) => {
        if (length !== null && written.length + bytes.length > length) throw new TypeError("more bytes than announced");
        written = concatenated(written, bytes);
      },
      close: async () => {
        if (length !== null && written.length < length) throw new TypeError("fewer bytes than announced");
        this.#blobs.set(key, written);
      },
      abort: async () => {},
    };
  }

  async get(key: string, range?: BlobRange): Promise<Blob | null> {
    const bytes = this.#blobs.get(key);
    if (bytes === undefined) return null;
    if (range === undefined) return { stream: streamOf(bytes), size: bytes.length };
    const { offset, length } = range;
    if (length < 1 || offset + length > bytes.length) throw new RangeError("the range lies outside the blob");
    return { stream: streamOf(bytes.subarray(offset, offset + length)), size: bytes.length };
  }

  async list(prefix: string): Promise<readonly BlobEntry[]> {
    const entries = [...this.#blobs].map(([key, { length }]) => ({ key, size: length }));
    return entries
      .filter(({ key }) => key.startsWith(prefix))
      .sort((one, other) => Buffer.compare(Buffer.from(one.key), Buffer.from(other.key)));
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) this.#blobs.delete(key);
  }

  async deleteUnder(prefix: string): Promise<void> {
    await this.delete([...this.#blobs.keys()].filter((key) => key.startsWith(prefix)));
  }
}

function concatenated(head: Uint8Array, tail: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(head.length + tail.length);
  bytes.set(head);
  bytes.set(tail, head.length);
  return bytes;
}

function streamOf(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(bytes);
      controller.close();
    },
  });
}
