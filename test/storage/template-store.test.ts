import { describe, expect, it } from "vitest";
import type { TemplateFiles } from "../../src/domain/file-path.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import { type BlobStore, MemoryBlobStore, R2BlobStore } from "../../src/storage/blob-store.ts";
import {
  OPEN_TEMPLATES_PREFIX,
  openTemplateKey,
  type TemplateVersion,
  templatePrefix,
  templateVersionPrefix,
} from "../../src/storage/keys.ts";
import {
  type Gallery,
  STORED_FILES_MAX,
  TEMPLATE_BYTES_MAX,
  TEMPLATE_FILE_BYTES_MAX,
  TemplateStore,
} from "../../src/storage/template-store.ts";
import { deleteLeftovers, LEFTOVER_AFTER_MS, LEFTOVERS_MAX } from "../../src/storage/template-version.ts";
import { aBucket } from "./blobs.ts";

const BUILT_IN: TemplateFiles = new Map([["org.yaml", "name: Built in"]]);
const GALLERY: Gallery = { org: new Map([["built-in", BUILT_IN]]), workspace: new Map() };

/** Refuses to take a key that ends like this. */
class FailingBlobStore extends MemoryBlobStore {
  failsAt: string | null = null;
  readonly puts: string[] = [];

  override async put(key: string, bytes: Uint8Array): Promise<void> {
    if (this.failsAt !== null && key.endsWith(this.failsAt)) throw new Error("the store is away");
    this.puts.push(key);
    await super.put(key, bytes);
  }
}

function aStore() {
  const blobs = new FailingBlobStore();
  return { blobs, store: new TemplateStore(blobs, GALLERY) };
}

function files(entries: Record<string, string>): TemplateFiles {
  return new Map(Object.entries(entries));
}

async function keysIn(blobs: BlobStore, prefix = ""): Promise<string[]> {
  return (await blobs.list(prefix)).map(({ key }) => key);
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  );
  return error instanceof Refusal ? error.code : String(error);
}

describe("the store of templates", () => {
  it("gives back what was created, texts byte for byte", async () => {
    const { store } = aStore();
    const given = files({ "config.yaml": "name: ä😀\r\n", "skills/x/SKILL.md": "", ".env": "A=1" });
    await store.create("workspace", "mine", given);
    expect(await store.read("workspace", "mine")).toEqual(
      new Map([...given].sort(([one], [other]) => (one < other ? -1 : 1))),
    );
    expect(await store.names("workspace")).toEqual(["mine"]);
  });

  it("keeps the two kinds apart", async () => {
    const { store } = aStore();
    await store.create("org", "mine", files({ "org.yaml": "name: mine" }));
    expect(await store.read("workspace", "mine")).toBeNull();
    expect(await store.names("workspace")).toEqual([]);
  });

  it("lists the gallery and what is stored, sorted, each name once", async () => {
    const { store, blobs } = aStore();
    await store.create("org", "aaa", files({ "org.yml": "name: a" }));
    await store.create("org", "zzz", files({ "org.yaml": "name: z", "org.yml": "name: z" }));
    await blobs.put(`${templatePrefix("org", "built-in")}org.yaml`, new TextEncoder().encode("name: Ours"));
    expect(await store.names("org")).toEqual(["aaa", "built-in", "zzz"]);
    expect(await store.read("org", "built-in")).toEqual(new Map([["org.yaml", "name: Ours"]]));
  });

  it("does not take the place of a template that is there, stored or built in", async () => {
    const { store } = aStore();
    await store.create("org", "mine", files({ "org.yaml": "name: first" }));
    for (const name of ["mine", "built-in"]) {
      expect(await refusalOf(store.create("org", name, files({ "org.yaml": "name: second" })))).toBe("template.exists");
    }
    expect((await store.read("org", "mine"))?.get("org.yaml")).toBe("name: first");
  });

  it("shows nothing of a template whose writing broke off, and lets it be written anew without the old files", async () => {
    const { store, blobs } = aStore();
    blobs.failsAt = "/config.yaml";
    const given = files({ "a.md": "a", "b.md": "b", "config.yaml": "name: x" });
    expect(await refusalOf(store.create("workspace", "mine", given))).toBe("template.write_failed");
    expect(await keysIn(blobs)).toHaveLength(3);
    expect([await store.names("workspace"), await store.read("workspace", "mine")]).toEqual([[], null]);
    blobs.failsAt = null;
    await store.create("workspace", "mine", files({ "config.yaml": "name: y" }));
    expect(await store.read("workspace", "mine")).toEqual(new Map([["config.yaml", "name: y"]]));
  });

  it("has the gallery alone without a blob store, and takes nothing", async () => {
    const store = new TemplateStore(null, GALLERY);
    expect(await store.names("org")).toEqual(["built-in"]);
    expect(await store.read("org", "built-in")).toBe(BUILT_IN);
    expect(await store.read("org", "other")).toBeNull();
    expect(await refusalOf(store.create("org", "x", files({ "org.yaml": "" })))).toBe("template.store_missing");
  });

  it.each(["..", ".", "", "a/b", "../org", "a\u0000", "a".repeat(101), "ä"])(
    "has no template %j, looks for none, and makes no key of the name",
    async (name) => {
      const { store, blobs } = aStore();
      expect(await store.read("org", name)).toBeNull();
      await expect(store.create("org", name, files({ "org.yaml": "" }))).rejects.toThrow(RangeError);
      expect(blobs.puts).toEqual([]);
    },
  );

  it("makes no key of a path that leaves the template, and stores none without its root file", async () => {
    const { store, blobs } = aStore();
    for (const path of ["../x", "/x", "a/../../x", "a//b", ""]) {
      const given = files({ "org.yaml": "", [path]: "" });
      await expect(store.create("org", "mine", given), path).rejects.toThrow(RangeError);
    }
    await expect(store.create("org", "mine", files({ "config.yaml": "" }))).rejects.toThrow(RangeError);
    expect(blobs.puts).toEqual([]);
  });

  it("reads no file that is too large, no more files than the limit, and no more bytes in all", async () => {
    const { store, blobs } = aStore();
    const put = (name: string, path: string, size: number) =>
      blobs.put(`${templatePrefix("org", name)}${path}`, new Uint8Array(size).fill(97));
    await put("large", "a.md", TEMPLATE_FILE_BYTES_MAX + 1);
    await put("large", "b.md", TEMPLATE_FILE_BYTES_MAX);
    await put("large", "org.yaml", 1);
    expect([...((await store.read("org", "large")) ?? [])].map(([path]) => path)).toEqual(["b.md", "org.yaml"]);

    await put("many", "0/org.yaml", 1);
    for (let index = 0; index < STORED_FILES_MAX; index += 1) await put("many", `z/${index}`, 1);
    await put("many", "org.yaml", 1);
    expect((await store.read("org", "many"))?.size).toBe(STORED_FILES_MAX);

    const full = TEMPLATE_BYTES_MAX / TEMPLATE_FILE_BYTES_MAX;
    for (let index = 0; index <= full; index += 1) await put("heavy", `a/${index}`, TEMPLATE_FILE_BYTES_MAX);
    await put("heavy", "org.yaml", 1);
    expect((await store.read("org", "heavy"))?.size).toBe(full);
  });

  it("passes over keys that no template of ours has", async () => {
    const { store, blobs } = aStore();
    await store.create("org", "mine", files({ "org.yaml": "name: x" }));
    await blobs.put(`${templatePrefix("org", "mine")}folder/`, new Uint8Array(0));
    await blobs.put(`${templatePrefix("org", "no name")}org.yaml`, new Uint8Array(0));
    await blobs.put("templates/org/stray", new Uint8Array(0));
    expect(await store.read("org", "mine")).toEqual(new Map([["org.yaml", "name: x"]]));
    expect(await store.names("org")).toEqual(["built-in", "mine"]);
  });

  it("leaves a file out that is deleted while it is read", async () => {
    const { blobs, store } = aStore();
    await store.create("org", "mine", files({ "org.yaml": "name: x", "a.md": "a" }));
    const get = blobs.get.bind(blobs);
    blobs.get = async (key) => (key.endsWith("a.md") ? null : get(key));
    expect(await store.read("org", "mine")).toEqual(new Map([["org.yaml", "name: x"]]));
  });

  it("takes one of two creations of a name at the same moment whole, and keeps nothing of the other", async () => {
    const blobs = new R2BlobStore(aBucket());
    const store = new TemplateStore(blobs, GALLERY);
    const name = `twin-${crypto.randomUUID()}`;
    const creations = Array.from({ length: 5 }, (_, number) =>
      files({ "config.yaml": `name: ${number}`, [`${number}.md`]: String(number), "same.md": String(number) }),
    );
    const outcomes = await Promise.all(creations.map((given) => refusalOf(store.create("workspace", name, given))));
    expect(outcomes.toSorted()).toEqual(["null", ...Array(4).fill("template.exists")]);
    const winner = creations[outcomes.indexOf("null")];
    expect(await store.read("workspace", name)).toEqual(new Map([...(winner ?? [])].sort()));
    expect(await keysIn(blobs, `templates/files/workspace/${name}/`)).toHaveLength(3);
    expect(await keysIn(blobs, `${OPEN_TEMPLATES_PREFIX}workspace/${name}/`)).toEqual([]);
  });

  it("has created a template though what it kept of the attempt cannot be deleted", async () => {
    const { store, blobs } = aStore();
    blobs.delete = () => Promise.reject(new Error("the store is away"));
    await store.create("org", "mine", files({ "org.yaml": "name: x" }));
    expect(await store.names("org")).toContain("mine");
    expect(await keysIn(blobs, OPEN_TEMPLATES_PREFIX)).toHaveLength(1);
  });
});

describe("what creations have left that broke off", () => {
  const NOW = Date.UTC(2026, 10, 20);
  const attempt = (beganAt: number, name = "mine"): TemplateVersion => {
    return { kind: "org", name, version: `${beganAt}-${crypto.randomUUID()}` };
  };

  async function begin(blobs: BlobStore, given: TemplateVersion): Promise<void> {
    await blobs.put(openTemplateKey(given), new Uint8Array(0));
    await blobs.put(`${templateVersionPrefix(given)}org.yaml`, new Uint8Array(1));
  }

  it("is deleted after a day, and nothing that is to be seen, or may still come, is", async () => {
    const { store, blobs } = aStore();
    const [old, young] = [attempt(NOW - LEFTOVER_AFTER_MS - 1), attempt(NOW - LEFTOVER_AFTER_MS)];
    await begin(blobs, old);
    await begin(blobs, young);
    await store.create("org", "mine", files({ "org.yaml": "name: x" }));
    const [shown = ""] = await keysIn(blobs, "templates/files/org/mine/").then((keys) =>
      keys.filter((key) => !key.includes(old.version) && !key.includes(young.version)),
    );
    const version = shown.split("/").at(-2) ?? "";
    await blobs.put(openTemplateKey({ kind: "org", name: "mine", version }), new Uint8Array(0));
    for (const stray of ["org/mine", "other/mine/1-x", "org/mine/1-x/more", "org/mine/"]) {
      await blobs.put(OPEN_TEMPLATES_PREFIX + stray, new Uint8Array(0));
    }
    expect(await deleteLeftovers(blobs, NOW)).toBe(1);
    expect(await keysIn(blobs, templateVersionPrefix(old))).toEqual([]);
    expect(await keysIn(blobs, templateVersionPrefix(young))).toHaveLength(1);
    expect(await deleteLeftovers(blobs, Date.now() + LEFTOVER_AFTER_MS + 1_000)).toBe(2);
    expect(await keysIn(blobs, OPEN_TEMPLATES_PREFIX)).toHaveLength(4);
    expect(await store.read("org", "mine")).toEqual(new Map([["org.yaml", "name: x"]]));
  });

  it("is deleted a bounded number at a time, until nothing is left", async () => {
    const { blobs } = aStore();
    for (let number = 0; number < LEFTOVERS_MAX + 1; number += 1) await begin(blobs, attempt(0, `name-${number}`));
    expect([await deleteLeftovers(blobs, NOW), await deleteLeftovers(blobs, NOW)]).toEqual([LEFTOVERS_MAX, 1]);
    expect(await keysIn(blobs)).toEqual([]);
  });
});
