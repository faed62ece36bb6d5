import { isFilePath, type TemplateFiles } from "../domain/file-path.ts";
import { Refusal } from "../domain/refusal.ts";
import type { BlobEntry, BlobStore } from "./blob-store.ts";
import { type TemplateKind, templateFileKey, templatePrefix, templatesPrefix } from "./keys.ts";

/** Templates that come with the platform, by kind and name. A stored one of the same name takes its place. */
export type Gallery = Readonly<Record<TemplateKind, ReadonlyMap<string, TemplateFiles>>>;

/** What is read of a template: no larger file, no more files in the order of their paths, no more bytes in all. */
export const TEMPLATE_FILE_BYTES_MAX = 1024 * 1024;
export const TEMPLATE_BYTES_MAX = 8 * 1024 * 1024;
export const STORED_FILES_MAX = 500;

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;
/** A template exists when one of these does; it is written last, so an incomplete one is none. */
const ROOT_FILES: Readonly<Record<TemplateKind, readonly string[]>> = {
  org: ["org.yaml", "org.yml"],
  workspace: ["config.yaml"],
};

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
    const prefix = templatesPrefix(kind);
    const keys = ((await this.#blobs?.list(prefix)) ?? []).map(({ key }) => key.slice(prefix.length));
    const stored = ROOT_FILES[kind].flatMap((root) =>
      keys.filter((key) => key.endsWith(`/${root}`)).map((key) => key.slice(0, -root.length - 1)),
    );
    return [...new Set([...this.#gallery[kind].keys(), ...stored.filter((name) => NAME.test(name))])].sort();
  }

  /** All files of a template as texts; null when there is none of this name. Throws when the store does not answer. */
  async read(kind: TemplateKind, name: string): Promise<TemplateFiles | null> {
    if (!NAME.test(name)) return null;
    return (await this.#readStored(kind, name)) ?? this.#gallery[kind].get(name) ?? null;
  }

  /** Stores a new template; it must have a root file. Throws `template.exists`, `template.write_failed`. */
  async create(kind: TemplateKind, name: string, files: TemplateFiles): Promise<void> {
    const blobs = this.#blobs;
    if (blobs === null) throw new Refusal("template.store_missing");
    checkNew(kind, name, files);
    if ((await this.read(kind, name)) !== null) throw new Refusal("template.exists", { details: { id: name } });
    try {
      // What an attempt that broke off has left.
      await blobs.deleteUnder(templatePrefix(kind, name));
      const isRoot = (path: string) => ROOT_FILES[kind].includes(path);
      const inOrder = [...files.keys()].sort((one, other) => Number(isRoot(one)) - Number(isRoot(other)));
      for (const path of inOrder) {
        await blobs.put(templateFileKey(kind, name, path), new TextEncoder().encode(files.get(path)));
      }
    } catch {
      throw new Refusal("template.write_failed");
    }
  }

  async #readStored(kind: TemplateKind, name: string): Promise<TemplateFiles | null> {
    const blobs = this.#blobs;
    if (blobs === null) return null;
    const prefix = templatePrefix(kind, name);
    const entries = (await blobs.list(prefix)).map(({ key, size }) => ({ key: key.slice(prefix.length), size }));
    if (!entries.some(({ key }) => ROOT_FILES[kind].includes(key))) return null;
    const read = async ({ key }: BlobEntry) => {
      const blob = await blobs.get(templateFileKey(kind, name, key));
      return blob === null ? [] : [[key, await new Response(blob.stream).text()] as const];
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
