import { parseDocument, type ScalarTag } from "yaml";

/** The longest YAML text that is read, in characters. */
export const YAML_CHARACTERS_MAX = 1024 * 1024;
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
  const document = parseDocument(text, { customTags: [INCLUDE], merge: true, prettyErrors: false });
  const [error] = document.errors;
  if (error !== undefined) throw error;
  return document.toJS({ maxAliasCount: ALIASES_MAX });
}
