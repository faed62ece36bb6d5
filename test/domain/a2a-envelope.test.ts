import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { normaliseEnvelope, textOf, textOfParts } from "../../src/domain/a2a-envelope.ts";

function normalise(body: string) {
  let ids = 0;
  return normaliseEnvelope(body, () => {
    ids += 1;
    return `id-${ids}`;
  });
}

const TEXT_PART = '{"kind":"text","text":"hi"}';

describe("a request for an agent", () => {
  it.each<[string, string, string]>([
    [
      "is kept byte for byte when nothing is missing",
      '{ "id":12345678901234567890, "params":{"message":{"parts":[],"messageId":"m","z":1,"a":2}}, "jsonrpc":"2.0" }',
      '{ "id":12345678901234567890, "params":{"message":{"parts":[],"messageId":"m","z":1,"a":2}}, "jsonrpc":"2.0" }',
    ],
    [
      "without jsonrpc is wrapped under an id of ours",
      `{"id":1,"method":"message/send","params":{"message":{"messageId":"m","parts":[${TEXT_PART}]}}}`,
      `{"jsonrpc":"2.0","id":"id-1","method":"message/send","params":{"message":{"messageId":"m","parts":[${TEXT_PART}]}}}`,
    ],
    [
      "without a method has none",
      '{"params":{"n":12345678901234567890}}',
      '{"jsonrpc":"2.0","id":"id-1","method":null,"params":{"n":12345678901234567890}}',
    ],
    [
      "without params keeps its method",
      '{"method":"tasks/list"}',
      '{"jsonrpc":"2.0","id":"id-1","method":"tasks/list","params":null}',
    ],
    ["that is null counts as empty", "null", '{"jsonrpc":"2.0","id":"id-1","method":null,"params":null}'],
    [
      "that is bare parts keeps them as a user's message",
      `{"parts":[${TEXT_PART}],"metadata":{"n":1}}`,
      `{"jsonrpc":"2.0","id":"id-1","method":"message/send","params":{"message":{"messageId":"id-2","role":"user","parts":[${TEXT_PART}],"metadata":{"n":1}}}}`,
    ],
    [
      "that is bare parts keeps a role of its own",
      `{"id":7,"messageId":"m","role":"agent","parts":[${TEXT_PART}]}`,
      `{"jsonrpc":"2.0","id":"id-1","method":"message/send","params":{"message":{"messageId":"m","role":"agent","parts":[${TEXT_PART}]}}}`,
    ],
    [
      "that is a bare message keeps it and what stands beside it",
      `{"params":null,"method":"message/stream","message":{"messageId":"m","parts":[${TEXT_PART}]},"configuration":{"blocking":true}}`,
      `{"jsonrpc":"2.0","id":"id-1","method":"message/stream","params":{"message":{"messageId":"m","parts":[${TEXT_PART}]},"configuration":{"blocking":true}}}`,
    ],
    [
      "that is a bare string of a message becomes a text part",
      '{"message":"hi"}',
      `{"jsonrpc":"2.0","id":"id-1","method":"message/send","params":{"message":{"messageId":"id-2","role":"user","parts":[${TEXT_PART}]}}}`,
    ],
    [
      "gets the messageId it lacks",
      '{"jsonrpc":"2.0","params":{"message":{"parts":[]}}}',
      '{"jsonrpc":"2.0","params":{"message":{"messageId":"id-1","parts":[]}}}',
    ],
    [
      "keeps a messageId that is no string",
      '{"jsonrpc":"2.0","params":{"message":{"messageId":null,"parts":[]}}}',
      '{"jsonrpc":"2.0","params":{"message":{"messageId":null,"parts":[]}}}',
    ],
    [
      "has its v0.2 text made a part",
      '{"jsonrpc":"2.0","params":{"message":{"messageId":"m","content" : "hi","z":1}}}',
      `{"jsonrpc":"2.0","params":{"message":{"messageId":"m","parts":[${TEXT_PART}],"z":1}}}`,
    ],
    [
      "has its v0.2 list made its parts",
      '{"jsonrpc":"2.0","params":{"message":{"messageId":"m","content":[{"type":"text","text":"hi"}]}}}',
      '{"jsonrpc":"2.0","params":{"message":{"messageId":"m","parts":[{"type":"text","text":"hi"}]}}}',
    ],
    [
      "whose message is no object is left alone",
      '{"jsonrpc":"2.0","params":{"message":"hi"}}',
      '{"jsonrpc":"2.0","params":{"message":"hi"}}',
    ],
  ])("%s", (_, body, text) => {
    expect(normalise(body).text).toBe(text);
  });

  it.each([
    ["", "invalid JSON"],
    ["[]", "invalid JSON"],
    ['"x"', "invalid JSON"],
    ['{"a":', "invalid JSON"],
    [`${'{"a":'.repeat(600)}1${"}".repeat(600)}`, "invalid JSON"],
    ['{"jsonrpc":"2.0","params":{"message":{"content":1}}}', "invalid params.message.content type"],
    ['{"message":{"content":null}}', "invalid params.message.content type"],
    [
      '{"jsonrpc":"2.0","params":{"message":{}}}',
      "params.message must contain either 'parts' (v0.3) or 'content' (v0.2 compat)",
    ],
    [String.raw`{"parts":[{"text":"\u0000"}]}`, "text must not contain U+0000"],
    [`{"jsonrpc":"2.0","params":{"message":{"parts":[],"messageId":"${"m".repeat(129)}"}}}`, "at most 128 characters"],
    [
      `{"jsonrpc":"2.0","params":{"message":{"parts":[],"metadata":{"delegation_id":"${"d".repeat(129)}"}}}}`,
      "at most 128 characters",
    ],
  ])("%s is refused: %s", (body, text) => {
    expect(() => normalise(body)).toThrow(text);
  });

  it("tells what the platform must know of it", () => {
    const message =
      '{"messageId":"m","parts":[],"metadata":{"delegation_id":"d","delegation_status":"in_progress"},"n":12345678901234567890}';
    const envelope = normalise(
      `{"jsonrpc":"2.0","method":"message/send","params":{"message":${message},"expires_in_seconds":60}}`,
    );
    expect(envelope).toMatchObject({
      method: "message/send",
      messageId: "m",
      delegationId: "d",
      delegationStatus: "in_progress",
      expiresInSeconds: 60,
      messageDigestSource: message,
    });
  });

  it("tells nothing that is not there or of the wrong type", () => {
    const nothing = { method: "", messageId: null, delegationId: null, delegationStatus: null, expiresInSeconds: null };
    expect(normalise('{"jsonrpc":"2.0"}')).toEqual({
      ...nothing,
      text: '{"jsonrpc":"2.0"}',
      messageDigestSource: '{"jsonrpc":"2.0"}',
    });
    const odd = '{"messageId":"","parts":[],"metadata":{"delegation_id":1,"delegation_status":2}}';
    expect(normalise(`{"jsonrpc":"2.0","method":3,"params":{"message":${odd},"expires_in_seconds":0}}`)).toMatchObject(
      nothing,
    );
  });

  it("loses nothing of any message, however it is wrapped", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (extra) => {
        const parsed: unknown = JSON.parse(normalise(JSON.stringify({ ...extra, jsonrpc: "2.0" })).text);
        expect(parsed).toEqual(JSON.parse(JSON.stringify({ ...extra, jsonrpc: "2.0" })));
      }),
    );
  });
});

describe("the text of a message", () => {
  it.each([
    [`{"params":{"message":{"parts":[${TEXT_PART},{"type":"text","text":"!"},{"kind":"file"}]}}}`, "hi!"],
    [`{"params":{"message":{"parts":[]},"parts":[${TEXT_PART}]}}`, "hi"],
    [`{"parts":[${TEXT_PART}]}`, "hi"],
    ['{"parts":[1,null,{"kind":"text"},{"kind":"text","text":1}]}', ""],
    ['{"parts":"hi"}', ""],
    ["{}", ""],
  ])("of %s is %j", (envelope, text) => {
    expect(textOf(envelope)).toBe(text);
  });

  it("is empty for what is no list of parts", () => {
    expect(textOfParts(undefined)).toBe("");
  });
});
