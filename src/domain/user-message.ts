/** A message to an agent in the words of a user, as the text of a JSON-RPC request; one id for request and message. */
export function userMessage(id: string, text: string, metadata: Readonly<Record<string, string>>): string {
  return JSON.stringify({
    jsonrpc: "2.0",
    id,
    method: "message/send",
    params: { message: { role: "user", messageId: id, parts: [{ kind: "text", text }], metadata } },
  });
}
