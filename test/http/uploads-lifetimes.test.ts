import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { aBucket, randomBytes } from "../storage/blobs.ts";
import { aWorkspace, remove } from "../support/client-tree.ts";
import { query } from "../support/ledger.ts";
import {
  ack,
  aForm,
  aFormOf,
  halfSent,
  heldBy,
  keysOf,
  read,
  stage,
  stageOne,
  wait,
  waitForAlarm,
} from "../support/parcel-post.ts";
import { type Agent, anAgent, call, poll } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const RETENTION_MS = 168 * HOUR_MS;

afterEach(() => {
  vi.useRealTimers();
});

/** The rows that tell a sender of files nobody fetched. */
async function expiriesOf(agent: Agent) {
  return (await call(`/workspaces/${agent.id}/activity?type=error`)).body;
}

describe("a file that nobody fetches", () => {
  it("lives 24 hours to the second; then it is gone for everybody and its sender is told once", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent, "alpha", "my report.txt");
    wait(DAY_MS - MINUTE_MS);
    expect((await read(parcel)).status).toBe(200);
    expect(await expiriesOf(agent)).toEqual([]);
    await waitForAlarm(agent, 2 * MINUTE_MS);
    for (const token of [undefined, agent.token]) expect((await read(parcel, token)).status).toBe(404);
    const [told, ...more] = await expiriesOf(agent);
    expect(more).toEqual([]);
    expect(told).toMatchObject({
      method: "upload_expired",
      status: "error",
      source_id: null,
      summary: "upload expired before the agent fetched it: my_report.txt",
      request_body: { file_id: parcel.id, name: "my_report.txt", size: 5 },
    });
    expect(told.error_detail).not.toBeNull();
    await waitForAlarm(agent, HOUR_MS);
    expect(await expiriesOf(agent)).toHaveLength(1);
  });

  it("is told of beside the inbox: no poller takes it for a message, and an event says it to listeners", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    await waitForAlarm(agent, DAY_MS + MINUTE_MS);
    expect((await poll(agent)).body).toMatchObject([{ method: "chat_upload_receive" }]);
    expect((await poll(agent, { type: "error", direction: "in" })).body).toEqual([]);
    await quiet(agent.id);
    const { body: events } = await call(`/events/${agent.id}`);
    const expired = events.filter(({ event_type }: { event_type: string }) => event_type === "UPLOAD_EXPIRED");
    expect(expired).toMatchObject([{ payload: { file_id: parcel.id, name: "alpha.txt", size: 5 } }]);
  });

  it("is told of also when as many expire at once as a request may have", async () => {
    const agent = await anAgent();
    const parcels = await stage(agent, aFormOf(64));
    await waitForAlarm(agent, DAY_MS + MINUTE_MS);
    await waitForAlarm(agent, MINUTE_MS);
    const told = (await expiriesOf(agent)).map(
      (row: { request_body: { file_id: string } }) => row.request_body.file_id,
    );
    expect(told.toSorted()).toEqual(parcels.map(({ id }) => id).toSorted());
  });

  it("is fetched by a user's look without being fetched for its agent: the sender is still told", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    expect((await read(parcel)).status).toBe(200);
    await waitForAlarm(agent, DAY_MS + MINUTE_MS);
    expect(await expiriesOf(agent)).toHaveLength(1);
  });

  it("is not fetched by a HEAD of its agent: the sender is still told", async () => {
    const agent = await anAgent();
    const { content } = await stageOne(agent);
    expect((await call(content, { method: "HEAD", token: agent.token })).status).toBe(200);
    await waitForAlarm(agent, DAY_MS + MINUTE_MS);
    expect(await expiriesOf(agent)).toHaveLength(1);
  });

  it("is not saved by a notify that comes when its time is over and its alarm late: the sender is told", async () => {
    const agent = await anAgent();
    const { uri } = await stageOne(agent);
    wait(DAY_MS + MINUTE_MS);
    const json = { message: "here", attachments: [{ uri, name: "alpha.txt" }] };
    expect((await call(`/workspaces/${agent.id}/notify`, { json, token: agent.token })).status).toBe(200);
    await waitForAlarm(agent, MINUTE_MS);
    expect(await expiriesOf(agent)).toHaveLength(1);
  });

  it("is told of to live listeners also when the ledger had the row before them", async () => {
    const agents = await Promise.all(Array.from({ length: 5 }, () => anAgent()));
    await Promise.all(agents.map((agent) => stageOne(agent)));
    wait(DAY_MS + MINUTE_MS);
    for (const { id } of agents) {
      const workspace = env.WORKSPACE.getByName(id);
      await runDurableObjectAlarm(workspace);
      await until("the hub has heard of every event", () =>
        runInDurableObject(workspace, (_instance, { storage: { sql } }) => {
          const { through } = sql.exec<{ through: number }>("SELECT hub_through AS through FROM workspace").one();
          const { last } = sql
            .exec<{ last: number }>(
              "SELECT max((SELECT max(seq) FROM activity WHERE event IS NOT NULL), (SELECT coalesce(max(seq), 0) FROM events)) AS last",
            )
            .one();
          return through >= last;
        }),
      );
    }
  });
});

describe("a file that its agent fetched", () => {
  it("lives an hour after the last fetch even beyond its day, and expires without a word", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    wait(DAY_MS - 10 * MINUTE_MS);
    expect((await read(parcel, agent.token)).status).toBe(200);
    wait(50 * MINUTE_MS);
    expect((await read(parcel, agent.token)).status).toBe(200);
    wait(59 * MINUTE_MS);
    expect((await read(parcel)).status).toBe(200);
    await waitForAlarm(agent, 2 * MINUTE_MS);
    for (const token of [undefined, agent.token]) expect((await read(parcel, token)).status).toBe(404);
    expect(await expiriesOf(agent)).toEqual([]);
  });

  it("loses nothing of its day by an early fetch", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    await read(parcel, agent.token);
    wait(DAY_MS - MINUTE_MS);
    expect((await read(parcel, agent.token)).status).toBe(200);
  });
});

describe("the bytes in the bucket", () => {
  it("go 15 minutes after an expiry, not before, and the ledger says when", async () => {
    const agent = await anAgent();
    await stage(agent, aFormOf(3));
    await waitForAlarm(agent, DAY_MS + MINUTE_MS);
    expect(await keysOf(agent)).toHaveLength(1);
    await waitForAlarm(agent, 14 * MINUTE_MS);
    expect(await keysOf(agent)).toHaveLength(1);
    await waitForAlarm(agent, 2 * MINUTE_MS);
    expect(await keysOf(agent)).toEqual([]);
    await quiet(agent.id);
    const ledger = await query(
      "SELECT state, swept_at IS NOT NULL AS swept FROM pending_uploads WHERE workspace_id = $1",
      [agent.id],
    );
    expect(ledger).toEqual(Array(3).fill({ state: "expired", swept: true }));
  });

  it("of an acked file stay 168 hours for the chat, and then it is gone for everybody", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    await ack(parcel, agent.token);
    await waitForAlarm(agent, RETENTION_MS - MINUTE_MS);
    expect((await read(parcel)).text).toBe("alpha");
    await waitForAlarm(agent, 2 * MINUTE_MS);
    expect(await keysOf(agent)).toEqual([]);
    for (const token of [undefined, agent.token]) {
      expect(await read(parcel, token)).toMatchObject({ status: 404, body: { code: "upload.not_found" } });
    }
  });

  it("of one request go together, when the last of its files has ended", async () => {
    const agent = await anAgent();
    const [expiring, acked] = await stage(agent, aForm(["a.txt", "a"], ["b.txt", "b"]));
    if (!expiring || !acked) throw new Error("two files");
    await ack(acked, agent.token);
    await waitForAlarm(agent, DAY_MS + HOUR_MS);
    expect((await read(expiring)).status).toBe(404);
    expect((await read(acked)).text).toBe("b");
    await waitForAlarm(agent, RETENTION_MS);
    expect(await keysOf(agent)).toEqual([]);
  });

  it("stay while the bucket is away, and go when it is back; the failure is counted", async () => {
    const agent = await anAgent();
    await stageOne(agent);
    const remover = vi.spyOn(Object.getPrototypeOf(aBucket()), "delete").mockRejectedValue(new Error("away"));
    await waitForAlarm(agent, DAY_MS + HOUR_MS);
    await waitForAlarm(agent, HOUR_MS);
    remover.mockRestore();
    expect(await keysOf(agent)).toHaveLength(1);
    await waitForAlarm(agent, MINUTE_MS);
    expect(await keysOf(agent)).toEqual([]);
    const counters = await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage: { sql } }) =>
      sql.exec<{ counters: string }>("SELECT counters FROM workspace").one(),
    );
    expect(JSON.parse(counters.counters)).toEqual({ upload_sweep_error: 1 });
  });

  it("of a removed workspace go as of any other", async () => {
    const agent = await aWorkspace({ delivery_mode: "poll" });
    await stageOne(agent);
    await remove(agent);
    await waitForAlarm(agent, DAY_MS + MINUTE_MS);
    await waitForAlarm(agent, HOUR_MS);
    expect(await keysOf(agent)).toEqual([]);
  });
});

describe("an upload that stops in the middle and never ends", () => {
  it("loses the bytes that it left in the bucket as soon as nobody may commit them", async () => {
    const agent = await anAgent();
    const uploadId = crypto.randomUUID();
    await env.WORKSPACE.getByName(agent.id).openUpload({ access: { kind: "admin" }, uploadId });
    await aBucket().put(`${agent.id}/${uploadId}`, "a whole body whose Worker died before the commit");
    await waitForAlarm(agent, 6 * MINUTE_MS);
    expect(await keysOf(agent)).toEqual([]);
  });

  it("can be committed no more after five minutes, and leaves nothing", async () => {
    const agent = await anAgent();
    const { answer, sendRest } = await halfSent(agent, randomBytes(200_000));
    await waitForAlarm(agent, 6 * MINUTE_MS);
    await sendRest();
    expect(await answer).toMatchObject({ status: 500, body: { error: "could not stage files" } });
    expect(await heldBy(agent)).toMatchObject({ files: 0, uploads: 0, rows: 0 });
    await until("its bytes are gone", async () => (await keysOf(agent)).length === 0);
  });

  it("has its key deleted once more a day later, whatever arrived there behind it", async () => {
    const agent = await anAgent();
    const { answer, leave } = await halfSent(agent, randomBytes(200_000));
    await leave();
    await answer;
    const [{ upload_id } = { upload_id: "" }] = await until("the intent is dead", () =>
      runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage: { sql } }) => {
        const dead = sql.exec<{ upload_id: string }>("SELECT upload_id FROM uploads WHERE state = 'dead'").toArray();
        return dead.length > 0 && dead;
      }),
    );
    await aBucket().put(`${agent.id}/${upload_id}`, "late bytes");
    await waitForAlarm(agent, DAY_MS + MINUTE_MS);
    expect(await keysOf(agent)).toEqual([]);
  });
});
