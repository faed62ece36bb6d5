import { REFUSALS, type Refusal } from "../domain/refusal.ts";
import type { AppContext } from "./context.ts";

const JSON_TYPE = "application/json; charset=utf-8";

/** A JSON answer: compact, because scripts grep `"key":"value"`. */
export function json(value: unknown, status = 200, headers: Record<string, string> = {}): Response {
  return jsonText(JSON.stringify(value), status, headers);
}

/** The same for a text that is JSON already. */
export function jsonText(text: string, status = 200, headers: Record<string, string> = {}): Response {
  return new Response(text, { status, headers: { "Content-Type": JSON_TYPE, ...headers } });
}

/** What an answer carries while an object concerned has not confirmed the change; it hears of it by alarm. */
export function pendingMark(pending: boolean): { pending?: true } {
  return pending ? { pending: true } : {};
}

/** A refusal on the wire: the contract's text in `error`, then what a program and a person can act on. */
export function refusalResponse(c: AppContext, refusal: Refusal): Response {
  const kind = REFUSALS[refusal.code];
  const { error, hint, details, retryAfter } = refusal.options;
  return json(
    {
      error: error ?? kind.error,
      ...details,
      code: refusal.code,
      hint: hint ?? kind.hint,
      request_id: c.var.requestId,
    },
    kind.status,
    retryAfter === undefined ? {} : { "Retry-After": String(retryAfter) },
  );
}
