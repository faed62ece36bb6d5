import { userMessage } from "./user-message.ts";

/** The request that takes a task to its callee, as JSON text. A retry within one attempt sends the same message. */
export function taskMessage(attemptId: string, task: string): string {
  return userMessage(attemptId, task, { delegation_id: attemptId });
}
