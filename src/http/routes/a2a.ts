import { Hono } from "hono";
import { type Envelope, normaliseEnvelope } from "../../domain/a2a-envelope.ts";
import { digestOf } from "../../domain/credential.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { IncomingMessage } from "../../durable-objects/workspace/messages.ts";
import { blobStoreOf } from "../../storage/blob-store.ts";
import { isLargeBody, storeLargeBody } from "../../storage/large-body.ts";
import { ask } from "../ask.ts";
import { bodyText } from "../body.ts";
import { workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, workspaceOf } from "../context.ts";
import { pushAnswer, queuedAnswer } from "../push-answer.ts";
import { senderOf } from "../sender.ts";

/** Messages to a workspace. Whoever polls finds them in the inbox; whoever has a URL is called. */
export const a2aRoutes = new Hono<AppEnv>().post("/a2a", async (c) => {
  const id = workspaceIdParam(c);
  const caller = await senderOf(c);
  const text = await bodyText(c);
  const target = workspaceOf(c, id);
  const envelope = readEnvelope(text);
  if (envelope instanceof Refusal) {
    // Whoever may not talk to the target is told that first, whatever the message looks like.
    await ask(c, target.receive({ caller, message: null }));
    throw envelope;
  }
  const message = await incoming(c, id, envelope);
  const received = await ask(c, target.receive({ caller, message })).catch(async (error) => {
    // Only a refusal is certain to have stored nothing.
    if (error instanceof Refusal && error.code !== "overloaded") await dropBody(c, message);
    throw error;
  });
  if (received.mode === "queued" || (received.mode === "poll" && !received.bodyKept)) await dropBody(c, message);
  switch (received.mode) {
    case "call":
      return pushAnswer(c, id, { ...received.intent, body: message.body, bodyKey: message.bodyKey });
    case "queued":
      return queuedAnswer(received.queueId, received.queueDepth, received.why);
    case "poll":
      return polledAnswer(envelope.method, received.activityId);
    case "admitted":
      throw new Refusal("internal");
  }
});

function polledAnswer(method: string, activityId: string): Response {
  const queued = { status: "queued", delivery_mode: "poll", method, activity_id: activityId };
  return new Response(JSON.stringify(queued), { headers: { "Content-Type": "application/json" } });
}

function readEnvelope(text: string): Envelope | Refusal {
  try {
    return normaliseEnvelope(text, () => crypto.randomUUID());
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

/** A body in R2 that no row has come to name. */
async function dropBody(c: AppContext, { bodyKey }: IncomingMessage): Promise<void> {
  if (bodyKey !== null) await blobStoreOf(c.env)?.delete([bodyKey]);
}

/** The message as the object stores it; a body too large for a row goes to R2 first. */
async function incoming(c: AppContext, id: string, envelope: Envelope): Promise<IncomingMessage> {
  const { text, method, messageId, messageDigestSource, expiresInSeconds, delegationId, delegationStatus } = envelope;
  const message = {
    method,
    messageId,
    digest: digestOf(messageDigestSource),
    expiresInSeconds,
    ...(delegationId === null ? {} : { delegation: { delegationId, delegationStatus, text } }),
  };
  const blobs = blobStoreOf(c.env);
  const bytes = blobs ? new TextEncoder().encode(text) : null;
  if (!blobs || !bytes || !isLargeBody(bytes)) return { ...message, body: text, bodyKey: null };
  const { key } = await storeLargeBody(blobs, id, bytes);
  return { ...message, body: null, bodyKey: key };
}
