import { Buffer } from "node:buffer";

/** A header value of the form `value; name=token; name="quoted"`. Parameter names are lower case. */
export interface HeaderValue {
  readonly value: string;
  readonly parameters: ReadonlyMap<string, string>;
}

// An unquoted value may hold more than the grammar allows, since boundaries with a slash or an equals sign exist.
const PARAMETER = /^[ \t]*;[ \t]*(?:([^\s"(),/:;<=>?@[\\\]]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^ \t";]+)))?/s;

/**
 * Reads a header with parameters; characters stand for bytes (latin1). Null when it is broken or names a parameter
 * twice: whoever guesses there and whoever checks would see two different values.
 */
export function parseHeaderValue(header: string): HeaderValue | null {
  const value = header.replace(/;.*$/s, "");
  const parameters = new Map<string, string>();
  let rest = header.slice(value.length);
  while (rest.trim() !== "") {
    const match = PARAMETER.exec(rest);
    if (match === null) return null;
    const [all, name, quoted, token] = match;
    rest = rest.slice(all.length);
    if (name === undefined) continue;
    const key = name.toLowerCase();
    if (parameters.has(key)) return null;
    parameters.set(key, quoted === undefined ? String(token) : unescapeQuoted(quoted));
  }
  return { value: value.trim().toLowerCase(), parameters };
}

/** Only before a special character is a backslash an escape: `C:\dir\a.txt` of old browsers keeps its own. */
function unescapeQuoted(quoted: string): string {
  return quoted.replace(/\\([()<>@,;:\\"/[\]?=])/g, "$1");
}

/**
 * The bytes of the file name that a Content-Disposition gives: `filename*` (RFC 5987, UTF-8) before `filename`, whose
 * `%22`, `%0D` and `%0A` are how browsers write a quote and line ends. Empty when it gives none.
 */
export function filenameOf({ parameters }: HeaderValue): Uint8Array {
  const extended = /^(?:utf-8|us-ascii)'[^']*'(.+)$/is.exec(parameters.get("filename*") ?? "")?.[1];
  if (extended !== undefined && !/%(?![0-9a-f]{2})/i.test(extended))
    return unescapePercent(extended, /%([0-9a-f]{2})/gi);
  return unescapePercent(parameters.get("filename") ?? "", /%(22|0D|0A)/g);
}

function unescapePercent(latin1: string, escapes: RegExp): Uint8Array {
  return Buffer.from(
    latin1.replace(escapes, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    "latin1",
  );
}

/** A Content-Disposition under which a browser saves a file, and never shows it. The name must be sanitised. */
export function attachment(name: string): string {
  return `attachment; filename="${name}"; filename*=UTF-8''${encodeURIComponent(name)}`;
}
