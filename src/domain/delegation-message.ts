/** The request that takes a task to its callee, as JSON text. A retry within one attempt sends the same message. */
export function taskMessage(attemptId: string, task: string): string {
  return JSON.stringify({
    jsonrpc: "2.0",
    id: attemptId,
    method: "message/send",
    params: {
      message: {
        role: "user",
        messageId: attemptId,
        parts: [{ kind: "text", text: task }],
        metadata: { delegation_id: attemptId },
      },
    },
  });
}
