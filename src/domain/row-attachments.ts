import { isJsonObject, memberText } from "./json-text.ts";

/** A file that a row of the feed speaks of, as later clients read it beside the row. */
export interface RowAttachment {
  readonly kind: string;
  readonly uri?: string;
  readonly mime_type?: string;
  readonly name?: string;
}

const FILE_KINDS: ReadonlySet<unknown> = new Set(["file", "image", "audio", "video"]);

/**
 * The files in a row's JSON text: the file parts of its message, or the one file of an upload's manifest. A part may
 * hold its file nested under `file` or inline; one with neither uri nor name is none.
 */
export function attachmentsOf(rowText: string): RowAttachment[] {
  const text = memberText(rowText, "request_body");
  const body: unknown = text === null ? null : JSON.parse(text);
  if (!isJsonObject(body)) return [];
  const message = isJsonObject(body.params) ? body.params.message : null;
  if (!isJsonObject(message)) return attachment(kindOfMime(mimeTypeOf(body)), body);
  if (!Array.isArray(message.parts)) return [];
  return message.parts.filter(isJsonObject).flatMap((part) => {
    const kind = part.kind ?? part.type;
    if (typeof kind !== "string" || !FILE_KINDS.has(kind)) return [];
    return attachment(kind, isJsonObject(part.file) ? part.file : part);
  });
}

function attachment(kind: string, file: Readonly<Record<string, unknown>>): RowAttachment[] {
  const [uri, name, mimeType] = [word(file.uri), word(file.name), mimeTypeOf(file)];
  if (uri === null && name === null) return [];
  return [
    {
      kind,
      ...(uri === null ? {} : { uri }),
      ...(mimeType === null ? {} : { mime_type: mimeType }),
      ...(name === null ? {} : { name }),
    },
  ];
}

function mimeTypeOf(file: Readonly<Record<string, unknown>>): string | null {
  return word(file.mime_type) ?? word(file.mimeType);
}

function kindOfMime(mimeType: string | null): string {
  const family = mimeType?.split("/", 1)[0] ?? "";
  return FILE_KINDS.has(family) ? family : "file";
}

function word(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}
