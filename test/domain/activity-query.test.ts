import { describe, expect, it } from "vitest";
import { parseActivityQuery } from "../../src/domain/activity-query.ts";

const PEER = "22222222-2222-4222-8222-222222222222";
const parse = (query: string, prefer?: string) => parseActivityQuery(new URLSearchParams(query), prefer);

const BAD_PEER = "peer_id must be a UUID";
const BAD_BEFORE = "before_ts must be an RFC3339 timestamp (e.g. 2026-05-01T00:00:00Z)";
const BAD_SINCE = "since_secs must be a positive integer";
const BAD_SOURCE = "source must be 'canvas' or 'agent'";

describe("a query of the feed", () => {
  it.each(["", "type=&source=&limit=&since_secs=&since_id=&peer_id=&before_ts=&include=&wait=&ack=&from=&direction="])(
    "asks for the newest hundred rows when it says nothing: %j",
    (query) => {
      expect(parse(query)).toEqual({
        type: null,
        source: null,
        limit: 100,
        sinceSeconds: null,
        sinceId: null,
        peerId: null,
        beforeMicros: null,
        includePeerInfo: false,
        waitSeconds: 0,
        ackId: null,
        fromAck: false,
        inboundOnly: false,
      });
    },
  );

  it("reads every filter", () => {
    const query = `type=error&source=agent&limit=7&since_secs=600&since_id=x&peer_id=${PEER}&before_ts=1970-01-01T01:00:00%2B01:00&include=a,peer_info&wait=5&ack=y&direction=in`;
    expect(parse(query)).toEqual({
      type: "error",
      source: "agent",
      limit: 7,
      sinceSeconds: 600,
      sinceId: "x",
      peerId: PEER,
      beforeMicros: 0,
      includePeerInfo: true,
      waitSeconds: 5,
      ackId: "y",
      fromAck: false,
      inboundOnly: true,
    });
  });

  it.each([
    ["0", 100],
    ["-1", 100],
    ["abc", 100],
    ["1.5", 100],
    ["1", 1],
    ["500", 500],
    ["9999", 500],
  ])("with limit=%s gets at most %d rows", (limit, rows) => {
    expect(parse(`limit=${limit}`).limit).toBe(rows);
  });

  it("looks back at most thirty days", () => {
    expect(parse("since_secs=9999999999").sinceSeconds).toBe(2_592_000);
  });

  it.each([
    ["peer_id=x", BAD_PEER],
    [`peer_id=${PEER.replaceAll("-", "")}`, BAD_PEER],
    ["before_ts=x", BAD_BEFORE],
    ["before_ts=2026-05-01T00:00:00+02:00", BAD_BEFORE],
    ["since_secs=0", BAD_SINCE],
    ["since_secs=-5", BAD_SINCE],
    ["since_secs=1e3", BAD_SINCE],
    ["source=x", BAD_SOURCE],
    ["wait=soon", "wait must be a whole number of seconds"],
    ["from=x", "from must be 'ack'"],
    ["direction=out", "direction must be 'in'"],
    ["source=x&since_secs=0&before_ts=x&peer_id=x", BAD_PEER],
    ["source=x&since_secs=0&before_ts=x", BAD_BEFORE],
    ["source=x&since_secs=0", BAD_SINCE],
    ["direction=x&from=x&wait=x&source=x", BAD_SOURCE],
  ])("%s is refused with its text, the first fault first", (query, text) => {
    expect(() => parse(query)).toThrow(text);
  });

  it("keeps of a type or an id no more than any can have", () => {
    const long = "é".repeat(17_000);
    const { type, sinceId, ackId } = parse(`type=${long}&since_id=${long}&ack=${long}`);
    for (const text of [type, sinceId, ackId]) expect(text).toBe("é".repeat(128));
  });

  it("is held for at most 25 seconds, as the query says or else the Prefer header", () => {
    expect(parse("wait=60").waitSeconds).toBe(25);
    expect(parse("wait=3", "wait=9").waitSeconds).toBe(3);
    expect(parse("wait=0", "wait=9").waitSeconds).toBe(0);
    expect(parse("", 'respond-async, Wait = "9"').waitSeconds).toBe(9);
    expect(parse("", "wait=99").waitSeconds).toBe(25);
    expect(parse("", "wait=soon").waitSeconds).toBe(0);
    expect(parse("", "await=9").waitSeconds).toBe(0);
  });

  it("starts after the acknowledged row unless it names another", () => {
    expect(parse("from=ack").fromAck).toBe(true);
    expect(parse("from=ack&since_id=x")).toMatchObject({ fromAck: false, sinceId: "x" });
  });
});
