import { describe, expect, it } from "vitest";
import type { ActivityRow } from "../../src/domain/activity.ts";
import {
  a2aResponse,
  agentMessage,
  eventsOfRow,
  formatted,
  keepAlive,
  type NumberedEvent,
  PAYLOAD_BYTES_MAX,
  resync,
  storablePayload,
} from "../../src/domain/hub-event.ts";
import { hears, resumeNumber } from "../../src/domain/hub-listener.ts";

const NOW = Date.UTC(2026, 10, 23, 9, 0, 0, 250);
const EVENT: NumberedEvent = {
  id: 7,
  workspaceId: "w",
  event: "TASK_UPDATED",
  payload: '{"n":12345678901234567890,\n "text":"a\\nb"}',
  timestamp: "2026-11-23T09:00:00.250123Z",
};
const ROW: ActivityRow = {
  seq: 1,
  id: "row",
  workspaceId: "w",
  activityType: "a2a_receive",
  sourceId: null,
  targetId: "w",
  method: "message/send",
  summary: "hello",
  requestBody: '{"big":12345678901234567890}',
  responseBody: null,
  toolTrace: null,
  durationMs: 12,
  status: "ok",
  errorDetail: "secret",
  createdAtMicros: NOW * 1000,
};

describe("an event on the wire", () => {
  it("is one JSON object, with the payload's text unchanged", () => {
    expect(formatted("frame", EVENT)).toBe(
      `{"event":"TASK_UPDATED","workspace_id":"w","timestamp":"2026-11-23T09:00:00.250123Z","id":7,"payload":${EVENT.payload}}`,
    );
  });

  it("is one block of a stream, whatever line ends its payload has", () => {
    expect(formatted("stream", EVENT)).toBe(
      `id: 7\ndata: {"type":"TASK_UPDATED","timestamp":${NOW},"data":{"n":12345678901234567890,  "text":"a\\nb"}}\n\n`,
    );
  });

  it("leaves out a payload that is larger than a row", () => {
    const fits = JSON.stringify({ text: "ü".repeat(PAYLOAD_BYTES_MAX / 2 - 10) });
    expect(storablePayload(fits)).toBe(fits);
    expect(storablePayload(JSON.stringify({ text: "€".repeat(PAYLOAD_BYTES_MAX / 3) }))).toBe(
      '{"payload_too_large":true}',
    );
    expect(storablePayload("{}")).toBe("{}");
  });
});

describe("what the hub says of itself", () => {
  it("is a frame that the canvas ignores, or a comment", () => {
    const timestamp = "2026-11-23T09:00:00.25Z";
    const own = { workspace_id: "", timestamp, id: 3, payload: {} };
    expect(JSON.parse(keepAlive("frame", 3, NOW))).toEqual({ event: "KEEP_ALIVE", ...own });
    expect(keepAlive("stream", 3, NOW)).toBe("id: 3\n: keep-alive\n\n");
    expect(JSON.parse(resync("frame", 3, NOW))).toEqual({ event: "resync", ...own });
    expect(resync("stream", 3, NOW)).toBe(`id: 3\ndata: {"type":"resync","timestamp":${NOW},"data":{}}\n\n`);
  });
});

describe("the events of a row", () => {
  it("are none, a message, an entry, or an entry and its answer, each with the row's version", () => {
    const eventsOf = (event: "logged" | "message" | "answer" | null) =>
      eventsOfRow({ ...ROW, version: 5, event }, "Ada").map((told) => [told.version, told.event]);
    expect(eventsOf(null)).toEqual([]);
    expect(eventsOf("message")).toEqual([[5, "AGENT_MESSAGE"]]);
    expect(eventsOf("logged")).toEqual([[5, "ACTIVITY_LOGGED"]]);
    expect(eventsOf("answer")).toEqual([
      [5, "ACTIVITY_LOGGED"],
      [5, "A2A_RESPONSE"],
    ]);
  });

  it("say neither the row's id nor its error, and carry its bodies as they came", () => {
    const [logged] = eventsOfRow({ ...ROW, version: 5, event: "logged" }, "Ada");
    expect(logged?.payload).toContain('"request_body":{"big":12345678901234567890}');
    expect(Object.keys(JSON.parse(logged?.payload ?? ""))).toEqual([
      "activity_type",
      "method",
      "summary",
      "status",
      "source_id",
      "target_id",
      "duration_ms",
      "request_body",
    ]);
    expect(a2aResponse(ROW)).toBe('{"method":"message/send","duration_ms":12,"response_body":null}');
    expect(a2aResponse({ ...ROW, responseBody: '{"result":1}' })).toContain('"response_body":{"result":1}');
  });

  it("name a message's attachments in the canvas' own keys", () => {
    const file = { uri: "platform-pending:w/f", name: "a.txt", mimeType: "text/plain", size: 3 };
    const responseBody = JSON.stringify({ result: "see", parts: [{ kind: "file", file }] });
    expect(JSON.parse(agentMessage({ ...ROW, responseBody }, "Ada"))).toEqual({
      message: "see",
      workspace_id: "w",
      name: "Ada",
      attachments: [file],
    });
    expect(JSON.parse(agentMessage(ROW, "Ada"))).toEqual({ message: "", workspace_id: "w", name: "Ada" });
  });
});

describe("a listener's filter", () => {
  it("lets through all, one workspace, or those that may talk to each other", () => {
    expect(hears({ kind: "all" }, "w", ["w"])).toBe(true);
    expect(hears({ kind: "one", workspaceId: "w" }, "w", ["w"])).toBe(true);
    expect(hears({ kind: "one", workspaceId: "w" }, "v", ["v"])).toBe(false);
    expect(hears({ kind: "kin", path: ["root", "w"] }, "v", ["root", "v"])).toBe(true);
    expect(hears({ kind: "kin", path: ["root", "w"] }, "v", ["elsewhere", "v"])).toBe(false);
  });
});

describe("the number to resume after", () => {
  it.each([
    [undefined, null],
    ["", null],
    ["0", 0],
    ["1795424400000001", 1795424400000001],
    ["-5", -1],
    ["abc", -1],
    ["99999999999999999", -1],
  ])("of %s is %s", (text, number) => {
    expect(resumeNumber(text)).toBe(number);
  });
});
