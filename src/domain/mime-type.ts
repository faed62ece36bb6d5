export const UNKNOWN_MIME_TYPE = "application/octet-stream";
/** Twice the 127 characters that RFC 6838 allows a type and a subtype, and the slash. */
export const MIME_TYPE_CHARACTERS_MAX = 255;

/**
 * The media type of a part without its parameters, case kept. Nothing given stays `""`; what is no `type/subtype` of
 * visible ASCII becomes `application/octet-stream`, so that no header of ours can be forged through it.
 */
export function normaliseMimeType(contentType: string): string {
  const type = contentType.replace(/;.*$/s, "").trim();
  if (type === "") return "";
  const wellFormed = /^[\x21-\x2e\x30-\x7e]+\/[\x21-\x2e\x30-\x7e]+$/.test(type);
  return wellFormed && type.length <= MIME_TYPE_CHARACTERS_MAX ? type : UNKNOWN_MIME_TYPE;
}
