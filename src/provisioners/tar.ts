export interface TarFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

const BLOCK = 512;
const NAME_BYTES_MAX = 100;
const PREFIX_BYTES_MAX = 155;
const CHECKSUM_AT = 148;
const encoder = new TextEncoder();

/** Files as a POSIX (ustar) archive; null where a path leads outside or is too long for the format. */
export function tarOf(files: readonly TarFile[]): Uint8Array | null {
  const blocks: Uint8Array[] = [];
  for (const { path, text, mode } of files) {
    const place = placeOf(path);
    if (place === null) return null;
    const content = encoder.encode(text);
    blocks.push(headerOf(place, content.length, mode), padded(content));
  }
  return joined([...blocks, new Uint8Array(2 * BLOCK)]);
}

type Place = { readonly name: Uint8Array; readonly prefix: Uint8Array };

function placeOf(path: string): Place | null {
  const parts = path.split("/");
  if (path.includes("\0") || parts.some((part) => part === "" || part === "." || part === "..")) return null;
  for (let cut = 0; cut < parts.length; cut += 1) {
    const name = encoder.encode(parts.slice(cut).join("/"));
    const prefix = encoder.encode(parts.slice(0, cut).join("/"));
    if (name.length <= NAME_BYTES_MAX && prefix.length <= PREFIX_BYTES_MAX) return { name, prefix };
  }
  return null;
}

function headerOf({ name, prefix }: Place, size: number, mode: number): Uint8Array {
  const header = new Uint8Array(BLOCK);
  const put = (at: number, value: string | Uint8Array) =>
    header.set(typeof value === "string" ? encoder.encode(value) : value, at);
  put(0, name);
  put(100, octal(mode, 7));
  put(108, octal(0, 7)); // owner
  put(116, octal(0, 7)); // group
  put(124, octal(size, 11));
  put(136, octal(0, 11)); // time of change
  put(156, "0"); // a regular file
  put(257, "ustar\u000000");
  put(345, prefix);
  put(CHECKSUM_AT, " ".repeat(8));
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  put(CHECKSUM_AT, `${octal(checksum, 6)}\0 `);
  return header;
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, "0");
}

function padded(content: Uint8Array): Uint8Array {
  const block = new Uint8Array(Math.ceil(content.length / BLOCK) * BLOCK);
  block.set(content);
  return block;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
