import { describe, expect, it } from "vitest";
import {
  busyRefusal,
  isCloudflareMade,
  judgePush,
  type Observation,
  type PushTarget,
  queuedEnvelope,
  tellsOfDeath,
} from "../../src/domain/a2a-outcome.ts";

const ADA: PushTarget = { name: "Ada", method: "message/send", container: "none", nativeSession: false };
const answered = (status: number, body = "{}", cloudflareMade = false): Observation => ({
  kind: "answered",
  status,
  body,
  cloudflareMade,
});

function refusalOf(observed: Observation, target: Partial<PushTarget> = {}) {
  const { reply } = judgePush(observed, { ...ADA, ...target });
  if (reply.kind !== "refuse") throw new Error(`not refused: ${reply.kind}`);
  const { code, message, options } = reply.refusal;
  return { code, error: message, details: options.details, retryAfter: options.retryAfter };
}

describe("an answer of the agent", () => {
  it("passes through with its status and body, and is kept", () => {
    const body = '{"result":{"metadata":{"tool_trace":[1]}}}';
    expect(judgePush(answered(200, body), ADA)).toEqual({
      delivered: "yes",
      reason: null,
      reply: { kind: "pass", status: 200, contentType: "application/json", body },
      row: { status: "ok", summary: "message/send → Ada", errorDetail: null, responseBody: body, toolTrace: "[1]" },
      containerDied: false,
    });
  });

  it.each([
    [200, "words", "application/json", "words"],
    [204, "", "application/json", null],
    [205, "", "application/json", null],
    [302, "", "text/plain; charset=utf-8", ""],
    [304, "", "text/plain; charset=utf-8", null],
    [404, '{"error":"no"}', "application/json", '{"error":"no"}'],
    [500, "<html>", "text/plain; charset=utf-8", "<html>"],
    [502, "{}", "application/json", "{}"],
  ])("of %d %j passes as %s", (status, body, contentType, passed) => {
    expect(judgePush(answered(status, body), ADA)).toMatchObject({
      delivered: "yes",
      reply: { kind: "pass", status, contentType, body: passed },
    });
  });

  it.each([
    [399, "{}", "ok", null],
    [400, '{"error":"bad"}', "error", "bad"],
    [500, '{"error":{"message":"worse"}}', "error", "worse"],
    [500, "<html>", "error", "agent answered HTTP 500"],
  ])("of %d %s is a row with status %s and detail %s", (status, body, rowStatus, errorDetail) => {
    expect(judgePush(answered(status, body), ADA).row).toMatchObject({ status: rowStatus, errorDetail });
  });

  it.each([
    ["words", '{"text":"words"}'],
    ["[1]", '{"text":"[1]"}'],
    ['{"n":12345678901234567890}', '{"n":12345678901234567890}'],
    [String.raw`{"n":"\u0000"}`, JSON.stringify({ text: String.raw`{"n":"\u0000"}` })],
  ])("%s is stored as %s", (body, stored) => {
    expect(judgePush(answered(200, body), ADA).row.responseBody).toBe(stored);
  });

  it("never stores what no database takes", () => {
    const { row } = judgePush(answered(200, "a\u0000\ud800"), ADA);
    expect(row.responseBody === '{"text":"a\ufffd\ufffd"}').toBe(true);
    const trace = String.raw`{"result":{"metadata":{"tool_trace":"\u0000"}}}`;
    expect(judgePush(answered(200, trace), ADA).row.toolTrace).toBeNull();
  });
});

describe("a busy agent", () => {
  it.each([429, 503])("that answers %d gets the request queued, as surely not delivered", (status) => {
    expect(judgePush(answered(status), ADA)).toEqual({
      delivered: "no",
      reason: `agent busy (HTTP ${status})`,
      reply: { kind: "queue" },
      row: {
        status: "error",
        summary: `A2A request to Ada failed: agent busy (HTTP ${status})`,
        errorDetail: `agent busy (HTTP ${status})`,
        responseBody: null,
        toolTrace: null,
      },
      containerDied: false,
    });
  });

  it("that retries by itself gets nothing queued", () => {
    expect(refusalOf(answered(503), { nativeSession: true })).toEqual({
      code: "a2a.busy",
      error: "workspace agent busy — adapter handles retry (native_session)",
      details: { busy: true, retry_after: 30, native_session: true },
      retryAfter: 30,
    });
  });

  it("whose queue is out of reach is told to the caller", () => {
    const { message, options } = busyRefusal(false);
    expect(message).toBe("workspace agent busy — retry after a short backoff");
    expect(options).toEqual({ details: { busy: true, retry_after: 30 }, retryAfter: 30 });
  });

  it("puts the caller in the queue with a message", () => {
    expect(queuedEnvelope("q", 2, "busy")).toMatchObject({ queued: true, queue_id: "q", queue_depth: 2 });
    expect(queuedEnvelope("q", 2, "busy").message).toContain("busy");
    expect(queuedEnvelope("q", 2, "working").message).toContain("still working");
  });
});

const FAILURES: [Observation, "yes" | "no" | "unknown", string, number | boolean | undefined, string][] = [
  [{ kind: "guard_refused", reason: "loopback" }, "no", "a2a.not_routable", undefined, "loopback"],
  [{ kind: "not_sent", reason: "ECONNREFUSED" }, "no", "a2a.unreachable", undefined, "ECONNREFUSED"],
  [{ kind: "fetch_threw", reason: "Network lost" }, "unknown", "a2a.unreachable", false, "Network lost"],
  [{ kind: "timed_out" }, "unknown", "a2a.unreachable", false, "no answer in time"],
  [{ kind: "lost" }, "unknown", "a2a.unreachable", false, "the platform lost sight of the call"],
  [{ kind: "answer_cut", status: 200 }, "yes", "a2a.answer_unread", true, "answer cut off (HTTP 200)"],
  [{ kind: "too_large", status: 200 }, "yes", "a2a.answer_unread", true, "answer larger than 10 MiB (HTTP 200)"],
  ...[521, 523, 530].map((status): (typeof FAILURES)[number] => [
    answered(status, "page", true),
    "no",
    "a2a.unreachable",
    undefined,
    `Cloudflare answered ${status} in the agent's place`,
  ]),
  ...[403, 429, 503, 520, 522, 524, 525, 526, 527].map((status): (typeof FAILURES)[number] => [
    answered(status, "page", true),
    "unknown",
    "a2a.unreachable",
    false,
    `Cloudflare answered ${status} in the agent's place`,
  ]),
];

describe("a call without an answer", () => {
  it.each(FAILURES)("%j is delivered: %s", (observed, delivered, code, confirmed, reason) => {
    const outcome = judgePush(observed, ADA);
    expect(outcome).toMatchObject({
      delivered,
      reason,
      containerDied: false,
      row: {
        status: "error",
        summary: `A2A request to Ada failed: ${reason}`,
        errorDetail: reason,
        responseBody: null,
        toolTrace: null,
      },
    });
    const refusal = refusalOf(observed);
    expect(refusal.code).toBe(code);
    expect(refusal.details?.delivery_confirmed).toBe(confirmed);
  });

  it("never passes on what Cloudflare wrote", () => {
    expect(JSON.stringify(judgePush(answered(522, "secret page", true), ADA))).not.toContain("secret page");
  });

  it("tells a long reason short and storable", () => {
    const { reason } = judgePush({ kind: "fetch_threw", reason: `\u0000${"x".repeat(1000)}` }, ADA);
    expect(reason).toBe(`\ufffd${"x".repeat(299)}`);
  });
});

describe("a dead container", () => {
  it.each<[string, Observation, "yes" | "no" | "unknown"]>([
    ["a request that was not sent", { kind: "not_sent", reason: "r" }, "no"],
    ["an exception", { kind: "fetch_threw", reason: "r" }, "unknown"],
    ["its network's 502", answered(502), "unknown"],
    ["its network's 503", answered(503), "no"],
    ["its network's 504", answered(504), "unknown"],
    ["Cloudflare's 521", answered(521, "", true), "no"],
    ["Cloudflare's 522", answered(522, "", true), "unknown"],
    ["Cloudflare's 524", answered(524, "", true), "unknown"],
  ])("is restarted after %s", (_, observed, delivered) => {
    expect(judgePush(observed, { ...ADA, container: "dead" })).toMatchObject({ delivered, containerDied: true });
    expect(refusalOf(observed, { container: "dead" })).toEqual({
      code: "a2a.restarting",
      error: "workspace agent unreachable — container restart triggered",
      details: {
        restarting: true,
        retry_after: 15,
        ...(delivered === "unknown" ? { delivery_confirmed: false } : {}),
      },
      retryAfter: 15,
    });
  });

  it.each<[string, Observation]>([
    ["a refused URL", { kind: "guard_refused", reason: "r" }],
    ["a lost call", { kind: "lost" }],
    ["Cloudflare's 520", answered(520, "", true)],
  ])("does not explain %s", (_, observed) => {
    expect(judgePush(observed, { ...ADA, container: "dead" }).containerDied).toBe(false);
  });

  it("still passes on the answer that it gave before it died", () => {
    expect(judgePush(answered(500), { ...ADA, container: "dead" }).reply.kind).toBe("pass");
    expect(judgePush(answered(502), { ...ADA, container: "alive" }).reply.kind).toBe("pass");
  });
});

it.each<[number, string | null, string, boolean]>([
  [520, null, "", true],
  [527, null, "", true],
  [530, null, "", true],
  [528, null, "", false],
  [502, "cloudflare", "error code: 502", true],
  [403, "Cloudflare", '<div id="cf-wrapper">', true],
  [503, "cloudflare", "<b>Cloudflare Ray ID: 1</b>", true],
  [503, "cloudflare", '{"error":"busy"}', false],
  [502, "nginx", "error code: 502", false],
  [502, null, "error code: 502", false],
  [200, "cloudflare", "error code: 502", false],
])("a %d from %s saying %j is Cloudflare's own: %s", (status, server, body, made) => {
  expect(isCloudflareMade(status, server, body)).toBe(made);
});

describe("a failure that may be a container's death", () => {
  it.each([
    [{ kind: "fetch_threw", reason: "reset" }, true],
    [{ kind: "not_sent", reason: "refused" }, true],
    [answered(502, "bad gateway"), true],
    [answered(503, ""), true],
    [answered(524, "<html>"), true],
    [answered(503, '{"error":"busy"}'), false],
    [answered(200), false],
    [answered(429), false],
    [answered(500), false],
    [{ kind: "timed_out" }, false],
    [{ kind: "lost" }, false],
    [{ kind: "answer_cut", status: 200 }, false],
    [{ kind: "guard_refused", reason: "private" }, false],
  ] as [Observation, boolean][])("%j: %s", (observed, expected) => {
    expect(tellsOfDeath(observed)).toBe(expected);
  });
});
