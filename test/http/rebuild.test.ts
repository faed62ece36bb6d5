import { env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { describe, expect, it, onTestFinished } from "vitest";
import { EPOCH_SPAN } from "../../src/durable-objects/shared/flush.ts";
import { raiseEpoch, writeLedger } from "../../src/ledgers/ledger-write.ts";
import { aPushAgent } from "../support/agent-server.ts";
import { act, aDelegation, answer, complete, entryOf, entryWhen, resultsOf, rowsOf } from "../support/delegations.ts";
import { aLane, away, back, laneDatabase, query } from "../support/ledger.ts";
import { aMachine, callsOf, listed, machines, registered, statusBecomes } from "../support/machines.ts";
import { ack, aForm, read, stage, stageOne } from "../support/parcel-post.ts";
import { type Agent, type Answer, aMessage, anAgent, call, poll, tell } from "../support/platform.ts";
import { itemOf } from "../support/queue-item.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

const objectOf = (id: string) => env.WORKSPACE.getByName(id);

/** The object's storage is gone, as if it had never been, and its memory with it. */
async function lose({ id }: Agent): Promise<void> {
  await runInDurableObject(objectOf(id), async (_instance, state) => {
    await state.storage.deleteAlarm();
    await state.storage.deleteAll();
    await state.storage.sync();
    state.abort("lost");
  }).catch(() => undefined);
}

function rebuild({ id }: Agent, json: object = {}): Promise<Answer> {
  return call(`/admin/workspaces/${id}/rebuild`, { json });
}

/** The same agent with the token that the rebuild minted. */
function reconnected(agent: Agent, { status, body, text }: Answer): Agent {
  if (status !== 200) throw new Error(`rebuild answered ${status}: ${text}`);
  return { id: agent.id, token: body.connection.auth_token };
}

function tables({ id }: Agent): Promise<number> {
  return runInDurableObject(
    objectOf(id),
    (_instance, { storage: { sql } }) =>
      sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray().length,
  );
}

// biome-ignore lint/suspicious/noExplicitAny: rows have many shapes
const ids = ({ body }: Answer) => body.map((row: any) => row.id);

describe("a workspace whose object lost its storage", () => {
  it("is nobody and stores nothing until it is rebuilt", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    await lose(agent);
    expect((await poll(agent)).status).toBe(401);
    expect((await tell(agent, "is anybody there?")).status).toBe(404);
    expect(await tables(agent)).toBe(0);
  });

  it("has its mail again, in order and under the same ids, and a cursor of before goes on", async () => {
    const agent = await anAgent();
    for (const text of ["one", "two", "three"]) await tell(agent, text);
    const before = await poll(agent);
    const [first] = ids(await poll(agent, { since_id: "" })).toReversed();
    await quiet(agent.id);
    await lose(agent);
    const answer = await rebuild(agent, { reason: "the disk burnt" });
    expect(answer.body).toMatchObject({ workspace_id: agent.id, epoch: 1, from: "ledger", restored: { activity: 3 } });
    const again = reconnected(agent, answer);
    expect((await poll(agent)).status).toBe(401);
    expect((await poll(again)).text).toBe(before.text);
    const after = await poll(again, { since_id: first });
    expect(ids(after)).toEqual(ids(before).toReversed().slice(1));
    expect((await tell(again, "four")).status).toBe(200);
    const [newest] = (await poll(again)).body;
    expect(newest.seq).toBeGreaterThan(EPOCH_SPAN);
    expect(ids(await poll(again, { since_id: after.body.at(-1).id }))).toEqual([newest.id]);
  });

  it("recognises a message that comes again, and keeps hidden what was hidden", async () => {
    const agent = await anAgent();
    const { uri } = await stageOne(agent);
    await call(`/workspaces/${agent.id}/notify`, {
      token: agent.token,
      json: { message: "here", attachments: [{ uri, name: "a file" }] },
    });
    const json = aMessage("once", "the same id");
    await call(`/workspaces/${agent.id}/a2a`, { json });
    const before = await poll(agent);
    await quiet(agent.id);
    await lose(agent);
    const again = reconnected(agent, await rebuild(agent));
    expect((await call(`/workspaces/${agent.id}/a2a`, { json })).status).toBe(200);
    expect((await poll(again)).text).toBe(before.text);
  });

  it("ends its open delegations as usual, and those that others gave it", async () => {
    const boss = await anAgent();
    const agent = await anAgent();
    const helper = await anAgent();
    const given = await aDelegation(boss, agent, "mow the lawn");
    const passedOn = await aDelegation(agent, helper, "sharpen the blades");
    await entryWhen(boss, given, "dispatched");
    await entryWhen(agent, passedOn, "dispatched");
    await Promise.all([quiet(boss.id), quiet(agent.id)]);
    await lose(agent);
    const answered = await rebuild(agent);
    expect(answered.body.restored).toMatchObject({ delegations: 1, received: 1 });
    const again = reconnected(agent, answered);
    expect(await entryOf(again, passedOn)).toMatchObject({ status: "dispatched", summary: "sharpen the blades" });
    expect((await answer(helper, again, passedOn, "they are sharp")).status).toBe(200);
    expect(await entryWhen(again, passedOn, "completed")).toMatchObject({ response_preview: "they are sharp" });
    expect(await resultsOf(again)).toHaveLength(1);
    expect((await complete(again, given, "it is mown")).status).toBe(200);
    expect(await entryWhen(boss, given, "completed")).toMatchObject({ response_preview: "it is mown" });
  });

  it("gives a task that is still queued to its callee in full, and a retried one under its attempt", async () => {
    const agent = await anAgent();
    const helper = await anAgent();
    const task = `count ${"sheep ".repeat(2_000)}`;
    const id = await aDelegation(agent, helper, task);
    await entryWhen(agent, id, "dispatched");
    await act(agent, id, "cancel");
    const retried = await call(`/admin/delegations/${id}/retry?caller_id=${agent.id}`, { json: { force: true } });
    const attemptId = retried.body.attempt_id;
    await entryWhen(agent, id, "dispatched");
    await quiet(agent.id);
    await query("UPDATE delegations SET status = 'queued' WHERE caller_id = $1", [agent.id]);
    await lose(agent);
    const again = reconnected(agent, await rebuild(agent));
    await entryWhen(again, id, "dispatched");
    const stored = await runInDurableObject(objectOf(agent.id), (_instance, { storage: { sql } }) =>
      sql
        .exec<{ task: string; attempts: number; slots: string }>("SELECT task, attempts, slots FROM delegations")
        .one(),
    );
    expect(stored).toMatchObject({ task, attempts: 2 });
    expect(JSON.parse(stored.slots)).toHaveProperty([attemptId, "sent"]);
    expect((await rowsOf(helper, { method: "message/send" })).map((row) => row.request_body.id)).toEqual([attemptId]);
    expect((await answer(helper, again, attemptId, "many")).status).toBe(200);
    expect(await entryWhen(again, id, "completed")).toMatchObject({ retry_count: 1 });
  });

  it("has the task of a delegation again that was too large for a row", async () => {
    const agent = await anAgent();
    const helper = await anAgent();
    const task = "x".repeat(600 * 1024);
    const id = await aDelegation(agent, helper, task);
    await entryWhen(agent, id, "dispatched");
    await quiet(agent.id);
    await lose(agent);
    const again = reconnected(agent, await rebuild(agent));
    expect(await entryOf(again, id)).toMatchObject({ status: "dispatched", delivery_confirmed: false });
    const { length } = await runInDurableObject(objectOf(agent.id), (_instance, { storage: { sql } }) =>
      sql.exec<{ length: number }>("SELECT length(task) AS length FROM delegations").one(),
    );
    expect(length).toBe(task.length);
  });

  it("has its files again, staged and acked, each for whom it was", async () => {
    const agent = await anAgent();
    const [acked, staged] = await stage(agent, aForm(["a.txt", "alpha"], ["b.txt", "beta"]));
    if (!acked || !staged) throw new Error("two files");
    await read(acked, agent.token);
    await ack(acked, agent.token);
    await quiet(agent.id);
    await lose(agent);
    const answered = await rebuild(agent);
    expect(answered.body.restored.files).toBe(2);
    const again = reconnected(agent, answered);
    expect((await read(staged, again.token)).text).toBe("beta");
    expect((await ack(staged, again.token)).body).toEqual({ acked: true });
    expect((await read(acked, again.token)).status).toBe(404);
    expect((await read(acked)).text).toBe("alpha");
  });

  it("says of requests that waited for its agent that they are lost, and of one on its way that it is unknown", async () => {
    const agent = await aPushAgent("script");
    await agent.player.play("status/503", "status/503");
    const items = [(await tell(agent, "do it")).body.queue_id, (await tell(agent, "and this")).body.queue_id];
    await until("the ledger has them", async () => {
      const rows = await query("SELECT id FROM a2a_queue WHERE workspace_id = $1", [agent.id]);
      return rows.length === 2;
    });
    await query("UPDATE a2a_queue SET status = 'dispatched' WHERE id = $1", [items[0]]);
    await quiet(agent.id);
    await lose(agent);
    const again = reconnected(agent, await rebuild(agent));
    const [unknown, lost] = await Promise.all(items.map(async (id) => (await itemOf(again, id)).body));
    expect(unknown).toMatchObject({ status: "failed", last_error: expect.stringContaining("unknown") });
    expect(lost).toMatchObject({ status: "dropped", last_error: expect.stringContaining("lost") });
    await quiet(agent.id);
    const open = await query("SELECT id FROM a2a_queue WHERE workspace_id = $1 AND completed_at IS NULL", [agent.id]);
    expect(open).toEqual([]);
  });

  it("has rows again whose ledger does not say yet what a rebuild asks, and leaves a file that it cannot find", async () => {
    const agent = await anAgent();
    await tell(agent, "mail");
    await call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "its own" } });
    await stageOne(agent);
    await quiet(agent.id);
    const own = "own = NULL, hidden = NULL, message_digest = NULL, status = NULL";
    await query(`UPDATE activity_logs SET ${own} WHERE workspace_id = $1`, [agent.id]);
    await query("UPDATE pending_uploads SET body_offset = NULL WHERE workspace_id = $1", [agent.id]);
    await lose(agent);
    const answered = await rebuild(agent);
    expect(answered.body.restored).toMatchObject({ activity: 3, files: 0 });
    const { body } = await poll(reconnected(agent, answered), { direction: "in" });
    expect(body.map(({ method }: { method: string }) => method)).toEqual(["chat_upload_receive", "message/send"]);
  });

  it("is awaited on the board, with all that it was known by, until its agent comes again", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    const view = async () => (await call(`/workspaces/${agent.id}`)).body;
    const { name, role, runtime } = await view();
    expect((await view()).status).toBe("online");
    await lose(agent);
    const again = reconnected(agent, await rebuild(agent));
    await until("the board shows it", async () => (await view()).status === "awaiting_agent");
    expect(await view()).toMatchObject({ name, role, runtime });
    await call("/registry/heartbeat", { token: again.token, json: { workspace_id: agent.id } });
    await until("it is online", async () => (await view()).status === "online");
  });

  it("is told as an event, in the audit trail, and shows its old tokens as revoked", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    await lose(agent);
    await rebuild(agent, { reason: "a fire" });
    await quiet(agent.id);
    const { body: events } = await call(`/events/${agent.id}`);
    const rebuilt = events.find(({ event_type }: { event_type: string }) => event_type === "WORKSPACE_REBUILT");
    expect(rebuilt.payload).toMatchObject({ epoch: 1, from: "ledger", activity: 0, delegations: 0, files: 0 });
    const audited = await query("SELECT actor, reason, subject FROM audit_log WHERE workspace_id = $1", [agent.id]);
    expect(audited).toEqual([{ actor: "canvas", reason: "a fire", subject: agent.id }]);
    const tokens = await query("SELECT revoked_at FROM workspace_tokens WHERE workspace_id = $1", [agent.id]);
    expect(tokens.filter(({ revoked_at }) => revoked_at === null)).toHaveLength(1);
    expect(tokens).toHaveLength(2);
  });

  it("may be rebuilt again, and nothing of an epoch before is taken any more", async () => {
    const agent = await anAgent();
    await tell(agent, "keep me");
    await quiet(agent.id);
    await lose(agent);
    const first = reconnected(agent, await rebuild(agent));
    await tell(agent, "and me");
    const before = await poll(first);
    await quiet(agent.id);
    await lose(agent);
    const answered = await rebuild(agent);
    expect(answered.body).toMatchObject({ epoch: 2, restored: { activity: 2 } });
    const second = reconnected(agent, answered);
    expect((await poll(first)).status).toBe(401);
    expect((await poll(second)).text).toBe(before.text);
    for (const epoch of [0, 1]) {
      const batch = { objectId: agent.id, epoch, rows: {} };
      expect(await writeLedger(laneDatabase(aLane()), batch)).toMatchObject({ accepted: false, reason: "superseded" });
    }
  });
});

describe("a rebuild", () => {
  it("leaves a healthy object alone unless it is forced, and tells in a rehearsal what would come back", async () => {
    const agent = await anAgent();
    await tell(agent, "still here");
    await quiet(agent.id);
    expect(await rebuild(agent)).toMatchObject({ status: 409, body: { code: "rebuild.alive" } });
    const rehearsed = await rebuild(agent, { dry_run: true });
    expect(rehearsed.body).toMatchObject({
      dry_run: true,
      object: { state: "alive", epoch: 0, unflushed: 0, bookmarks: [] },
      would_restore: { activity: 1, delegations: 0, received: 0, files: 0 },
    });
    expect((await poll(agent)).body).toHaveLength(1);
    const again = reconnected(agent, await rebuild(agent, { force: true }));
    expect((await poll(agent)).status).toBe(401);
    expect((await poll(again)).body).toHaveLength(1);
  });

  it("that was broken off leaves nobody, and the same call again ends it", async () => {
    const agent = await anAgent();
    await tell(agent, "keep me");
    await quiet(agent.id);
    await lose(agent);
    const directory = env.DIRECTORY.getByName("default");
    const raised = await directory.raiseEpoch({ id: agent.id });
    if (!raised.outcome.ok) throw new Error("no epoch");
    const seed = raised.outcome.value;
    await objectOf(agent.id).beginRebuild({ seed, inboundSecret: "secret" });
    await evictDurableObject(objectOf(agent.id));
    expect((await tell(agent, "anybody?")).status).toBe(404);
    expect((await rebuild(agent, { dry_run: true })).body.object).toMatchObject({ state: "unfinished", epoch: 1 });
    const answered = await rebuild(agent);
    expect(answered.body.epoch).toBe(2);
    expect((await poll(reconnected(agent, answered))).body).toHaveLength(1);
    const late = await objectOf(agent.id).takeRebuild({ epoch: seed.epoch, part: {} });
    expect(late.outcome).toMatchObject({ ok: false, code: "rebuild.superseded" });
    const again = await objectOf(agent.id).beginRebuild({ seed, inboundSecret: "secret" });
    expect(again.outcome).toMatchObject({ ok: false, code: "rebuild.superseded" });
    const cleared = await objectOf(agent.id).clearForRebuild({ epoch: seed.epoch });
    expect(cleared.outcome).toMatchObject({ ok: false, code: "rebuild.superseded" });
  });

  it("waits for Postgres and touches nothing without it", async () => {
    const agent = await anAgent();
    await tell(agent, "keep me");
    await quiet(agent.id);
    await away();
    onTestFinished(() => back());
    expect(await rebuild(agent, { force: true })).toMatchObject({
      status: 503,
      body: { code: "platform_unavailable" },
    });
    expect((await poll(agent)).body).toHaveLength(1);
    await back();
    expect((await rebuild(agent, { force: true })).status).toBe(200);
  });

  it("refuses ids of another key, whom nobody knows, and who was removed", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    await query("UPDATE workspace_tokens SET id = gen_random_uuid() WHERE workspace_id = $1", [agent.id]);
    await lose(agent);
    expect(await rebuild(agent)).toMatchObject({ status: 409, body: { code: "rebuild.foreign_ids" } });
    expect((await call(`/admin/workspaces/${crypto.randomUUID()}/rebuild`, { json: {} })).status).toBe(404);
    const removed = await anAgent();
    await call(`/workspaces/${removed.id}`, { method: "DELETE" });
    expect((await rebuild(removed)).status).toBe(410);
    expect((await rebuild(agent, { from: "nowhere" })).status).toBe(400);
  });

  it("goes above the epoch that Postgres knows, whatever the directory says", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    await raiseEpoch(laneDatabase(aLane()), agent.id, 5);
    await lose(agent);
    const answered = await rebuild(agent);
    expect(answered.body.epoch).toBe(6);
    await tell(reconnected(agent, answered), "heard");
    await quiet(agent.id);
  });

  it("is for operators", async () => {
    const agent = await anAgent();
    const path = `/admin/workspaces/${agent.id}/rebuild`;
    expect((await call(path, { json: {}, token: agent.token })).status).toBe(401);
  });

  it("stops the machine of a workspace that the platform runs, and a restart gives it another", async () => {
    const id = await aMachine();
    await registered(id);
    await quiet(id);
    await lose({ id, token: "" });
    const { body } = await rebuild({ id, token: "" });
    expect(body).toMatchObject({ epoch: 1, hint: expect.stringContaining("/restart") });
    expect(body.connection).toBeUndefined();
    await until("the forgotten machine is stopped", async () => callsOf(id).includes("stop"));
    expect((await call(`/workspaces/${id}/restart`, { method: "POST" })).status).toBe(200);
    await statusBecomes(id, "provisioning");
  });

  it("lets the next machine find the platform, also where nobody asks for it by a request", async () => {
    const id = await aMachine();
    await registered(id);
    await quiet(id);
    await lose({ id, token: "" });
    expect((await rebuild({ id, token: "" })).status).toBe(200);
    await call(`/workspaces/${id}/secrets`, { method: "PUT", json: { key: "NEW", value: "1" } });
    const starts = () => machines.callsFor(id).filter(({ verb }) => verb === "start");
    await until("it is started anew", async () => starts().length === 2);
    expect(starts()[1]?.order).toMatchObject({ platformUrl: "http://posthouse.test", env: { NEW: "1" } });
  });

  it("keeps saying why a workspace failed", async () => {
    const { body } = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "codex" } });
    machines.play(body.id, "start", "refuse");
    await statusBecomes(body.id, "failed");
    await quiet(body.id);
    await lose({ id: body.id, token: "" });
    expect((await rebuild({ id: body.id, token: "" })).status).toBe(200);
    await quiet(body.id);
    expect(await listed(body.id)).toMatchObject({ status: "failed", last_sample_error: "provisioning failed" });
  });
});

describe("point-in-time recovery", () => {
  it("wants a moment or a bookmark, and is refused where the runtime keeps no history", async () => {
    const agent = await anAgent();
    await tell(agent, "still here");
    const order = { from: "bookmark", force: true };
    expect((await rebuild(agent, order)).status).toBe(400);
    expect((await rebuild(agent, { ...order, bookmark: "not one of its own" })).status).toBe(400);
    const refused = await rebuild(agent, { ...order, at: new Date().toISOString() });
    expect(refused).toMatchObject({ status: 501, body: { code: "rebuild.no_bookmark" } });
    expect((await poll(agent)).body).toHaveLength(1);
  });

  it("lets the object go on under its new epoch, without the tokens and the calls of that time", async () => {
    const agent = await anAgent();
    await tell(agent, "keep me");
    await quiet(agent.id);
    const raised = await env.DIRECTORY.getByName("default").raiseEpoch({ id: agent.id });
    if (!raised.outcome.ok) throw new Error("no epoch");
    const seed = raised.outcome.value;
    const counts = { activity: 0, delegations: 0, files: 0 };
    const facts = { epoch: seed.epoch, actor: "admin", reason: null, from: "bookmark" as const, counts };
    const order = { ...facts, minted: { digest: "digest", prefix: "prefix" } };
    await runInDurableObject(objectOf(agent.id), (_instance, { storage: { sql } }) => {
      sql.exec(
        `INSERT INTO calls (seq, call_id, url, method, native_session, message_digest, created_at, hand_over_at, body)
         VALUES (99, 'call', 'http://agent.test', 'message/send', 0, '', 0, 9e15, '{}')`,
      );
    });
    await objectOf(agent.id).expectRestore();
    const tooEarly = await objectOf(agent.id).adoptRestored({ seed, order });
    expect(tooEarly.outcome).toMatchObject({ ok: false, code: "rebuild.not_restored" });
    expect((await poll(agent)).status).toBe(200);
    expect((await objectOf(agent.id).adoptRestored({ seed, order })).outcome.ok).toBe(true);
    expect((await poll(agent)).status).toBe(401);
    const rows = await runInDurableObject(objectOf(agent.id), (_instance, { storage: { sql } }) => ({
      calls: sql.exec("SELECT * FROM calls").toArray(),
      lost: sql
        .exec<{ seq: number; status: string }>("SELECT seq, status FROM activity ORDER BY seq DESC LIMIT 1")
        .one(),
    }));
    expect(rows.calls).toEqual([]);
    expect(rows.lost.status).toBe("error");
    expect(rows.lost.seq).toBeGreaterThan(EPOCH_SPAN);
    const twice = await objectOf(agent.id).adoptRestored({ seed, order });
    expect(twice.outcome).toMatchObject({ ok: false, code: "rebuild.superseded" });
  });
});
