import {
  isJsonObject,
  memberSpanAt,
  memberSpans,
  memberText,
  parseJsonText,
  replaceSpan,
  setMember,
} from "./json-text.ts";
import { Refusal } from "./refusal.ts";
import { isStorableJson } from "./text.ts";

/** Longest id that a client may give to a message or a delegation. */
export const MAX_ID_CHARS = 128;

/** What `POST /workspaces/:id/a2a` took in: the JSON-RPC request as text, and what the platform needs to know of it. */
export interface Envelope {
  /** The request to store and to send on; everything that the client wrote stands in it as it was written. */
  readonly text: string;
  /** Empty when missing or not a string. */
  readonly method: string;
  /** Null when there is no message, or one whose messageId is no string. */
  readonly messageId: string | null;
  readonly delegationId: string | null;
  readonly delegationStatus: string | null;
  readonly expiresInSeconds: number | null;
  /** The raw text of `params.message`, else of the whole request: what two sendings of one message have in common. */
  readonly messageDigestSource: string;
}

/**
 * Reads and completes a request for an agent. Without `jsonrpc` it is wrapped under a new id, a bare `{message}` or
 * `{parts}` together with its content; a message gets the messageId it lacks, and its v0.2 `content` becomes parts.
 * Parts keyed `kind` and `type` both stay as they are.
 */
export function normaliseEnvelope(bodyText: string, newId: () => string): Envelope {
  const body = parseJsonText(bodyText);
  if (body === null || !(body.value === null || isJsonObject(body.value))) throw new Refusal("a2a.invalid_json");
  if (!isStorableJson(bodyText)) throw new Refusal("request.unstorable_text");
  const given = body.value === null ? "{}" : bodyText;
  const wrapped = memberText(given, "jsonrpc") === null ? wrap(given, newId()) : given;
  const text = completeMessage(wrapped, newId);

  const message = memberText(text, "params", "message");
  const metadata = message === null ? null : memberText(message, "metadata");
  const expiresInSeconds = valueAt(text, "params", "expires_in_seconds");
  return {
    text,
    method: stringAt(text, "method") ?? "",
    messageId: idAt(message, "messageId"),
    delegationId: idAt(metadata, "delegation_id"),
    delegationStatus: metadata === null ? null : stringAt(metadata, "delegation_status"),
    expiresInSeconds: typeof expiresInSeconds === "number" && expiresInSeconds > 0 ? expiresInSeconds : null,
    messageDigestSource: message ?? text,
  };
}

/**
 * The text of a message as polling clients read it: the text parts, joined, of the first of `params.message.parts`,
 * `params.parts` and `parts` that has any; empty when none has.
 */
export function textOf(envelopeText: string): string {
  const places = [["params", "message", "parts"], ["params", "parts"], ["parts"]];
  return places.map((path) => textOfParts(valueAt(envelopeText, ...path))).find((text) => text !== "") ?? "";
}

/** The texts of a list of parts, joined; a part names its kind under `kind` or `type`. */
export function textOfParts(parts: unknown): string {
  if (!Array.isArray(parts)) return "";
  return parts.map((part: unknown) => (isTextPart(part) ? part.text : "")).join("");
}

function isTextPart(part: unknown): part is { text: string } {
  return isJsonObject(part) && (part.kind === "text" || part.type === "text") && typeof part.text === "string";
}

function wrap(body: string, id: string): string {
  const isBare = (memberText(body, "params") ?? "null") === "null";
  const { method, params } = isBare ? bare(body) : given(body);
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"method":${method},"params":${params}}`;
}

function given(body: string): { method: string; params: string } {
  return { method: memberText(body, "method") ?? "null", params: memberText(body, "params") ?? "null" };
}

/** A body that is itself the params (`{message}`) or the message (`{parts}`); a message may be a mere string. */
function bare(body: string): { method: string; params: string } {
  const method = memberText(body, "method") ?? '"message/send"';
  const content = withoutWrapping(body);
  const message = memberText(content, "message");
  if (message?.startsWith('"')) return { method, params: setMember(content, 0, "message", userMessage(message)) };
  if (message !== null) return { method, params: content };
  if (memberText(content, "parts") === null) return given(body);
  const role = memberText(content, "role") ?? '"user"';
  return { method, params: `{"message":${setMember(content, 0, "role", role)}}` };
}

const WRAPPING: ReadonlySet<string> = new Set(["id", "method", "params"]);

function withoutWrapping(body: string): string {
  const members = [...memberSpans(body)].filter(([name]) => !WRAPPING.has(name));
  return `{${members.map(([, { key, end }]) => body.slice(key.start, end)).join(",")}}`;
}

function userMessage(text: string): string {
  return `{"role":"user","parts":${textParts(text)}}`;
}

function textParts(text: string): string {
  return `[{"kind":"text","text":${text}}]`;
}

function completeMessage(text: string, newId: () => string): string {
  const span = memberSpanAt(text, ["params", "message"]);
  if (span === null || text.charAt(span.start) !== "{") return text;
  const message = withParts(text.slice(span.start, span.end));
  const identified = memberText(message, "messageId") ?? JSON.stringify(newId());
  return replaceSpan(text, span, setMember(message, 0, "messageId", identified));
}

function withParts(message: string): string {
  const members = memberSpans(message);
  if (members.has("parts")) return message;
  const content = members.get("content");
  if (content === undefined) throw new Refusal("a2a.parts_required");
  const value = message.slice(content.start, content.end);
  if (!value.startsWith('"') && !value.startsWith("[")) throw new Refusal("a2a.invalid_content");
  const parts = value.startsWith('"') ? textParts(value) : value;
  return replaceSpan(message, { start: content.key.start, end: content.end }, `"parts":${parts}`);
}

function valueAt(text: string, ...path: readonly string[]): unknown {
  const raw = memberText(text, ...path);
  return raw === null ? null : JSON.parse(raw);
}

function stringAt(text: string, key: string): string | null {
  const value = valueAt(text, key);
  return typeof value === "string" ? value : null;
}

function idAt(text: string | null, key: string): string | null {
  const id = text === null ? null : stringAt(text, key);
  if (id !== null && id.length > MAX_ID_CHARS) throw new Refusal("request.id_too_long");
  return id || null;
}
