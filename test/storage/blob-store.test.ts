import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import { type BlobStore, blobStoreOf, MemoryBlobStore, PART_BYTES, R2BlobStore } from "../../src/storage/blob-store.ts";
import { aBucket, bytesOf, digestOf, randomBytes } from "./blobs.ts";

const stores: [name: string, create: () => BlobStore][] = [
  ["R2", () => new R2BlobStore(aBucket())],
  ["memory", () => new MemoryBlobStore()],
];
const aKey = () => crypto.randomUUID();

describe.each(stores)("a blob store in %s", (_, create) => {
  it("gives back what was put, as often as asked", async () => {
    const [store, key, bytes] = [create(), aKey(), randomBytes(100_000)];
    await store.put(key, bytes);
    for (const blob of [await store.get(key), await store.get(key)]) {
      expect(blob?.size).toBe(100_000);
      expect(digestOf(await bytesOf(blob?.stream))).toBe(digestOf(bytes));
    }
  });

  it("keeps its own copy of what was put", async () => {
    const [store, key, bytes] = [create(), aKey(), new Uint8Array([1, 2, 3])];
    await store.put(key, bytes);
    bytes.fill(9);
    expect(await bytesOf((await store.get(key))?.stream)).toEqual(new Uint8Array([1, 2, 3]));
  });

  it("takes an empty blob", async () => {
    const [store, key] = [create(), aKey()];
    await store.put(key, new Uint8Array(0));
    const blob = await store.get(key);
    expect(blob?.size).toBe(0);
    expect(await bytesOf(blob?.stream)).toEqual(new Uint8Array(0));
  });

  it("puts a new blob once, also where two come at the same moment", async () => {
    const [store, key] = [create(), aKey()];
    const bytes = [1, 2, 3].map((byte) => new Uint8Array([byte]));
    const taken = await Promise.all(bytes.map((each) => store.putNew(key, each)));
    expect(taken.filter(Boolean)).toHaveLength(1);
    expect(await bytesOf((await store.get(key))?.stream)).toEqual(bytes[taken.indexOf(true)]);
    expect(await store.putNew(key, new Uint8Array(9))).toBe(false);
  });

  it("has nothing under an unknown key", async () => {
    expect(await create().get(aKey())).toBeNull();
    expect(await create().get(aKey(), { offset: 0, length: 1 })).toBeNull();
  });

  it("gives a range and tells the length of the whole", async () => {
    const [store, key] = [create(), aKey()];
    await store.put(key, new Uint8Array([0, 1, 2, 3, 4]));
    const blob = await store.get(key, { offset: 1, length: 3 });
    expect(blob?.size).toBe(5);
    expect(await bytesOf(blob?.stream)).toEqual(new Uint8Array([1, 2, 3]));
  });

  it.each([
    { offset: 3, length: 3 },
    { offset: 5, length: 1 },
    { offset: 9, length: 1 },
    { offset: 0, length: 0 },
  ])("throws for a range outside the blob instead of giving something else: %j of 5", async (range) => {
    const [store, key] = [create(), aKey()];
    await store.put(key, new Uint8Array(5));
    await expect(store.get(key, range)).rejects.toThrow();
  });

  it("forgets what is deleted, and takes unknown keys for deleted", async () => {
    const [store, key] = [create(), aKey()];
    await store.put(key, new Uint8Array(1));
    await store.delete([key, aKey()]);
    await store.delete([]);
    expect(await store.get(key)).toBeNull();
  });

  it("deletes what lies under a prefix and nothing beside it", async () => {
    const [store, prefix] = [create(), aKey()];
    for (const key of [`${prefix}/a`, `${prefix}/b/c`, `${prefix}-beside`]) await store.put(key, new Uint8Array(1));
    await store.deleteUnder(`${prefix}/`);
    expect(await store.get(`${prefix}/a`)).toBeNull();
    expect(await store.get(`${prefix}/b/c`)).toBeNull();
    expect((await store.get(`${prefix}-beside`))?.size).toBe(1);
  });

  it("lists what lies under a prefix with its size, in the order of the keys' bytes, and nothing beside it", async () => {
    const [store, prefix] = [create(), aKey()];
    expect(await store.list(`${prefix}/`)).toEqual([]);
    for (const [index, name] of ["b", "😀", "a/c", "Z", "a", "\uffee"].entries()) {
      await store.put(`${prefix}/${name}`, new Uint8Array(index));
    }
    await store.put(`${prefix}-beside`, new Uint8Array(1));
    expect(await store.list(`${prefix}/`)).toEqual([
      { key: `${prefix}/Z`, size: 3 },
      { key: `${prefix}/a`, size: 4 },
      { key: `${prefix}/a/c`, size: 2 },
      { key: `${prefix}/b`, size: 0 },
      { key: `${prefix}/\uffee`, size: 5 },
      { key: `${prefix}/😀`, size: 1 },
    ]);
  });

  it.each([
    ["of known length", 100_000, 100_000],
    ["of unknown length, shorter than a part", null, 100_000],
    ["of unknown length, one part exactly", null, PART_BYTES],
    ["of unknown length, three parts", null, 2 * PART_BYTES + 100],
  ])("stores what is written piece by piece %s, from a buffer that is reused", async (_, length, total) => {
    const [store, key, bytes] = [create(), aKey(), randomBytes(total)];
    const writer = store.open(key, length);
    const buffer = new Uint8Array(70_000);
    for (let at = 0; at < total; at += buffer.length) {
      const piece = bytes.subarray(at, at + buffer.length);
      buffer.set(piece);
      await writer.write(buffer.subarray(0, piece.length));
    }
    await writer.close();
    expect(digestOf(await bytesOf((await store.get(key))?.stream))).toBe(digestOf(bytes));
  });

  it("stores nothing when fewer bytes come than were announced", async () => {
    const [store, key] = [create(), aKey()];
    const writer = store.open(key, 10);
    await writer.write(new Uint8Array(9));
    await expect(writer.close()).rejects.toThrow();
    await writer.abort();
    expect(await store.get(key)).toBeNull();
  });

  it("refuses more bytes than were announced", async () => {
    const [store, key] = [create(), aKey()];
    const writer = store.open(key, 10);
    await expect(writer.write(new Uint8Array(11))).rejects.toThrow();
    await writer.abort();
    expect(await store.get(key)).toBeNull();
  });

  it.each([
    ["known length", 10, 5],
    ["unknown length", null, 5],
    ["unknown length and several parts", null, PART_BYTES + 1],
  ])("stores nothing of an aborted blob of %s", async (_, length, written) => {
    const [store, key] = [create(), aKey()];
    const writer = store.open(key, length);
    await writer.write(new Uint8Array(written));
    await writer.abort();
    expect(await store.get(key)).toBeNull();
  });
});

describe("a blob store in R2", () => {
  it("tells its writer when the bucket refuses", async () => {
    const writer = new R2BlobStore(aBucket()).open("k".repeat(2_000), 200_000);
    const written = (async () => {
      await writer.write(new Uint8Array(100_000));
      await writer.write(new Uint8Array(100_000));
      await writer.close();
    })();
    await expect(written).rejects.toThrow();
    await writer.abort();
  });

  it("deletes any number of keys, a thousand an operation", async () => {
    const calls: string[] = [];
    const store = new R2BlobStore(aBucket(calls));
    await store.delete(Array.from({ length: 2_001 }, aKey));
    expect(calls).toEqual(["delete", "delete", "delete"]);
  });

  it("lists and deletes a prefix of more keys than one listing has", async () => {
    const [calls, prefix]: [string[], string] = [[], aKey()];
    const store = new R2BlobStore(aBucket(calls));
    await Promise.all(Array.from({ length: 1_001 }, (_, index) => store.put(`${prefix}/${index}`, new Uint8Array(1))));
    calls.length = 0;
    expect(new Set((await store.list(`${prefix}/`)).map(({ key }) => key)).size).toBe(1_001);
    await store.deleteUnder(`${prefix}/`);
    expect(calls).toEqual(["list", "list", "list", "delete", "list", "delete"]);
    expect(await store.get(`${prefix}/1000`)).toBeNull();
  });
});

it("a deployment without a bucket has no blob store", () => {
  expect(blobStoreOf({})).toBeNull();
  expect(blobStoreOf(env)).toBeInstanceOf(R2BlobStore);
});
