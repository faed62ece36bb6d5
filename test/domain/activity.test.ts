import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ACTIVITY_TYPES,
  type ActivityRow,
  activityJson,
  microsToTimestamp,
  notifyResponse,
  notifySummary,
  readNotify,
  timestampToMicros,
} from "../../src/domain/activity.ts";
import { REFUSALS } from "../../src/domain/refusal.ts";

const ME = "11111111-1111-4111-8111-111111111111";
const _PEER = "22222222-2222-4222-8222-222222222222";

function aRow(fields: Partial<ActivityRow> = {}): ActivityRow {
  return {
    seq: 7,
    id: "00000000-0000-8007-8000-000000000000",
    workspaceId: ME,
    activityType: "a2a_receive",
    sourceId: null,
    targetId: null,
    method: null,
    summary: null,
    requestBody: null,
    responseBody: null,
    toolTrace: null,
    durationMs: null,
    status: "ok",
    errorDetail: null,
    createdAtMicros: 1_777_593_600_000_000,
    ...fields,
  };
}

describe("a row on the wire", () => {
  it("shows empty scalars as null and leaves empty bodies out", () => {
    expect(JSON.parse(activityJson(aRow()))).toEqual({
      id: "00000000-0000-8007-8000-000000000000",
      workspace_id: ME,
      activity_type: "a2a_receive",
      source_id: null,
      target_id: null,
      method: null,
      summary: null,
      duration_ms: null,
      status: "ok",
      error_detail: null,
      created_at: "2026-05-01T00:00:00Z",
      seq: 7,
    });
  });

  it("shows bodies exactly as they were stored", () => {
    const json = activityJson(
      aRow({ requestBody: '{"id":12345678901234567890}', responseBody: "null", toolTrace: "[]" }),
      { peer_name: "Ada" },
    );
    expect(json).toContain('"request_body":{"id":12345678901234567890}');
    expect(JSON.parse(json)).toMatchObject({ response_body: null, tool_trace: [], peer_name: "Ada" });
  });
});

it("lists the activity types in the refusal in their order", () => {
  expect(REFUSALS["activity.invalid_type"].error).toBe(
    `invalid activity_type, must be one of: ${ACTIVITY_TYPES.join(", ")}`,
  );
});

describe("a timestamp", () => {
  it.each([
    [0, "1970-01-01T00:00:00Z"],
    [1, "1970-01-01T00:00:00.000001Z"],
    [1_777_593_600_120_000, "2026-05-01T00:00:00.12Z"],
    [1_777_593_600_000_100, "2026-05-01T00:00:00.0001Z"],
    [-1, "1969-12-31T23:59:59.999999Z"],
  ])("of %d microseconds is %s", (micros, text) => {
    expect(microsToTimestamp(micros)).toBe(text);
    expect(timestampToMicros(text)).toBe(micros);
  });

  it("comes back as the same microseconds", () => {
    fc.assert(fc.property(fc.nat({ max: 4e15 }), (micros) => timestampToMicros(microsToTimestamp(micros)) === micros));
  });

  it.each([
    ["2026-05-01T02:00:00+02:00", 1_777_593_600_000_000],
    ["2026-04-30T19:00:00-05:00", 1_777_593_600_000_000],
    ["2026-05-01T00:00:00,5Z", 1_777_593_600_500_000],
    ["2026-05-01T00:00:00.0000001Z", 1_777_593_600_000_001],
    ["2026-05-01T00:00:00.000000000Z", 1_777_593_600_000_000],
  ])("may also be written %s", (text, micros) => {
    expect(timestampToMicros(text)).toBe(micros);
  });

  it.each([
    "",
    "2026-05-01",
    "2026-05-01T00:00:00",
    "2026-05-01T00:00:00 02:00",
    "2026-05-01T00:00:00+24:00",
    "2026-13-01T00:00:00Z",
    "2026-02-30T00:00:00Z",
    "2026-05-01T24:00:00Z",
    "2026-05-01T00:00:60Z",
    "2026-05-01t00:00:00z",
    "yesterday",
  ])("is not %j", (text) => {
    expect(timestampToMicros(text)).toBeNull();
  });
});

describe("a message to the user", () => {
  it("is summed up by its first 80 characters, whole ones", () => {
    expect(notifySummary("done")).toBe("Agent message: done");
    expect(notifySummary("\u{1f600}".repeat(80))).toBe(`Agent message: ${"\u{1f600}".repeat(80)}`);
    expect(notifySummary("\u{1f600}".repeat(81))).toBe(`Agent message: ${"\u{1f600}".repeat(80)}…`);
  });

  it("keeps blanks, ignores unknown keys and empty optional ones", () => {
    expect(
      readNotify({
        message: " ",
        type: "x",
        attachments: [{ uri: "u", name: "n", mimeType: "", size: null }],
      }),
    ).toEqual({ message: " ", attachments: [{ uri: "u", name: "n" }] });
    expect(readNotify({ message: "m", attachments: null })).toEqual({ message: "m", attachments: [] });
  });

  it.each([
    null,
    {},
    { message: "" },
    { message: 1 },
    { message: "m", attachments: {} },
    { message: "m", attachments: [1] },
  ])("is refused as %j", (body) => {
    expect(() => readNotify(body)).toThrow("message is required");
  });

  it("names the attachment that lacks its uri or name", () => {
    const whole = { uri: "u", name: "n" };
    expect(() => readNotify({ message: "m", attachments: [whole, { name: "n" }] })).toThrow(
      "attachment[1]: uri and name are required",
    );
    expect(() => readNotify({ message: "m", attachments: [{ uri: "u", name: "" }] })).toThrow("attachment[0]: ");
  });

  it("is stored as a result, with a file part for each attachment", () => {
    expect(notifyResponse("hi", [])).toBe('{"result":"hi"}');
    const { attachments } = readNotify({
      message: "hi",
      attachments: [{ uri: "u", name: "n", mimeType: "text/plain", size: 3 }],
    });
    expect(JSON.parse(notifyResponse("hi", attachments))).toEqual({
      result: "hi",
      parts: [{ kind: "file", file: { uri: "u", name: "n", mimeType: "text/plain", size: 3 } }],
    });
  });
});
