import { Buffer } from "node:buffer";
import { Refusal } from "../domain/refusal.ts";
import { filenameOf, parseHeaderValue } from "./header-value.ts";

/** Headers of one part with their empty line, in bytes; a longer block is malformed. */
export const PART_HEADERS_BYTES_MAX = 16 * 1024;
const FILES_FIELD = "files";
const CR = 0x0d;
const LF = 0x0a;

/** Length of the header block with its empty line; null while that is missing. Bytes before `seen` were searched. */
export function headersEnd(headers: Uint8Array, seen: number): number | null {
  if (headers[0] === CR && headers[1] === LF) return 2;
  let at = Math.max(0, seen - 3);
  for (;;) {
    at = headers.indexOf(CR, at);
    if (at < 0 || at + 3 >= headers.length) return null;
    if (headers[at + 1] === LF && headers[at + 2] === CR && headers[at + 3] === LF) return at + 4;
    at += 1;
  }
}

/** What a part's headers say of the file behind them; null for a part to ignore. Throws `upload.malformed`. */
export function parsePartHeaders(block: Uint8Array): { filename: Uint8Array; contentType: string } | null {
  const headers = headerLines(block);
  const disposition = parseHeaderValue(headers.get("content-disposition") ?? "");
  if (disposition === null) throw new Refusal("upload.malformed");
  if (disposition.value !== "form-data" || disposition.parameters.get("name") !== FILES_FIELD) return null;
  const filename = filenameOf(disposition);
  if (filename.length === 0) return null;
  // The body is kept as it comes, so a content that is not the file's own bytes would be a broken file.
  if (/^quoted-printable$/i.test(headers.get("content-transfer-encoding") ?? "")) throw new Refusal("upload.malformed");
  return { filename, contentType: headers.get("content-type") ?? "" };
}

/** Headers by lower-case name, folded lines joined; characters stand for bytes. */
function headerLines(block: Uint8Array): Map<string, string> {
  const text = Buffer.from(block.buffer, block.byteOffset, block.length).toString("latin1");
  const headers = new Map<string, string>();
  for (const line of text.replace(/\r\n(?=[ \t])/g, "").split("\r\n")) {
    if (line === "") continue;
    const colon = line.indexOf(":");
    if (colon < 1) throw new Refusal("upload.malformed");
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return headers;
}
