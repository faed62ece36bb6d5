import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { costsOf, totalRows } from "./support/counting.ts";
import { aDelegation, answer, entryOf } from "./support/delegations.ts";
import { away, back, statements } from "./support/ledger.ts";
import { aFormOf, upload } from "./support/parcel-post.ts";
import { anAgent, call, poll, tell } from "./support/platform.ts";
import { quiet } from "./support/quiet.ts";
import { until } from "./support/until.ts";

/** Statements that some work causes, on the path and by the flush after it. */
async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  const before = await statements();
  await work();
  return (await statements()) - before;
}

describe("what the hot paths cost, counted", () => {
  it("an empty poll is one object request, no row and no statement", async () => {
    const agent = await anAgent();
    await poll(agent);
    await quiet(agent.id);
    let spent = 0;
    const costs = await costsOf(async () => {
      spent = await statementsOf(() => poll(agent));
    });
    expect(costs.objectRequests).toEqual(["listActivity"]);
    expect(totalRows(costs)).toBe(0);
    expect(spent).toBe(0);
    expect(costs.r2).toEqual({ a: 0, b: 0 });
  });

  it("a poll that returns rows and acks the previous ones is one object request and at most one row", async () => {
    const agent = await anAgent();
    for (const text of ["one", "two", "three"]) await tell(agent, text);
    const { body: rows } = await poll(agent, { from: "ack" });
    await quiet(agent.id);
    const costs = await costsOf(() => poll(agent, { since_id: rows[1].id, ack: rows[1].id }));
    expect(costs.objectRequests).toEqual(["listActivity"]);
    expect(totalRows(costs)).toBeLessThanOrEqual(1);
  });

  it("a heartbeat that changes nothing is one object request, at most two rows and no statement", async () => {
    const agent = await anAgent();
    const beat = () =>
      call("/registry/heartbeat", { token: agent.token, json: { workspace_id: agent.id, uptime_seconds: 5 } });
    await beat();
    await quiet(agent.id);
    let spent = 0;
    const costs = await costsOf(async () => {
      spent = await statementsOf(beat);
    });
    expect(costs.objectRequests).toEqual(["heartbeat"]);
    expect(totalRows(costs)).toBeLessThanOrEqual(2);
    expect(spent).toBe(0);
  });

  it("a message to a poll target is two object requests with a sender, at most three rows, one statement after", async () => {
    const agent = await anAgent();
    const sender = await anAgent();
    await tell(agent, "warm", sender);
    await Promise.all([quiet(agent.id), quiet(sender.id)]);
    let spent = 0;
    const costs = await costsOf(async () => {
      spent = await statementsOf(async () => {
        await tell(agent, "hello", sender);
        await quiet(agent.id);
      });
    });
    expect(costs.objectRequests).toEqual(["verify", "receive"]);
    expect(totalRows(costs)).toBeLessThanOrEqual(3);
    expect(spent).toBe(1);
    expect(costs.flushRows).toBe(1);
  });

  it("registering a new agent is at most four object requests and fourteen rows beside the schema", async () => {
    await anAgent();
    const costs = await costsOf(async () => {
      const agent = await anAgent();
      await quiet(agent.id);
    });
    expect(costs.objectRequests.length).toBeLessThanOrEqual(4);
    expect(totalRows(costs)).toBeLessThanOrEqual(14);
  });

  it("a malformed token, or one with a wrong checksum, touches no object and writes nothing", async () => {
    const agent = await anAgent();
    const wrong = agent.token.slice(0, -1) + (agent.token.endsWith("0") ? "1" : "0");
    await quiet(agent.id);
    for (const token of ["nonsense", wrong]) {
      const costs = await costsOf(async () => {
        expect((await poll({ ...agent, token })).status).toBe(401);
      });
      expect(costs.objectRequests).toEqual([]);
      expect(totalRows(costs)).toBe(0);
    }
  });

  it.each([1, 3, 10])(
    "%i files uploaded, fetched and acked cost one R2 put, k gets, 2 + 2k requests, 4 + 7k rows",
    async (k) => {
      const agent = await anAgent();
      await quiet(agent.id);
      let spent = 0;
      const costs = await costsOf(async () => {
        spent = await statementsOf(async () => {
          const { body } = await upload(agent.id, aFormOf(k));
          for (const { uri } of body.files) {
            const file = `/workspaces/${agent.id}/pending-uploads/${uri.split("/").at(-1)}`;
            expect((await call(`${file}/content`, { token: agent.token })).status).toBe(200);
            expect((await call(`${file}/ack`, { method: "POST", token: agent.token })).status).toBe(200);
          }
          await quiet(agent.id);
        });
      });
      expect(costs.objectRequests.length).toBeLessThanOrEqual(2 + 2 * k);
      expect(totalRows(costs)).toBeLessThanOrEqual(4 + 7 * k);
      expect(costs.r2).toEqual({ a: 1, b: k });
      expect(spent).toBeLessThanOrEqual(1 + 2 * k);
    },
  );

  it("a status change is at most two object requests and seven rows", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    const costs = await costsOf(async () => {
      await call("/registry/heartbeat", {
        token: agent.token,
        json: { workspace_id: agent.id, error_rate: 0.9, sample_error: "boom" },
      });
      await quiet(agent.id);
    });
    expect(costs.objectRequests).toEqual(["heartbeat", "board"]);
    expect(totalRows(costs)).toBeLessThanOrEqual(7);
  });

  it("a delegation from its creation to its delivery is seven object requests, thirty rows, five statements after", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    await answer(callee, caller, await aDelegation(caller, callee), "warm");
    await Promise.all([received(callee.id, 1, "completed"), quiet(caller.id), quiet(callee.id)]);
    let spent = 0;
    const costs = await costsOf(async () => {
      spent = await statementsOf(async () => {
        const id = await aDelegation(caller, callee);
        await received(callee.id, 1, "dispatched");
        await poll(callee);
        await answer(callee, caller, id, "done");
        expect((await poll(caller)).body[0]).toMatchObject({ response_body: { text: "done", delegation_id: id } });
        await Promise.all([received(callee.id, 2, "completed"), quiet(caller.id), quiet(callee.id)]);
      });
    });
    const { objectRequests, r2 } = costs;
    expect(objectRequests).toEqual([
      "delegate",
      "takeTask",
      "listActivity",
      "verify",
      "receive",
      "endTask",
      "listActivity",
    ]);
    expect(totalRows(costs)).toBeLessThanOrEqual(30);
    expect(spent).toBeLessThanOrEqual(5);
    expect(r2).toEqual({ a: 0, b: 0 });
  });

  it("delegating, hearing of it, and its end are no statement on the path", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    await Promise.all([quiet(caller.id), quiet(callee.id)]);
    await away();
    try {
      const id = await aDelegation(caller, callee);
      await received(callee.id, 1, "dispatched");
      expect(await answer(callee, caller, id, "done")).toMatchObject({ status: 200 });
      expect((await poll(caller)).body).toMatchObject([{ response_body: { text: "done" } }]);
      expect(await entryOf(caller, id)).toMatchObject({ status: "completed" });
    } finally {
      await back();
    }
  });
});

/** Waits until a callee's object knows so many tasks of a status. */
function received(workspaceId: string, count: number, status: string): Promise<true> {
  const workspace = env.WORKSPACE.get(env.WORKSPACE.idFromName(workspaceId));
  return until(`${count} tasks are ${status}`, () =>
    runInDurableObject(workspace, (_instance, { storage: { sql } }) => {
      const rows = sql.exec("SELECT 1 FROM received WHERE status = ?", status).toArray();
      return rows.length === count;
    }),
  );
}
