import { Refusal, unwrap } from "../../domain/refusal.ts";
import type { BlobStore } from "../../storage/blob-store.ts";
import { readLargeBody } from "../../storage/large-body.ts";
import type { Reply } from "../shared/reply.ts";
import { workspaceStub } from "../shared/stubs.ts";
import type { DelegationReceivers } from "./delegation-post.ts";
import type { CalleeWord, PlainOutcome, TaskHandOver } from "./delegation-words.ts";

/** The lines from a workspace's object to those of its callers and callees. */
export function delegationLines(env: Env) {
  return {
    takeTask: async (calleeId: string, task: TaskHandOver) =>
      outcomeOf(await workspaceStub(env, calleeId).takeTask(task)),
    endTask: async (calleeId, end) => unwrap((await workspaceStub(env, calleeId).endTask(end)).outcome),
    hear: async (callerId, word) => unwrap((await workspaceStub(env, callerId).hear(word)).outcome),
  } satisfies DelegationReceivers;
}

/** A word of a callee whose answer was too large for a row, with that answer; without it where it is gone. */
export async function inFull(blobs: BlobStore | null, word: CalleeWord): Promise<CalleeWord> {
  if (word.kind !== "outcome" || !("outcome" in word.outcome)) return word;
  const { outcome } = word.outcome;
  if (outcome.recorded === null || outcome.recorded.key === null) return word;
  const stream = blobs && (await readLargeBody(blobs, outcome.recorded.key));
  const recorded = stream ? { text: await new Response(stream).text(), key: null } : null;
  return { ...word, outcome: { ...word.outcome, outcome: { ...outcome, recorded } } };
}

/** A callee's refusal is an outcome; that it cannot be asked at the moment is none. */
function outcomeOf({ outcome }: Reply<PlainOutcome>): PlainOutcome {
  if (outcome.ok) return outcome.value;
  const refusal = new Refusal(outcome.code, outcome.options);
  if (outcome.code === "schema.ahead") throw refusal;
  return { kind: "refused", error: refusal.message };
}
