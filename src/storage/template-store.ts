import { isFilePath, type TemplateFiles } from "../domain/file-path.ts";
import { Refusal } from "../domain/refusal.ts";
import type { BlobEntry, BlobStore } from "./blob-store.ts";
import {
  openTemplateKey,
  type TemplateKind,
  type TemplateVersion,
  templateIndexKey,
  templateIndexPrefix,
  templatePrefix,
  templatesPrefix,
  templateVersionPrefix,
} from "./keys.ts";
import { endAttempt, shownVersion, textOf } from "./template-version.ts";

/** Templates that come with the platform, by kind and name. A stored one of the same name takes its place. */
export type Gallery = Readonly<Record<TemplateKind, ReadonlyMap<string, TemplateFiles>>>;

/** What is read of a template: no larger file, no more files in the order of their paths, no more bytes in all. */
export const TEMPLATE_FILE_BYTES_MAX = 1024 * 1024;
export const TEMPLATE_BYTES_MAX = 8 * 1024 * 1024;
export const STORED_FILES_MAX = 500;

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;
/** One of these makes a folder a template. */
const ROOT_FILES: Readonly<Record<TemplateKind, readonly string[]>> = {
  org: ["org.yaml", "org.yml"],
  workspace: ["config.yaml"],
};

const encoder = new TextEncoder();

/** The files of templates, from the gallery and the blob store. Without a blob store there is the gallery alone. */
export class TemplateStore {
  readonly #blobs: BlobStore | null;
  readonly #gallery: Gallery;

  constructor(blobs: BlobStore | null, gallery: Gallery) {
    this.#blobs = blobs;
    this.#gallery = gallery;
  }

  /** The names of all templates of a kind, sorted. */
  async names(kind: TemplateKind): Promise<string[]> {
    const created = await this.#keysUnder(templateIndexPrefix(kind));
    const keys = await this.#keysUnder(templatesPrefix(kind));
    const stored = ROOT_FILES[kind].flatMap((root) =>
      keys.filter((key) => key.endsWith(`/${root}`)).map((key) => key.slice(0, -root.length - 1)),
    );
    const names = [...created, ...stored].filter((name) => NAME.test(name));
    return [...new Set([...this.#gallery[kind].keys(), ...names])].sort();
  }

  /** All files of a template as texts; null when there is none of this name. Throws when the store does not answer. */
  async read(kind: TemplateKind, name: string): Promise<TemplateFiles | null> {
    if (!NAME.test(name)) return null;
    return (await this.#readStored(kind, name)) ?? this.#gallery[kind].get(name) ?? null;
  }

  /**
   * Stores a new template; it must have a root file. All of it is to be seen at once, or nothing; of two at the same
   * time one wins. Throws `template.exists`, `template.write_failed`.
   */
  async create(kind: TemplateKind, name: string, files: TemplateFiles): Promise<void> {
    const blobs = this.#blobs;
    if (blobs === null) throw new Refusal("template.store_missing");
    checkNew(kind, name, files);
    const taken = new Refusal("template.exists", { details: { id: name } });
    if ((await this.read(kind, name)) !== null) throw taken;
    const created: TemplateVersion = { kind, name, version: `${Date.now()}-${crypto.randomUUID()}` };
    let isFirst: boolean;
    try {
      // What comes of an attempt that breaks off after this, `deleteLeftovers` finds and deletes.
      await blobs.put(openTemplateKey(created), new Uint8Array(0));
      for (const [path, text] of files) await blobs.put(templateVersionPrefix(created) + path, encoder.encode(text));
      isFirst = await blobs.putNew(templateIndexKey(kind, name), encoder.encode(created.version));
    } catch {
      throw new Refusal("template.write_failed");
    }
    await endAttempt(blobs, created, isFirst).catch(() => {});
    if (!isFirst) throw taken;
  }

  async #keysUnder(prefix: string): Promise<string[]> {
    return ((await this.#blobs?.list(prefix)) ?? []).map(({ key }) => key.slice(prefix.length));
  }

  /** A created one, else one that an operator has put there. */
  async #readStored(kind: TemplateKind, name: string): Promise<TemplateFiles | null> {
    const blobs = this.#blobs;
    if (blobs === null) return null;
    const version = await shownVersion(blobs, kind, name);
    const prefix = version === null ? templatePrefix(kind, name) : templateVersionPrefix({ kind, name, version });
    const entries = (await blobs.list(prefix)).map(({ key, size }) => ({ key: key.slice(prefix.length), size }));
    if (!entries.some(({ key }) => ROOT_FILES[kind].includes(key))) return null;
    const read = async ({ key }: BlobEntry) => {
      const text = await textOf(blobs, prefix + key);
      return text === null ? [] : [[key, text] as const];
    };
    return new Map((await Promise.all(readable(entries).map(read))).flat());
  }
}

/** The files that are read, in the order of their paths, which is that of the list. */
function readable(entries: readonly BlobEntry[]): BlobEntry[] {
  let total = 0;
  return entries
    .filter(({ key, size }) => isFilePath(key) && size <= TEMPLATE_FILE_BYTES_MAX)
    .slice(0, STORED_FILES_MAX)
    .filter(({ size }) => {
      total += size;
      return total <= TEMPLATE_BYTES_MAX;
    });
}

/** Callers check what people give them; this is the last line before a key is made of it. */
function checkNew(kind: TemplateKind, name: string, files: TemplateFiles): void {
  const paths = [...files.keys()];
  if (!NAME.test(name) || !paths.every(isFilePath)) throw new RangeError("no name for a template or its files");
  if (!paths.some((path) => ROOT_FILES[kind].includes(path))) throw new RangeError("a template needs its root file");
}
