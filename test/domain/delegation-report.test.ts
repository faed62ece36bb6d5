import { describe, expect, it } from "vitest";
import { normaliseEnvelope, textOf } from "../../src/domain/a2a-envelope.ts";
import { type Delegation, statusOf } from "../../src/domain/delegation.ts";
import { calleeRemoved, callerRemoved, cancel, retry } from "../../src/domain/delegation-control.ts";
import { inboxRow } from "../../src/domain/delegation-inbox-row.ts";
import { judge } from "../../src/domain/delegation-judging.ts";
import { leavesOrdinaryRow, report, reportOfMessage } from "../../src/domain/delegation-report.ts";
import {
  answered,
  CALLEE,
  CALLER,
  completed,
  dispatched,
  effectsOf,
  failed,
  HOUR_MS,
  ID,
  inProgress,
  NOW,
  outline,
  queued,
  RETRY_ID,
  RULES,
  STRANGER,
  said,
  told,
} from "./delegation-samples.ts";

const ORDER = { actor: "operator", reason: "asked to" };
const retried = (delegation: Delegation) =>
  retry(delegation, { ...ORDER, attemptId: RETRY_ID, task: "count the sheep", force: true }, NOW + 1);
const responseOf = (row: { responseBody: string } | undefined) => JSON.parse(row?.responseBody ?? "null");

describe("the preview lost on completion", () => {
  it("survives when the text comes with the status", () => {
    const done = said(inProgress(), { text: "twelve" });
    const again = said(done.delegation, { text: null });
    expect(again).toMatchObject({ disposition: "replayed", effects: [] });
    expect(again.delegation).toBe(done.delegation);
    expect(again.delegation.current).toMatchObject({ state: "completed", text: { preview: "twelve" } });
  });

  it("survives when the status comes before the text", () => {
    const done = said(inProgress(), { text: null });
    const filled = said(done.delegation, { text: "twelve" }, NOW + 5);
    expect(outline(filled)).toEqual([
      "completed",
      "history result: completed",
      "history sent: completed",
      "inbox fill",
    ]);
    expect(filled.delegation).toEqual({
      ...done.delegation,
      current: { ...done.delegation.current, text: { preview: "twelve", digest: null } },
    });
    expect(responseOf(effectsOf(filled, "inbox_fill")[0]?.row)).toEqual({ text: "twelve", delegation_id: ID });
    expect(said(filled.delegation, { text: "twelve" }).disposition).toBe("replayed");
  });

  it("survives whoever of the two says which half", () => {
    const done = said(inProgress(), { by: CALLER, text: null });
    expect(said(done.delegation, { by: CALLEE, text: "twelve" }).disposition).toBe("filled");
  });
});

describe("a failure", () => {
  it("keeps its error", () => {
    const delegation = failed("out of sheep");
    expect(said(delegation, { status: "failed", error: null }).delegation).toBe(delegation);
    expect(said(delegation, { status: "failed", error: "out of sheep" }).disposition).toBe("replayed");
    const other = said(delegation, { status: "failed", error: "out of grass" });
    expect(other).toMatchObject({ disposition: "contradicted", effects: [] });
    expect(other.delegation.current).toMatchObject({ error: "out of sheep", contradictions: 1 });
  });

  it("gets the error that it was told without", () => {
    const filled = said(failed(null), { status: "failed", error: "out of sheep" });
    expect(outline(filled)).toEqual(["failed", "history result: failed", "history sent: failed", "inbox fill"]);
    expect(effectsOf(filled, "inbox_fill")[0]?.row.errorDetail).toBe("out of sheep");
    expect(filled.delegation.current).toMatchObject({ error: "out of sheep", text: null });
  });

  it("gets the text that it was told without, beside the error that it had", () => {
    const filled = said(failed("out of sheep"), { status: "failed", error: "other words", text: "eleven" });
    expect(effectsOf(filled, "inbox_fill")[0]?.row).toMatchObject({ errorDetail: "out of sheep" });
    expect(filled.delegation.current).toMatchObject({ error: "out of sheep", text: { preview: "eleven" } });
  });

  it("gets its error without its text being told again", () => {
    const withText = said(inProgress(), { status: "failed", text: "eleven" }).delegation;
    const filled = said(withText, { status: "failed", error: "out of sheep" });
    expect(outline(filled)).toEqual(["failed", "history sent: failed"]);
    expect(said(filled.delegation, { status: "failed", text: "ten", error: "x" }).disposition).toBe("contradicted");
  });

  const wordless = (by: string) => said(inProgress(), { by, status: "failed" }).delegation;
  it.each([
    ["by the callee's update", wordless(CALLEE)],
    ["by the caller's update", wordless(CALLER)],
    ["by a proxy in the callee's place", told(queued(), answered(502, "<html>Bad Gateway</html>")).delegation],
  ])("without a word, %s, has the first result told as late", (_, ended) => {
    const late = said(ended, { text: "twelve" });
    expect(late.disposition).toBe("late");
    expect(outline(late)).toEqual(["failed", "history late: late", "inbox late"]);
    expect(late.delegation.current.delivery).toBe("confirmed");
    expect(responseOf(effectsOf(late, "inbox")[0]?.row)).toEqual({ text: "twelve", delegation_id: ID, late: true });
    expect(said(late.delegation, { text: "twelve" })).toMatchObject({ disposition: "replayed", effects: [] });
    expect(said(late.delegation, { text: "thirteen" })).toMatchObject({ disposition: "contradicted" });
  });

  it("without a word has a result of the caller told as late, which proves no delivery", () => {
    const ended = said(queued(), { by: CALLER, status: "failed" }).delegation;
    expect(said(ended, { by: CALLER, text: "twelve" }).delegation.current).toMatchObject({
      delivery: "none",
      text: { preview: "twelve" },
    });
  });

  it.each([
    ["an error", failed()],
    ["a text", said(inProgress(), { status: "failed", text: "no sheep" }).delegation],
    ["the caller's error", said(inProgress(), { by: CALLER, status: "failed", error: "gave up" }).delegation],
  ])("with %s stands against every result, and the first one is kept in the history", (_, ended) => {
    const other = said(ended, { text: "twelve" });
    expect(other.disposition).toBe("contradicted");
    expect(outline(other)).toEqual(["failed", "history contradicted: contradicted"]);
    expect(effectsOf(other, "history")[0]?.row).toMatchObject({ summary: "Delegation answered differently (twelve)" });
    expect(JSON.parse(effectsOf(other, "history")[0]?.row.responseBody ?? "")).toEqual({
      text: "twelve",
      delegation_id: ID,
    });
    expect(other.delegation.current).toMatchObject({ contradictions: 1, contradiction: { preview: "twelve" } });
    const more = said(other.delegation, { text: "thirteen" });
    expect(more).toMatchObject({ disposition: "contradicted", effects: [] });
    expect(more.delegation.current).toMatchObject({ contradictions: 2, contradiction: { preview: "twelve" } });
  });

  it("stands against a result without a text", () => {
    expect(said(wordless(CALLEE), { text: null })).toMatchObject({ disposition: "contradicted", effects: [] });
  });

  it("without any word says at least that it failed", () => {
    const { effects } = said(inProgress(), { status: "failed" });
    expect(effectsOf({ effects }, "event")[0]?.payload).toEqual({ delegation_id: ID, target_id: CALLEE, error: "" });
    expect(textOf(effectsOf({ effects }, "inbox")[0]?.row.requestBody ?? "")).toBe("Delegation failed");
  });

  it("keeps of a long error what fits into the ledger", () => {
    const error = "é".repeat(5000);
    const delegation = failed(error);
    expect(delegation.current).toMatchObject({ error: "é".repeat(2048) });
    expect(said(delegation, { status: "failed", error }).disposition).toBe("replayed");
  });
});

describe("50 conflicting final updates", () => {
  it("have one winner, one result row and one event", () => {
    let delegation = inProgress();
    const effects = Array.from({ length: 50 }, (_, index) => {
      const by = index % 3 === 0 ? CALLER : CALLEE;
      const next =
        index % 2 === 0
          ? said(delegation, { by, text: `result ${index}` })
          : said(delegation, { by, status: "failed", error: `error ${index}` });
      delegation = next.delegation;
      return next.effects;
    }).flat();
    expect(delegation.current).toMatchObject({ state: "completed", text: { preview: "result 0" }, contradictions: 49 });
    expect(effectsOf({ effects }, "inbox")).toHaveLength(1);
    expect(effectsOf({ effects }, "event")).toHaveLength(1);
  });
});

describe("a result after the platform ended the attempt", () => {
  const endings: [string, Delegation, string][] = [
    ["its deadline", judge(dispatched(), NOW + 6 * HOUR_MS, RULES).delegation, "failed"],
    ["a cancellation", cancel(dispatched(), ORDER, NOW).delegation, "cancelled"],
    ["the removal of the caller", callerRemoved(dispatched(), NOW).delegation, "cancelled"],
    ["the removal of the callee", calleeRemoved(dispatched(), NOW).delegation, "failed"],
  ];

  it.each(endings)("by %s changes no state; its text is told once, marked late", (_, ended, status) => {
    const late = said(ended, { text: "twelve" }, NOW + 7 * HOUR_MS);
    expect(late.disposition).toBe("late");
    expect(outline(late)).toEqual([status, "history late: late", "inbox late"]);
    expect(late.delegation.updatedAt).toBe(ended.updatedAt);
    const [news] = effectsOf(late, "inbox");
    expect(news?.row).toMatchObject({ status: "ok", summary: "Late delegation result delivered", errorDetail: null });
    expect(responseOf(news?.row)).toEqual({ text: "twelve", delegation_id: ID, late: true });
    expect(JSON.parse(news?.row.requestBody ?? "").params.message.metadata).toMatchObject({ late: true });
    expect(said(late.delegation, { text: "twelve" })).toMatchObject({ disposition: "replayed", effects: [] });
    expect(said(late.delegation, { text: "thirteen" })).toMatchObject({ disposition: "contradicted" });
    expect(said(late.delegation, { text: null }).delegation).toBe(late.delegation);
  });

  it.each(endings)("by %s is nothing to tell without a word", (_, ended) => {
    expect(said(ended, { status: "failed" })).toEqual({ delegation: ended, effects: [], disposition: "replayed" });
  });

  it.each(endings)("by %s that is only an error has it told once, marked late", (_, ended, status) => {
    const late = said(ended, { status: "failed", error: "out of sheep" }, NOW + 7 * HOUR_MS);
    expect(outline(late)).toEqual([status, "history late: late", "inbox late"]);
    expect(late.delegation.current).toMatchObject({ late: { preview: "out of sheep" } });
    const [news] = effectsOf(late, "inbox");
    expect(news?.row).toMatchObject({ status: "error", errorDetail: "out of sheep" });
    expect(responseOf(news?.row)).toEqual({ text: "out of sheep", delegation_id: ID, late: true });
    expect(said(late.delegation, { status: "failed", error: "out of sheep" })).toMatchObject({
      disposition: "replayed",
      effects: [],
    });
    const result = said(late.delegation, { text: "twelve" });
    expect(outline(result)).toEqual([status, "history contradicted: contradicted"]);
  });

  it("that is only the caller's own error is not told to the caller", () => {
    const ended = cancel(dispatched(), ORDER, NOW).delegation;
    expect(said(ended, { by: CALLER, status: "failed", error: "gave up" }).delegation).toBe(ended);
  });

  it("tells of a failure as one, in its words", () => {
    const ended = judge(dispatched(), NOW + 6 * HOUR_MS, RULES).delegation;
    const [news] = effectsOf(said(ended, { status: "failed", text: "no sheep", error: "no sheep" }), "inbox");
    expect(news?.row).toMatchObject({ status: "error", errorDetail: "no sheep" });
  });

  it("proves the delivery when it is the callee's", () => {
    const ended = cancel(queued(), ORDER, NOW).delegation;
    expect(said(ended, { by: CALLER, text: "twelve" }).delegation.current.delivery).toBe("none");
    expect(said(ended, { by: CALLEE, text: "twelve" }).delegation.current.delivery).toBe("confirmed");
  });
});

describe("an answer under an old attempt", () => {
  const first = judge(dispatched(), NOW + 6 * HOUR_MS, RULES).delegation;
  const { delegation } = retried(first);

  it("is kept on that attempt and audited, and changes nothing else", () => {
    const kept = said(delegation, { id: ID, text: "twelve" });
    expect(kept.disposition).toBe("kept");
    expect(outline(kept)).toEqual(["queued", "history late: late", "delegation.old_answer"]);
    expect(effectsOf(kept, "audit")[0]).toMatchObject({ actor: CALLEE, reason: "late", attemptId: ID });
    expect(kept.delegation).toEqual({
      ...delegation,
      past: [{ ...first.current, delivery: "confirmed", late: { preview: "twelve", digest: null } }],
    });
    expect(said(kept.delegation, { id: ID, text: "twelve" })).toMatchObject({ disposition: "replayed", effects: [] });
    const other = said(kept.delegation, { id: ID, text: "thirteen" });
    expect(outline(other)).toEqual(["queued", "history contradicted: contradicted", "delegation.old_answer"]);
    expect(other.disposition).toBe("contradicted");
  });

  it("leaves the other old attempts alone", () => {
    const twice = retry(
      judge(delegation, NOW + 20 * HOUR_MS, RULES).delegation,
      { ...ORDER, attemptId: "third", task: "count the sheep", force: true },
      NOW,
    ).delegation;
    const kept = said(twice, { id: RETRY_ID, text: "twelve" }).delegation;
    expect(kept.past.map((attempt) => "late" in attempt && attempt.late?.preview)).toEqual([undefined, "twelve"]);
  });

  it("may only bring a missing error", () => {
    const again = retried(failed(null)).delegation;
    expect(outline(said(again, { id: ID, status: "failed", error: "out of sheep" }))).toEqual([
      "queued",
      "delegation.old_answer",
    ]);
  });

  it("is no answer to the new one, which the caller means by the delegation's own id", () => {
    expect(statusOf(said(delegation, { by: CALLER, id: ID, text: "twelve" }).delegation)).toBe("completed");
    expect(statusOf(said(delegation, { by: CALLEE, id: RETRY_ID, text: "twelve" }).delegation)).toBe("completed");
  });
});

describe("who may close", () => {
  it("is the callee or the caller, and nobody else", () => {
    const delegation = inProgress();
    expect(said(delegation, { by: STRANGER, text: "mine" })).toEqual({
      delegation,
      effects: [],
      disposition: "stranger",
    });
    expect(said(delegation, { id: "another", text: "mine" }).disposition).toBe("stranger");
    expect(said(delegation, { by: CALLER, text: "twelve" }).disposition).toBe("closed");
  });

  it("is one workspace where it delegated to itself", () => {
    const own: Delegation = { ...inProgress(), calleeId: CALLER };
    expect(said(own, { by: CALLER, text: "twelve" }).delegation.current).toMatchObject({ endedBy: "callee" });
  });

  it("confirms the callee's own end and asks it to stop after any other", () => {
    expect(effectsOf(said(inProgress(), {}), "callee")[0]?.message.kind).toBe("closed");
    expect(effectsOf(said(inProgress(), { by: CALLER }), "callee")[0]?.message.kind).toBe("cancel");
  });

  it("may say so after the beginning was said twice", () => {
    const begun = said(inProgress(), { status: "in_progress" });
    expect(begun).toMatchObject({ disposition: "progressed", effects: [] });
  });

  it.each([
    ["completed", completed()],
    ["failed", failed()],
    ["was cancelled", cancel(dispatched(), ORDER, NOW).delegation],
  ])("still gets words of work under way through, as an ordinary message, after it %s", (_, ended) => {
    const working = said(ended, { status: "in_progress", text: "half way" });
    expect(working).toEqual({ delegation: ended, effects: [], disposition: "progressed" });
    expect(leavesOrdinaryRow(working.disposition)).toBe(true);
  });
});

describe("a message that names a delegation", () => {
  const message = (metadata: object, parts: unknown = [{ kind: "text", text: "twelve" }]) =>
    normaliseEnvelope(JSON.stringify({ jsonrpc: "2.0", params: { message: { parts, metadata } } }), () => "m");
  const reportOf = (metadata: object, parts?: unknown) => reportOfMessage(CALLEE, message(metadata, parts));

  it.each([
    [{ delegation_id: ID }, { status: "completed", text: "twelve", error: null }],
    [
      { delegation_id: ID, delegation_status: "completed" },
      { status: "completed", text: "twelve", error: null },
    ],
    [
      { delegation_id: ID, delegation_status: "failed" },
      { status: "failed", text: "twelve", error: "twelve" },
    ],
    [{ delegation_id: ID, delegation_status: "in_progress" }, { status: "in_progress" }],
  ])("with %j reports %j", (metadata, expected) => {
    expect(reportOf(metadata)).toMatchObject({ by: CALLEE, id: ID, drained: false, ...expected });
  });

  it("is an ordinary one without an id or with an unknown status", () => {
    expect(reportOf({})).toBeNull();
    expect(reportOf({ delegation_id: ID, delegation_status: "pondering" })).toBeNull();
  });

  it("with files only has its parts for a text; with nothing it has none", () => {
    const file = [{ kind: "file", file: { uri: "platform-pending:x/y" } }];
    expect(reportOf({ delegation_id: ID }, file)?.text).toBe(JSON.stringify(file));
    expect(reportOf({ delegation_id: ID }, [{ kind: "text", text: "" }, 1])?.text).toBeNull();
    expect(reportOf({ delegation_id: ID }, {})?.text).toBeNull();
    const without = { ...message({ delegation_id: ID }), text: "{}" };
    expect(reportOfMessage(CALLEE, without)?.text).toBeNull();
  });

  it("is itself the result row, under the delegation's own id", () => {
    const again = retried(failed()).delegation;
    const envelope = message({ delegation_id: RETRY_ID, n: 1 });
    const said = reportOfMessage(CALLEE, envelope);
    if (said === null) throw new Error("not a report");
    const closed = report(again, said, NOW + 2);
    expect(closed.disposition).toBe("closed");
    const [news] = effectsOf(closed, "inbox");
    expect(news?.row).toMatchObject({ method: "delegate_result", sourceId: CALLEE, targetId: CALLER });
    expect(JSON.parse(news?.row.requestBody ?? "")).toMatchObject({
      delegation_id: ID,
      params: { message: { messageId: "m", metadata: { delegation_id: ID, n: 1 } } },
    });
    expect(responseOf(news?.row)).toEqual({ text: "twelve", delegation_id: ID });
  });

  it("leaves an ordinary row only when it ends nothing and repeats nothing", () => {
    expect(leavesOrdinaryRow("stranger")).toBe(true);
    expect(leavesOrdinaryRow("progressed")).toBe(true);
    for (const disposition of ["closed", "filled", "late", "kept", "replayed", "contradicted"] as const) {
      expect(leavesOrdinaryRow(disposition)).toBe(false);
    }
  });
});

describe("a row of the caller's inbox", () => {
  const news = {
    delegationId: ID,
    attemptId: ID,
    callerId: CALLER,
    calleeId: CALLEE,
    status: "completed",
    text: "twelve",
    error: null,
    late: false,
    envelope: null,
  } as const;

  it("has the text where each kind of client looks for it", () => {
    const row = inboxRow(news);
    expect(row).toMatchObject({
      activityType: "a2a_receive",
      method: "delegate_result",
      sourceId: CALLEE,
      targetId: CALLER,
      summary: "Delegation result delivered",
      status: "ok",
      errorDetail: null,
    });
    expect(responseOf(row)).toEqual({ text: "twelve", delegation_id: ID });
    expect(JSON.parse(row.requestBody)).toEqual({
      delegation_id: ID,
      jsonrpc: "2.0",
      id: `${ID}:result`,
      method: "message/send",
      params: {
        message: {
          role: "user",
          messageId: `${ID}:result`,
          parts: [{ kind: "text", text: "twelve" }],
          metadata: { delegation_id: ID, delegation_status: "completed" },
        },
      },
    });
    expect(textOf(row.requestBody)).toBe("twelve");
  });

  it.each([
    [{ status: "failed", text: null, error: "out of sheep" }, "Delegation failed: out of sheep", "out of sheep"],
    [{ status: "failed", text: "eleven", error: "out of sheep" }, "eleven", "out of sheep"],
    [{ status: "cancelled", text: null, error: "cancelled by operator" }, "Delegation cancelled", "cancelled"],
    [
      { status: "stuck", text: null, error: "no heartbeat for 45s" },
      "Delegation stuck: no heartbeat for 45s",
      "no heartbeat for 45s",
    ],
    [{ status: "completed", text: null }, "", null],
  ] as const)("of %j reads %j with the error %j", (fields, words, errorDetail) => {
    const row = inboxRow({ ...news, ...fields });
    expect(textOf(row.requestBody)).toBe(words);
    expect(row.errorDetail).toBe(errorDetail);
  });

  it("tells clients of a cancellation as of a failure", () => {
    const row = inboxRow({ ...news, status: "cancelled", text: null, error: "why" });
    expect(row).toMatchObject({ status: "error", summary: "Delegation failed" });
    expect(JSON.parse(row.requestBody).params.message.metadata.delegation_status).toBe("failed");
  });

  it("keeps the callee's message as it was written, marked when late", () => {
    const envelope = ' {"id":12345678901234567890,"params":{"message":{"metadata":{"delegation_id":"a"},"parts":[]}}}';
    const row = inboxRow({ ...news, envelope, late: true });
    expect(row.requestBody).toContain("12345678901234567890");
    expect(JSON.parse(row.requestBody)).toMatchObject({
      delegation_id: ID,
      params: { message: { metadata: { delegation_id: ID, late: true } } },
    });
  });

  it("writes its own message where the callee's has no metadata", () => {
    expect(textOf(inboxRow({ ...news, envelope: "{}" }).requestBody)).toBe("twelve");
  });
});
