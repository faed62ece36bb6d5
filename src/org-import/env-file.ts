import { isStorableText } from "../domain/text.ts";

const LINE = /^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)$/;

/** The variables of a `.env` file: `KEY=VALUE` lines, quotes around a value taken off, empty and unstorable values left out. */
export function parseEnvFile(text: string): Record<string, string> {
  const variables = new Map<string, string>();
  for (const line of text.split(/\r?\n/)) {
    const [, name = "", given = ""] = LINE.exec(line) ?? [];
    const value = unquoted(given.trim());
    if (name !== "" && value !== "" && isStorableText(value)) variables.set(name, value);
  }
  return Object.fromEntries(variables);
}

function unquoted(value: string): string {
  const quote = value[0];
  const isQuoted = (quote === '"' || quote === "'") && value.length > 1 && value.endsWith(quote);
  return isQuoted ? value.slice(1, -1) : value;
}
