import { queuedEnvelope } from "../domain/a2a-outcome.ts";
import { Refusal } from "../domain/refusal.ts";
import type { CallAnswer, CallIntent, KeptText } from "../durable-objects/outbound-call/call.ts";
import { log } from "../log.ts";
import { blobStoreOf } from "../storage/blob-store.ts";
import { readLargeBody } from "../storage/large-body.ts";
import { json } from "./answers.ts";
import { ask } from "./ask.ts";
import { type AppContext, outboundCallOf, workspaceOf } from "./context.ts";

/**
 * Hands a call over and answers for it: the agent's words, the refusal, or a queue id when the agent is busy or still
 * at work when the wait runs out. From here on nothing is lost whatever becomes of this request.
 */
export async function pushAnswer(c: AppContext, targetId: string, intent: CallIntent): Promise<Response> {
  const answer = await handOver(c, intent, c.var.config.A2A_ANSWER_WAIT_S * 1000);
  if (answer.state !== "working") return answerOf(c, answer);
  const { callId, attempt } = intent;
  const place = await ask(c, workspaceOf(c, targetId).keepWaiting({ callId, attempt }));
  if (place) return queuedAnswer(place.queueId, place.queueDepth, "working");
  return answerOf(c, await handOver(c, intent, 0));
}

/** The contract's answer for a request that will be answered later. */
export function queuedAnswer(queueId: string, queueDepth: number, why: "busy" | "working"): Response {
  return json(queuedEnvelope(queueId, queueDepth, why), 202);
}

async function handOver(c: AppContext, intent: CallIntent, waitMs: number): Promise<CallAnswer> {
  try {
    return await outboundCallOf(c, intent.callId).start({ intent, waitMs });
  } catch (error) {
    // The workspace has the call and hands it over itself; nobody knows yet whether it has begun.
    const reason = error instanceof Error ? error.name : "unknown";
    log.warn("call.not_handed_over", { call_id: intent.callId, attempt: intent.attempt, reason });
    return { state: "working" };
  }
}

async function answerOf(c: AppContext, answer: CallAnswer): Promise<Response> {
  switch (answer.state) {
    case "answered":
      return passed(c, answer.status, answer.contentType, answer.body);
    case "refused":
      throw new Refusal(answer.code, answer.options);
    case "queued":
      return queuedAnswer(answer.queueId, answer.queueDepth, "busy");
    case "working":
      throw new Refusal("overloaded", { retryAfter: 2 });
  }
}

async function passed(c: AppContext, status: number, contentType: string, kept: KeptText | null): Promise<Response> {
  return new Response(kept && (await contentOf(c, kept)), { status, headers: { "Content-Type": contentType } });
}

async function contentOf(c: AppContext, { text, key }: KeptText): Promise<string | ReadableStream> {
  if (key === null) return text;
  const blobs = blobStoreOf(c.env);
  const stream = blobs && (await readLargeBody(blobs, key));
  if (!stream) throw new Refusal("a2a.answer_unread", { details: { delivery_confirmed: true } });
  return stream;
}
