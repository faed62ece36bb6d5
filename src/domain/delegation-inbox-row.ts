import { memberSpanAt, setMember } from "./json-text.ts";

/** What the caller is told of an attempt, as the inbox stores it: every text once. */
export interface InboxNews {
  readonly delegationId: string;
  readonly attemptId: string;
  readonly callerId: string;
  readonly calleeId: string;
  readonly status: "completed" | "failed" | "cancelled" | "stuck";
  /** The result in full; null when there is none (yet). */
  readonly text: string | null;
  readonly error: string | null;
  /** It came after the platform had ended the attempt, and changes nothing. */
  readonly late: boolean;
  /** The callee's message when that is the result, as JSON text: it may hold more than words. */
  readonly envelope: string | null;
}

/** A row of the caller's inbox; the bodies are JSON texts. */
export interface InboxRow {
  readonly activityType: "a2a_receive";
  /** A notice is no result: whoever waits for `delegate_result` goes on waiting. */
  readonly method: "delegate_result" | "delegate_notice";
  readonly sourceId: string;
  readonly targetId: string;
  readonly summary: string;
  readonly status: "ok" | "error";
  readonly errorDetail: string | null;
  readonly requestBody: string;
  readonly responseBody: string;
}

/**
 * The row as pollers read it. Its source is the callee, so that clients that drop their own rows keep it; the text
 * stands in the response body for those who look there and in the request body for those who read messages only.
 */
export function inboxRow(news: InboxNews): InboxRow {
  const isResult = news.status === "completed";
  return {
    activityType: "a2a_receive",
    method: news.status === "stuck" ? "delegate_notice" : "delegate_result",
    sourceId: news.calleeId,
    targetId: news.callerId,
    summary: summaryOf(news),
    status: isResult ? "ok" : "error",
    // Clients know no third end: to them a cancelled delegation failed with the error `cancelled`.
    errorDetail: isResult ? null : news.status === "cancelled" ? "cancelled" : news.error,
    requestBody: requestBodyOf(news),
    responseBody: JSON.stringify({ text: news.text ?? "", delegation_id: news.delegationId, ...lateMark(news) }),
  };
}

function summaryOf({ status, error, late }: InboxNews): string {
  if (late) return "Late delegation result delivered";
  switch (status) {
    case "completed":
      return "Delegation result delivered";
    case "stuck":
      return `Delegation stuck: ${error}`;
    default:
      return "Delegation failed";
  }
}

function requestBodyOf(news: InboxNews): string {
  const id = JSON.stringify(news.delegationId);
  const metadata = news.envelope === null ? null : memberSpanAt(news.envelope, ["params", "message", "metadata"]);
  if (news.envelope === null || metadata === null) return ownRequestBody(news);
  // Under a retry the callee's message names the attempt; the caller knows the delegation only.
  const named = setMember(news.envelope, metadata.start, "delegation_id", id);
  const marked = news.late ? setMember(named, metadata.start, "late", "true") : named;
  return setMember(marked, 0, "delegation_id", id);
}

function ownRequestBody(news: InboxNews): string {
  const { delegationId, attemptId, status } = news;
  const occasion = news.late ? "late" : status === "stuck" ? "stuck" : "result";
  const metadata = {
    delegation_id: delegationId,
    delegation_status: status === "cancelled" ? "failed" : status,
    ...lateMark(news),
  };
  return JSON.stringify({
    delegation_id: delegationId,
    jsonrpc: "2.0",
    id: `${attemptId}:${occasion}`,
    method: "message/send",
    params: {
      message: {
        role: "user",
        messageId: `${attemptId}:${occasion}`,
        parts: [{ kind: "text", text: wordsOf(news) }],
        metadata,
      },
    },
  });
}

function wordsOf(news: InboxNews): string {
  if (news.text !== null) return news.text;
  if (news.status === "completed") return "";
  // Why is between whoever cancelled and the audit.
  if (news.status === "cancelled") return "Delegation cancelled";
  return news.error === null ? summaryOf(news) : `Delegation ${news.status}: ${news.error}`;
}

function lateMark({ late }: InboxNews): { late?: true } {
  return late ? { late: true } : {};
}
