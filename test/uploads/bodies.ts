import { Buffer } from "node:buffer";

export interface Part {
  readonly headers: string | Uint8Array;
  readonly content?: string | Uint8Array;
}

export const BOUNDARY = "----formdata-7f3a";

/** Headers of a file part as browsers write them. */
export function fileHeaders(filename: string, contentType = "text/plain", field = "files"): string {
  return `Content-Disposition: form-data; name="${field}"; filename="${filename}"\r\nContent-Type: ${contentType}`;
}

/** A whole multipart body; strings are UTF-8. */
export function multipartBody(parts: readonly Part[], boundary = BOUNDARY): Uint8Array {
  const pieces = parts.flatMap(({ headers, content = "" }) => [
    `--${boundary}\r\n`,
    headers,
    headers.length === 0 ? "\r\n" : "\r\n\r\n",
    content,
    "\r\n",
  ]);
  // No Buffer: its slice() would share the bytes, and streams take theirs away.
  return new Uint8Array(Buffer.concat([...pieces, `--${boundary}--\r\n`].map((piece) => Buffer.from(piece))));
}
