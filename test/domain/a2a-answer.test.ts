import { describe, expect, it } from "vitest";
import { answerTextOf, errorTextOf, isJsonAnswer, toolTraceOf, usageOf } from "../../src/domain/a2a-answer.ts";

describe("an agent's answer", () => {
  it.each([
    ['{"result":{"parts":[{"kind":"text","text":"a"},{"type":"text","text":"b"}]}}', "ab"],
    ['{"result":{"artifacts":[{"parts":[{"kind":"text","text":"a"}]},{"parts":[{"kind":"text","text":"b"}]}]}}', "ab"],
    ['{"result":{"status":{"message":{"parts":[{"kind":"text","text":"a"}]}}}}', "a"],
    ['{"result":{"artifacts":{}}}', '{"result":{"artifacts":{}}}'],
    ['{"error":{"message":"no"}}', '{"error":{"message":"no"}}'],
    ["plain words", "plain words"],
  ])("%s says %j", (answer, text) => {
    expect(answerTextOf(answer)).toBe(text);
  });

  it.each([
    ['{"error":"no"}', "no"],
    ['{"error":{"code":-1,"message":"no"}}', "no"],
    ['{"error":{"code":-1}}', null],
    ['{"error":""}', null],
    ['{"result":{}}', null],
    ["[]", null],
    ["no", null],
  ])("%s reports the error %j", (answer, text) => {
    expect(errorTextOf(answer)).toBe(text);
  });

  it.each([
    ['{"result":{"metadata":{"tool_trace":[{"n":12345678901234567890}]}}}', '[{"n":12345678901234567890}]'],
    ['{"result":{"metadata":{"tool_trace":null}}}', null],
    ['{"result":{"metadata":{}}}', null],
    ["broken", null],
  ])("%s carries the trace %j", (answer, trace) => {
    expect(toolTraceOf(answer)).toBe(trace);
  });

  it.each([
    ['{"result":{"usage":{"input_tokens":3,"output_tokens":4.9}}}', { inputTokens: 3, outputTokens: 4 }],
    ['{"usage":{"output_tokens":4}}', { inputTokens: 0, outputTokens: 4 }],
    ['{"usage":{"input_tokens":-1,"output_tokens":"4"}}', null],
    ['{"result":{}}', null],
    ["broken", null],
  ])("%s cost %j", (answer, usage) => {
    expect(usageOf(answer)).toEqual(usage);
  });

  it("is JSON or is not", () => {
    expect(isJsonAnswer("null")).toBe(true);
    expect(isJsonAnswer("<html>")).toBe(false);
  });
});
