import { textOfParts } from "./a2a-envelope.ts";
import { isJsonObject, memberText, parseJsonText } from "./json-text.ts";

/** Tokens that one answer says it cost. */
export interface Usage {
  readonly inputTokens: number;
  readonly outputTokens: number;
}

/** Whether an answer is JSON; only such a one is shown to the canvas or kept as a body. */
export function isJsonAnswer(answer: string): boolean {
  return parseJsonText(answer) !== null;
}

/**
 * The text of an answer: the text parts of the result, else of its artifacts, else of a task's status message; the
 * whole answer when it has none of them, so that no result is ever lost.
 */
export function answerTextOf(answer: string): string {
  const result = member(parseJsonText(answer)?.value, "result");
  const artifacts = member(result, "artifacts");
  const candidates = [
    textOfParts(member(result, "parts")),
    Array.isArray(artifacts) ? artifacts.map((artifact) => textOfParts(member(artifact, "parts"))).join("") : "",
    textOfParts(member(member(member(result, "status"), "message"), "parts")),
  ];
  return candidates.find((text) => text !== "") ?? answer;
}

/** What an answer reports as its `error`: a string, or a JSON-RPC error's message; null when there is no such word. */
export function errorTextOf(answer: string): string | null {
  const error = member(parseJsonText(answer)?.value, "error");
  const text = typeof error === "string" ? error : member(error, "message");
  return typeof text === "string" && text !== "" ? text : null;
}

/** The raw text of `result.metadata.tool_trace`, or null. */
export function toolTraceOf(answer: string): string | null {
  if (parseJsonText(answer) === null) return null;
  const trace = memberText(answer, "result", "metadata", "tool_trace");
  return trace === "null" ? null : trace;
}

/** The `usage` of an answer, from its result or itself; null when it names no tokens. */
export function usageOf(answer: string): Usage | null {
  const value = parseJsonText(answer)?.value;
  const usage = member(member(value, "result"), "usage") ?? member(value, "usage");
  const inputTokens = count(member(usage, "input_tokens"));
  const outputTokens = count(member(usage, "output_tokens"));
  return inputTokens + outputTokens > 0 ? { inputTokens, outputTokens } : null;
}

function member(value: unknown, key: string): unknown {
  return isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

function count(value: unknown): number {
  return typeof value === "number" && value > 0 ? Math.floor(value) : 0;
}
