import { folderOf, pathInside, type TemplateFiles } from "../domain/file-path.ts";
import { Refusal } from "../domain/refusal.ts";
import { Include, parseYaml } from "./yaml.ts";

const INCLUDE_DEPTH_MAX = 16;
/** A document that aliases and includes blow up beyond these is no template. */
const VALUES_MAX = 200_000;
const CHARACTERS_MAX = 2 * 1024 * 1024;
const LEVELS_MAX = 256;
const FILES_MAX = 1_000;

/** A file and the files whose includes led to it, the nearest first. */
type Chain = readonly [path: string, ...from: string[]];

/** The value of a YAML file with all its includes in place. Throws `org.expansion_failed`, whose reason names the file. */
export function expandFile(files: TemplateFiles, path: string): unknown {
  return new Expansion(files).file([path]);
}

/** The refusal of a template whose files do not fit together. */
export function expansionFailed(reason: string): Refusal {
  return new Refusal("org.expansion_failed", { details: { reason } });
}

class Expansion {
  readonly #files: TemplateFiles;
  #read = 0;
  #values = 0;
  #characters = 0;

  constructor(files: TemplateFiles) {
    this.#files = files;
  }

  file(chain: Chain, level = 0): unknown {
    const [path, ...from] = chain;
    if (from.includes(path)) throw expansionFailed(`${path} includes itself`);
    if (from.length > INCLUDE_DEPTH_MAX) throw expansionFailed(`${path} is included more than 16 levels deep`);
    const text = this.#files.get(path);
    if (text === undefined) throw expansionFailed(`${path} is missing`);
    this.#read += 1;
    if (this.#read > FILES_MAX) throw expansionFailed("the template has too many includes");
    this.#count(text.length);
    return this.#value(parse(path, text), chain, level);
  }

  #value(value: unknown, chain: Chain, level: number): unknown {
    this.#values += 1;
    if (this.#values > VALUES_MAX || level > LEVELS_MAX) throw expansionFailed("the template is too large");
    if (typeof value === "string") this.#count(value.length);
    if (value instanceof Include) return this.#include(value, chain, level);
    if (Array.isArray(value)) return value.map((item) => this.#value(item, chain, level + 1));
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value).map(([key, item]) => [key, this.#value(item, chain, level + 1)] as const);
    return Object.fromEntries(entries);
  }

  #include(include: Include, chain: Chain, level: number): unknown {
    const path = pathInside(folderOf(chain[0]), include.path);
    if (path === null) throw expansionFailed(`!include ${include.path} leaves the template`);
    return this.file([path, ...chain], level + 1);
  }

  /** A text that is aliased counts as often as it is used. */
  #count(characters: number): void {
    this.#characters += characters;
    if (this.#characters > CHARACTERS_MAX) throw expansionFailed("the template is too large");
  }
}

function parse(path: string, text: string): unknown {
  try {
    return parseYaml(text);
  } catch (error) {
    // Nesting without end exhausts the parser's stack, which is an error of the text as well.
    throw expansionFailed(`${path}: ${String(error)}`);
  }
}
