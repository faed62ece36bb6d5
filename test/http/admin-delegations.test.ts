import { env, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { writeLedger } from "../../src/ledgers/ledger-write.ts";
import type { LedgerRows } from "../../src/ledgers/rows.ts";
import { aPushAgent } from "../support/agent-server.ts";
import { act, aDelegation, complete, entryOf, entryWhen, record, taskAt } from "../support/delegations.ts";
import { aDatabase, aLane, away, back, laneDatabase, query } from "../support/ledger.ts";
import { type Agent, anAgent, call } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

// A ledger of this file's own, set before anything has read its configuration.
const url = await aDatabase();
env.DATABASE_URL = url;

const NOON_US = Date.UTC(2026, 10, 20, 12) * 1000;
const ALLOWED = ["in_flight", "stuck", "failed", "completed", "cancelled"];

afterEach(async () => {
  vi.useRealTimers();
  await back();
});

type Row = LedgerRows["delegations"];

function aRow(more: Partial<Row> = {}): Row {
  return {
    caller_id: crypto.randomUUID(),
    delegation_id: crypto.randomUUID(),
    callee_id: crypto.randomUUID(),
    task_preview: "count the sheep",
    status: "dispatched",
    deadline: NOON_US,
    retry_count: 0,
    created_at: NOON_US,
    updated_at: NOON_US,
    version: 1,
    ...more,
  };
}

function put(...rows: Row[]) {
  return writeLedger(laneDatabase(aLane(), { url }), { objectId: "test", epoch: 0, rows: { delegations: rows } });
}

function list(query: Record<string, string> = {}) {
  return call(`/admin/delegations?${new URLSearchParams(query)}`);
}

function order(id: string, action: "retry" | "cancel", json?: object, callerId?: string) {
  const path = `/admin/delegations/${encodeURIComponent(id)}/${action}`;
  const query = callerId === undefined ? "" : `?caller_id=${callerId}`;
  return call(path + query, { method: "POST", ...(json === undefined ? {} : { json }) });
}

function bulk(json: unknown) {
  return call("/admin/delegations/bulk", { json });
}

/** The ledger's row of a delegation once it is at this status. */
function ledgerWhen(id: string, status: string) {
  return until(`the ledger says ${status}`, async () => {
    const [row] = await query("SELECT * FROM delegations WHERE delegation_id = $1", [id], url);
    return row?.status === status && row;
  });
}

function auditOf(id: string) {
  return query("SELECT workspace_id, actor, action, reason FROM audit_log WHERE subject = $1", [id], url);
}

/** A delegation that its callee has failed, as the ledger knows it. */
async function aFailedOne(from?: Agent) {
  const [caller, callee] = [from ?? (await anAgent()), await anAgent()];
  const id = await aDelegation(caller, callee);
  await taskAt(callee, id);
  await act(callee, id, "update", { status: "failed", error: "out of sheep" });
  await ledgerWhen(id, "failed");
  return { caller, callee, id };
}

describe("the list", () => {
  it.each([
    [undefined, "in_flight", ["dispatched", "in_progress", "queued"]],
    ["in_flight", "in_flight", ["dispatched", "in_progress", "queued"]],
    ["stuck", "stuck", ["stuck"]],
    ["failed", "failed", ["failed"]],
    ["completed", "completed", ["completed"]],
    ["cancelled", "cancelled", ["cancelled"]],
  ])("filtered by %s shows %s", async (status, word, shown) => {
    const caller_id = crypto.randomUUID();
    const all = ["queued", "dispatched", "in_progress", "completed", "failed", "stuck", "cancelled"];
    await put(...all.map((one) => aRow({ caller_id, status: one })));
    const { body } = await list({ caller_id, ...(status === undefined ? {} : { status }) });
    expect(body.delegations.map((row: Row) => row.status).sort()).toEqual(shown);
    expect(body).toMatchObject({ count: shown.length, status: word, limit: 100, next_cursor: null });
  });

  it.each(["", "bogus", "queued", "IN_FLIGHT"])(
    "refuses the filter '%s' and names those that it knows",
    async (status) => {
      expect(await list({ status })).toMatchObject({
        status: 400,
        body: { error: "unknown status filter", allowed: ALLOWED, requested_status: status },
      });
    },
  );

  it.each(["-1", "0", "1001", "ten", "1.5", " ", "1e2"])("refuses the limit '%s'", async (limit) => {
    expect(await list({ limit })).toMatchObject({
      status: 400,
      body: { error: "limit must be 1..1000", requested: limit },
    });
  });

  it.each([
    ["", 100],
    ["1", 1],
    ["1000", 1000],
  ])("takes the limit '%s' for %i", async (limit, taken) => {
    expect((await list({ limit })).body).toMatchObject({ limit: taken });
  });

  it("shows a row with the contract's keys, absent ones left out", async () => {
    const bare = aRow({ created_at: NOON_US + 1_000 });
    const full = aRow({
      caller_id: bare.caller_id,
      status: "in_progress",
      last_heartbeat: NOON_US,
      result_preview: "so far",
      error_detail: "so what",
      delivery_confirmed: false,
    });
    await put(bare, full);
    const { body } = await list({ caller_id: bare.caller_id });
    const { caller_id, delegation_id, callee_id } = bare;
    const times = { deadline: "2026-11-20T12:00:00Z", updated_at: "2026-11-20T12:00:00Z" };
    expect(body.delegations[0]).toEqual({
      delegation_id,
      caller_id,
      callee_id,
      task_preview: "count the sheep",
      status: "dispatched",
      retry_count: 0,
      created_at: "2026-11-20T12:00:00.001Z",
      ...times,
    });
    expect(Object.keys(body.delegations[1])).toEqual([
      "delegation_id",
      "caller_id",
      "callee_id",
      "task_preview",
      "status",
      "last_heartbeat",
      "deadline",
      "result_preview",
      "error_detail",
      "retry_count",
      "created_at",
      "updated_at",
      "delivery_confirmed",
    ]);
  });

  it("goes on page by page, newest first, whatever characters the ids have", async () => {
    const caller_id = crypto.randomUUID();
    const rows = ["nächtlich", "a/b?c", "🐎"].map((delegation_id, n) =>
      aRow({ caller_id, delegation_id, created_at: NOON_US - n * 1_000_000 }),
    );
    await put(...rows);
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const { body } = await list({ caller_id, limit: "1", cursor });
      seen.push(...body.delegations.map((row: Row) => row.delegation_id));
      cursor = body.next_cursor;
    }
    expect(seen).toEqual(rows.map((row) => row.delegation_id));
  });

  it("finds by caller, callee and text", async () => {
    const row = aRow({ task_preview: `shear ${crypto.randomUUID()}` });
    await put(row, aRow());
    for (const filter of [{ callee_id: String(row.callee_id) }, { q: String(row.task_preview).toUpperCase() }]) {
      const { body } = await list(filter);
      expect(body.delegations).toMatchObject([{ delegation_id: row.delegation_id }]);
    }
    expect((await list({ callee_id: String(row.callee_id), caller_id: crypto.randomUUID() })).body.count).toBe(0);
  });

  it.each([
    ["caller_id", "x", "workspace.invalid_id"],
    ["callee_id", "x", "workspace.invalid_id"],
    ["q", "\u0000", "request.unstorable_text"],
    ["cursor", "x", "admin.invalid_cursor"],
    ["cursor", btoa("1.x.y"), "admin.invalid_cursor"],
    ["cursor", btoa(`${"9".repeat(17)}.${crypto.randomUUID()}.y`), "admin.invalid_cursor"],
    ["cursor", btoa(`1.${crypto.randomUUID()}.\u0000`), "admin.invalid_cursor"],
  ])("refuses %s=%j with a hint", async (name, value, code) => {
    expect(await list({ [name]: value })).toMatchObject({ status: 400, body: { code, hint: expect.any(String) } });
  });

  it("answers 503 while the ledger is away", async () => {
    await away();
    for (const path of ["/admin/delegations", "/admin/delegations/stats", "/metrics"]) {
      expect(await call(path)).toMatchObject({ status: 503, body: { code: "platform_unavailable" } });
    }
  });
});

describe("an operator's retry", () => {
  it("starts a failed one anew, and leaves who did it and why", async () => {
    const { caller, callee, id } = await aFailedOne();
    const { status, body } = await order(id, "retry", { reason: " more sheep came \n" });
    expect(status).toBe(202);
    expect(body).toEqual({
      delegation_id: id,
      caller_id: caller.id,
      status: "queued",
      attempt_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    await taskAt(callee, body.attempt_id);
    await complete(callee, body.attempt_id, "twelve");
    expect(await ledgerWhen(id, "completed")).toMatchObject({ retry_count: 1, result_preview: "twelve" });
    expect(await auditOf(id)).toEqual([
      { workspace_id: caller.id, actor: "canvas", action: "delegation.retry", reason: "more sheep came" },
    ]);
  });

  it("needs no body", async () => {
    const { id } = await aFailedOne();
    expect(await order(id, "retry")).toMatchObject({ status: 202 });
    await until("the audit row is there", async () => (await auditOf(id)).length === 1);
    expect(await auditOf(id)).toMatchObject([{ reason: null }]);
  });

  it("is refused while it is in flight or when it has its result, and changes nothing", async () => {
    const { id, callee } = await aFailedOne();
    const { body } = await order(id, "retry");
    expect(await order(id, "retry")).toMatchObject({ status: 409, body: { code: "delegation.in_flight" } });
    await taskAt(callee, body.attempt_id);
    await complete(callee, body.attempt_id, "twelve");
    await ledgerWhen(id, "completed");
    expect(await order(id, "retry", { force: true })).toMatchObject({
      status: 409,
      body: { code: "delegation.ended" },
    });
    expect(await auditOf(id)).toHaveLength(1);
  });

  it("of a cancelled one takes force where the callee has read the task, and none where it was taken back unread", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    const [read, unread] = [await aDelegation(caller, callee), await aDelegation(caller, callee, "later")];
    const { id: since_id } = await taskAt(callee, read);
    await taskAt(callee, unread);
    await call(`/workspaces/${callee.id}/activity?since_id=${since_id}`, { token: callee.token });
    for (const id of [read, unread]) {
      await until("it is with the callee", async () => (await entryOf(caller, id)).status === "dispatched");
      expect((await order(id, "cancel", {}, caller.id)).body).toMatchObject({ cancel_requested: true });
    }
    const again = await until("the unread one can be had again", async () => {
      const { status, body } = await order(unread, "retry", {}, caller.id);
      return status === 202 && body;
    });
    await taskAt(callee, again.attempt_id);
    expect(await order(read, "retry", {}, caller.id)).toMatchObject({
      status: 409,
      body: { code: "delegation.outcome_unknown" },
    });
  });

  it("of an old one whose key a newer one holds by now takes force", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    const keyed = () => aDelegation(caller, callee, "do it", { idempotency_key: "key" });
    const old = await keyed();
    await taskAt(callee, old);
    await act(callee, old, "update", { status: "failed", error: "no ink" });
    await entryWhen(caller, old, "failed");
    const holder = await keyed();
    expect(await order(old, "retry", {}, caller.id)).toMatchObject({
      status: 409,
      body: { code: "delegation.key_bound", holder },
    });
    expect(await order(old, "retry", { force: true }, caller.id)).toMatchObject({ status: 202 });
  });

  it("of one whose outcome nobody knows takes force", async () => {
    const [caller, callee] = [await anAgent(), await aPushAgent("script")];
    await callee.player.play("reset", "echo");
    const id = await aDelegation(caller, callee);
    const row = await until("the ledger knows that nobody knows", async () => {
      const [found] = await query("SELECT * FROM delegations WHERE delegation_id = $1", [id], url);
      return found?.delivery_confirmed === false && found;
    });
    const shown = await list({ caller_id: caller.id, status: row.status === "failed" ? "failed" : "in_flight" });
    expect(shown.body.delegations).toMatchObject([{ delivery_confirmed: false }]);
    expect(await order(id, "retry")).toMatchObject({ status: 409, body: { code: "delegation.outcome_unknown" } });
    expect(await callee.player.received()).toHaveLength(1);
    expect(await order(id, "retry", { force: true, reason: "nothing arrived" })).toMatchObject({ status: 202 });
    await entryWhen(caller, id, "completed");
    expect(await callee.player.received()).toHaveLength(2);
  });

  it.each([{ force: "yes" }, { reason: 7 }])("with %j is 400", async (json) => {
    const { id } = await aFailedOne();
    expect(await order(id, "retry", json)).toMatchObject({ status: 400, body: { code: "request.invalid" } });
  });
});

describe("an operator's cancel", () => {
  it("ends it for both sides, under its own name here, and leaves who did it and why", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await ledgerWhen(id, "dispatched");
    const { status, body } = await order(id, "cancel", { reason: "not needed" });
    expect([status, body]).toEqual([
      200,
      { delegation_id: id, caller_id: caller.id, status: "cancelled", cancel_requested: true },
    ]);
    expect(await ledgerWhen(id, "cancelled")).toMatchObject({ error_detail: "cancelled by canvas: not needed" });
    expect((await list({ status: "cancelled", caller_id: caller.id })).body.count).toBe(1);
    expect(await auditOf(id)).toMatchObject([{ action: "delegation.cancel", reason: "not needed" }]);
    for (const agent of [caller, callee]) {
      for (const path of ["activity?limit=500", "delegations"]) {
        const { text } = await call(`/workspaces/${agent.id}/${path}`, { token: agent.token });
        if (agent === caller) expect(text).toContain("cancelled");
        expect(text).not.toContain("not needed");
      }
    }
    expect(await order(id, "cancel")).toMatchObject({ status: 200 });
    expect(await auditOf(id)).toHaveLength(1);
  });

  it("is refused after the end", async () => {
    const { id } = await aFailedOne();
    expect(await order(id, "cancel")).toMatchObject({ status: 409, body: { code: "delegation.ended" } });
  });
});

describe("an id", () => {
  it("that two callers use is 409 with the candidates, unless the caller is named", async () => {
    const [one, other, callee] = [await anAgent(), await anAgent(), await anAgent()];
    const id = `nightly/${crypto.randomUUID()}`;
    await record(one, callee.id, id);
    await record(other, callee.id, id);
    await until("the ledger has both", async () => {
      const rows = await query("SELECT 1 FROM delegations WHERE delegation_id = $1", [id], url);
      return rows.length === 2;
    });
    const candidates = [one.id, other.id].sort();
    for (const action of ["retry", "cancel"] as const) {
      expect(await order(id, action)).toMatchObject({
        status: 409,
        body: { code: "delegation.ambiguous", delegation_id: id, candidates },
      });
    }
    expect(await order(id, "cancel", {}, other.id)).toMatchObject({ status: 200, body: { caller_id: other.id } });
    await until("one of them has ended", async () => (await list({ caller_id: other.id })).body.count === 0);
    expect((await list({ caller_id: one.id })).body.count).toBe(1);
  });

  it("that nobody uses, or not that caller, is 404 with a hint for operators", async () => {
    const { id } = await aFailedOne();
    const absent = {
      status: 404,
      body: { code: "delegation.not_found", hint: expect.stringContaining("?caller_id=") },
    };
    expect(await order(crypto.randomUUID(), "retry")).toMatchObject(absent);
    expect(await order(id, "retry", {}, (await anAgent()).id)).toMatchObject(absent);
    expect(await order(id, "retry", {}, crypto.randomUUID())).toMatchObject(absent);
  });

  it("of a named caller is found while the ledger is away", async () => {
    const { id, caller } = await aFailedOne();
    await away();
    expect(await order(id, "cancel")).toMatchObject({ status: 503 });
    expect(await order(id, "retry", {}, caller.id)).toMatchObject({ status: 202 });
  });

  it("that no database could hold is 400", async () => {
    expect(await order("x".repeat(129), "retry")).toMatchObject({ status: 400, body: { code: "request.id_too_long" } });
    expect(await order("\u0000", "retry")).toMatchObject({ status: 400 });
    expect(await order("x", "retry", {}, "not-a-uuid")).toMatchObject({ status: 400 });
  });
});

describe("a bulk order", () => {
  it("does nothing unless it is told that this is no rehearsal", async () => {
    const { caller, callee, id } = await aFailedOne();
    const filter = { status: "failed", caller_id: caller.id };
    for (const rehearsal of [{}, { dry_run: true }]) {
      const { body } = await bulk({ filter, action: "retry", ...rehearsal });
      expect(body).toEqual({
        action: "retry",
        dry_run: true,
        matched: 1,
        done: 0,
        refused: 0,
        unknown: 0,
        delegations: [{ delegation_id: id, caller_id: caller.id, callee_id: callee.id, status: "failed" }],
        next_cursor: null,
      });
    }
    expect(await auditOf(id)).toEqual([]);
  });

  it("is given to each that the filter finds; one that is refused stops nobody", async () => {
    const caller = await anAgent();
    const [one, other] = [await aFailedOne(caller), await aFailedOne(caller)];
    await order(one.id, "retry");
    // As if the ledger had not heard of the retry yet.
    await until("the retry has arrived", async () => {
      const [row] = await query("SELECT retry_count FROM delegations WHERE delegation_id = $1", [one.id], url);
      return row?.retry_count === 1;
    });
    await query(
      "UPDATE delegations SET status = 'failed', version = version + 1000 WHERE delegation_id = $1",
      [one.id],
      url,
    );
    const filter = { status: "failed", caller_id: caller.id };
    const { status, body } = await bulk({ filter, action: "retry", dry_run: false, reason: "storm is over" });
    expect(status).toBe(200);
    expect(body).toMatchObject({ dry_run: false, matched: 2, done: 1, refused: 1, unknown: 0 });
    const results = new Map(
      body.delegations.map((result: { delegation_id: string }) => [result.delegation_id, result]),
    );
    expect(results.get(one.id)).toMatchObject({ outcome: "refused", code: "delegation.in_flight" });
    expect(results.get(other.id)).toMatchObject({ outcome: "done", status: "failed", attempt_id: expect.any(String) });
    await until("the audit row is there", async () => (await auditOf(other.id)).length === 1);
    expect(await auditOf(other.id)).toMatchObject([{ action: "delegation.retry", reason: "storm is over" }]);
  });

  it("says of an object that breaks that nobody knows what became of it", async () => {
    const [broken, sound] = [await aFailedOne(), await aFailedOne()];
    await runInDurableObject(env.WORKSPACE.getByName(broken.caller.id), (_instance, { storage }) => {
      storage.sql.exec("DROP TABLE delegations");
    });
    const results = [];
    for (const { caller } of [broken, sound]) {
      const filter = { status: "failed", caller_id: caller.id };
      results.push((await bulk({ filter, action: "retry", dry_run: false })).body);
    }
    expect(results).toMatchObject([
      { done: 0, unknown: 1, delegations: [{ delegation_id: broken.id, outcome: "unknown" }] },
      { done: 1, unknown: 0 },
    ]);
  });

  it("cancels, as many at a time as it is told, and says where to go on", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    const ids = [await aDelegation(caller, callee), await aDelegation(caller, callee)];
    for (const id of ids) await ledgerWhen(id, "dispatched");
    const filter = { status: "in_flight", caller_id: caller.id, limit: 1 };
    const first = await bulk({ filter, action: "cancel", dry_run: false });
    expect(first.body).toMatchObject({
      matched: 1,
      done: 1,
      delegations: [{ outcome: "done", cancel_requested: true }],
    });
    const second = await bulk({
      filter: { ...filter, cursor: first.body.next_cursor },
      action: "cancel",
      dry_run: false,
    });
    expect(second.body).toMatchObject({ matched: 1, done: 1 });
    for (const id of ids) await ledgerWhen(id, "cancelled");
  });

  it.each([
    { how: "without a filter", json: {} },
    { how: "without a status", json: { filter: {}, action: "cancel" } },
    { how: "with a misspelt filter", json: { filter: { status: "in_flight", caller: "x" }, action: "cancel" } },
    { how: "with an empty caller", json: { filter: { status: "in_flight", caller_id: "" }, action: "cancel" } },
    { how: "over the limit", json: { filter: { status: "in_flight", limit: 501 }, action: "cancel" } },
    { how: "with another action", json: { filter: { status: "in_flight" }, action: "delete" } },
    { how: "with a loose dry_run", json: { filter: { status: "failed" }, action: "cancel", dry_run: "no" } },
    { how: "with an unknown status", json: { filter: { status: "bogus" }, action: "cancel" } },
    { how: "with a bad caller", json: { filter: { status: "failed", caller_id: "x" }, action: "cancel" } },
  ])("$how is 400", async ({ json }) => {
    expect(await bulk(json)).toMatchObject({ status: 400, body: { hint: expect.any(String) } });
  });
});

describe("the text of a result", () => {
  it.each([
    { order: "after the status", updates: [{}, { response_preview: "twelve" }] },
    { order: "before a replay without it", updates: [{ response_preview: "twelve" }, {}] },
  ])("that comes $order stands in the ledger", async ({ updates }) => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    for (const update of updates) await act(callee, id, "update", { status: "completed", ...update });
    await until(
      "the caller's object has heard all",
      async () => (await entryOf(caller, id))?.response_preview === "twelve",
    );
    await quiet(caller.id);
    expect(await ledgerWhen(id, "completed")).toMatchObject({ result_preview: "twelve" });
  });
});

describe("removing a workspace", () => {
  it("never deletes the history of its delegations", async () => {
    const { caller, callee, id } = await aFailedOne();
    const open = await aDelegation(caller, callee);
    await ledgerWhen(open, "dispatched");
    for (const agent of [callee, caller]) await call(`/workspaces/${agent.id}`, { method: "DELETE" });
    await until("the open one has ended", async () => {
      const [row] = await query("SELECT ended_at FROM delegations WHERE delegation_id = $1", [open], url);
      return row?.ended_at;
    });
    expect(await ledgerWhen(id, "failed")).toMatchObject({ error_detail: "out of sheep" });
    const rows = await query("SELECT 1 FROM delegations WHERE caller_id = $1", [caller.id], url);
    expect(rows).toHaveLength(2);
  });
});
