import { isCloudflareMade, type Observation } from "../../domain/a2a-outcome.ts";
import { MACHINE_CALL_HEADER } from "../../domain/machine-call.ts";
import { checkPushUrl, MACHINE_URL_POLICY, type UrlPolicy } from "../../domain/url-guard.ts";
import { withDeadline } from "../../time-limit.ts";
import { NOT_SENT_HEADER } from "./not-sent.ts";

/** Answers up to this size are kept; a larger one counts as failed and is never cut. */
export const ANSWER_BYTES_MAX = 10 * 1024 * 1024;
/** An alarm may run for 15 minutes; what follows the call needs some of them. */
export const CALL_CEILING_MS = 14 * 60_000;

export interface Call {
  readonly url: string;
  readonly body: string | Uint8Array;
  readonly policy: UrlPolicy;
  readonly answerBytesMax: number;
  readonly ceilingMs: number;
  /** Whether calls pass what knows of connections; in a deployment such a header would be the agent's own. */
  readonly isProbed?: boolean;
  /** The platform's own backend has told the URL. */
  readonly isMachineUrl?: boolean;
}

/** Makes one call, once, and tells what came of it. Redirects are answers: nothing is followed. Never throws. */
export async function observe(call: Call): Promise<Observation> {
  const check = checkPushUrl(call.url, call.isMachineUrl ? MACHINE_URL_POLICY : call.policy);
  if (!check.ok) return { kind: "guard_refused", reason: check.refusal.message };
  return withDeadline(call.ceilingMs, (deadline) => observeUntil(deadline, call));
}

async function observeUntil(
  signal: AbortSignal,
  { url, body, answerBytesMax, isProbed = false, isMachineUrl = false }: Call,
): Promise<Observation> {
  let response: Response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...(isMachineUrl && { [MACHINE_CALL_HEADER]: "1" }) },
      body,
      redirect: "manual",
      signal,
    });
  } catch (error) {
    if (signal.aborted) return { kind: "timed_out" };
    return { kind: "fetch_threw", reason: error instanceof Error ? error.message : "fetch failed" };
  }
  const reason = isProbed ? response.headers.get(NOT_SENT_HEADER) : null;
  return reason === null ? read(response, answerBytesMax) : { kind: "not_sent", reason };
}

async function read(response: Response, bytesMax: number): Promise<Observation> {
  const { status } = response;
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of response.body ?? []) {
      size += chunk.byteLength;
      if (size > bytesMax) return { kind: "too_large", status };
      chunks.push(chunk);
    }
  } catch {
    return { kind: "answer_cut", status };
  }
  const body = new TextDecoder().decode(joined(chunks, size));
  return {
    kind: "answered",
    status,
    body,
    cloudflareMade: isCloudflareMade(status, response.headers.get("server"), body),
  };
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.byteLength;
  }
  return bytes;
}
