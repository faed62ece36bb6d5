import { isScalar, parseDocument, type ScalarTag, visit } from "yaml";

/** The longest YAML text that is read, in characters. The parser takes seconds, and its stack, for worse than that. */
export const YAML_CHARACTERS_MAX = 256 * 1024;
/** How often one anchor may be used, times what is anchored inside it. */
const ALIASES_MAX = 1_000;

/** Where a document says `!include <path>`. */
export class Include {
  constructor(readonly path: string) {}
}

const INCLUDE: ScalarTag = { tag: "!include", resolve: (path) => new Include(path) };

/** The value of a YAML text, with an `Include` wherever it has one. Throws an error that tells what is wrong with it. */
export function parseYaml(text: string): unknown {
  if (text.length > YAML_CHARACTERS_MAX) throw new Error("the text is too long");
  // The parser's own look for repeated keys compares each with each.
  const options = { customTags: [INCLUDE], merge: true, prettyErrors: false, uniqueKeys: false };
  const document = parseDocument(text, options);
  const [error] = document.errors;
  if (error !== undefined) throw error;
  visit(document, { Map: (_, { items }) => checkKeys(items.map(({ key }) => key)) });
  return document.toJS({ maxAliasCount: ALIASES_MAX });
}

function checkKeys(keys: readonly unknown[]): void {
  const names = keys.filter((key) => isScalar(key)).map(({ value }) => String(value));
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw new Error(`the key ${name} stands twice in one map`);
    seen.add(name);
  }
}
