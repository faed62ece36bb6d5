import type * as z from "zod";
import { matchKeys } from "../domain/json-keys.ts";
import { isJsonObject, memberSpans, parseJsonText } from "../domain/json-text.ts";
import { Refusal, type RefusalCode } from "../domain/refusal.ts";
import { isStorableJson } from "../domain/text.ts";
import { drain } from "../uploads/body-reader.ts";
import type { AppContext } from "./context.ts";

/** Every JSON body ends here; a larger one is refused, never cut. */
export const JSON_BODY_BYTES_MAX = 1024 * 1024;

/** Reads what a refused request still sends. Never throws. */
export async function drainBody({ body }: Request): Promise<void> {
  if (body && !body.locked) await drain(body.getReader());
}

/** The request's body as text, refused with 413 beyond the limit and with 400 where no database could store it. */
export async function bodyText(c: AppContext): Promise<string> {
  const tooLarge = () =>
    new Refusal("request.too_large", { details: { truncated: false, max_bytes: JSON_BODY_BYTES_MAX } });
  const declared = c.req.header("Content-Length");
  if (declared !== undefined && Number(declared) > JSON_BODY_BYTES_MAX) throw tooLarge();
  const text = declared === undefined ? await boundedText(c.req.raw, tooLarge) : await c.req.text();
  if (!isStorableJson(text)) throw new Refusal("request.unstorable_text");
  return text;
}

async function boundedText(request: Request, tooLarge: () => Refusal): Promise<string> {
  if (!request.body) return "";
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of request.body.values({ preventCancel: true })) {
    size += chunk.byteLength;
    if (size > JSON_BODY_BYTES_MAX) throw tooLarge();
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/**
 * The JSON body by a schema. Unknown keys are ignored and names match without regard to case, as the original does;
 * whatever does not fit is this route's one refusal, without naming the field. `text` is the body as it came.
 */
export async function jsonBody<Schema extends z.ZodObject>(
  c: AppContext,
  schema: Schema,
  refusal: RefusalCode = "request.invalid",
): Promise<z.output<Schema> & { readonly text: string }> {
  const text = await bodyText(c);
  const result = schema.safeParse(matchKeys(parse(text, refusal), schema));
  if (!result.success) {
    const field = result.error.issues[0]?.path.join(".") ?? "";
    throw new Refusal(refusal, field === "" ? {} : { details: { field } });
  }
  return Object.assign(result.data, { text });
}

/** The JSON body as an object of whatever members, `null` as an empty one; anything else is refused. */
export async function jsonObject(c: AppContext): Promise<object> {
  const parsed = parseJsonText(await bodyText(c));
  if (parsed?.value === null) return {};
  if (!isJsonObject(parsed?.value)) throw new Refusal("request.invalid");
  return parsed.value;
}

/** A member of a body as the client wrote it, big integers and order of keys included; null when absent or null. */
export function memberAsWritten(text: string, key: string): string | null {
  const members = memberSpans(text);
  const span = members.get(key) ?? [...members].findLast(([name]) => name.toLowerCase() === key)?.[1];
  const member = span === undefined ? "null" : text.slice(span.start, span.end);
  return member === "null" ? null : member;
}

function parse(text: string, refusal: RefusalCode): object {
  const parsed = parseJsonText(text);
  if (!isJsonObject(parsed?.value)) throw new Refusal(refusal);
  return parsed.value;
}
