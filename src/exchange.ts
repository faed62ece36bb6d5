import { withDeadline } from "./time-limit.ts";

export interface Call {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly url: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  readonly answerBytesMax: number;
  readonly timeoutMs: number;
  /** A job that ends when nobody listens any more is listened to until its end, whatever its length. */
  readonly isHeardOut?: boolean;
}

/** `text` is null where the answer was cut off or is larger than allowed: its status still counts. */
export type Exchange =
  | { readonly kind: "answered"; readonly status: number; readonly text: string | null }
  /** It may have arrived or not. */
  | { readonly kind: "lost"; readonly reason: string };

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Makes one call, once. Redirects are answers: nothing is followed. Never throws. */
export async function exchange(fetch: Fetch, call: Call): Promise<Exchange> {
  const { method, url, headers = {}, body = null, timeoutMs } = call;
  return withDeadline(timeoutMs, async (signal) => {
    try {
      const response = await fetch(url, { method, headers, body, redirect: "manual", signal });
      return { kind: "answered", status: response.status, text: await read(response, call) };
    } catch (error) {
      if (signal.aborted) return { kind: "lost", reason: `no answer within ${timeoutMs} ms` };
      return { kind: "lost", reason: String(error) };
    }
  });
}

async function read(response: Response, { answerBytesMax, isHeardOut = false }: Call): Promise<string | null> {
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  try {
    for await (const chunk of response.body ?? []) {
      size += chunk.byteLength;
      if (size <= answerBytesMax) text += decoder.decode(chunk, { stream: true });
      else if (!isHeardOut) return null;
    }
  } catch {
    return null;
  }
  return size > answerBytesMax ? null : text + decoder.decode();
}

/** The object that an answer is; null where it is none. */
export function objectOf(text: string | null): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text ?? "");
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

export function isSuccess(status: number): boolean {
  return status >= 200 && status < 300;
}
