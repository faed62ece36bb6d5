import { env, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { REMOVAL_SLICE } from "../src/durable-objects/workspace/delegation-removal.ts";
import { WORKSPACE_SCHEMA } from "../src/durable-objects/workspace/schema.ts";
import type { Workspace } from "../src/durable-objects/workspace/workspace.ts";
import { act, aDelegation, answer, complete, entryWhen, taskAt, wake } from "./support/delegations.ts";
import { type Agent, anAgent, call } from "./support/platform.ts";
import { quiet } from "./support/quiet.ts";
import { until } from "./support/until.ts";

const DAY_MS = 24 * 60 * 60_000;
const ACCESS = { kind: "admin" } as const;

afterEach(() => {
  vi.useRealTimers();
});

function inside<T>(agent: Agent, look: (sql: SqlStorage, workspace: Workspace) => T | Promise<T>): Promise<T> {
  return runInDurableObject(env.WORKSPACE.getByName(agent.id), (workspace, { storage }) =>
    look(storage.sql, workspace as Workspace),
  );
}

async function count(agent: Agent, what: string): Promise<number> {
  return inside(agent, (sql) => sql.exec<{ n: number }>(`SELECT count(*) AS n FROM ${what}`).one().n);
}

/** Records so many delegations from inside the caller's object. */
async function recordMany(caller: Agent, callee: Agent, many: number): Promise<void> {
  await inside(caller, async (_sql, workspace) => {
    for (let n = 0; n < many; n += 1) {
      const request = {
        delegationId: `d${n}`,
        targetId: callee.id as never,
        task: "t",
        deadlineMs: null,
        warning: null,
      };
      await workspace.recordDelegation({ access: ACCESS, request });
    }
  });
}

describe("the removal of a workspace with more open than one turn may end", () => {
  const many = REMOVAL_SLICE * 2 + 1;
  const remove = (agent: Agent) =>
    inside(agent, (_sql, workspace) => workspace.removed({ removedAt: Date.now(), cascade: null }));
  const ends = "events WHERE event_type = 'DELEGATION_FAILED'";

  it("as caller ends a slice with it and the rest by alarm, each once", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    await recordMany(caller, callee, many);
    const left = await inside(caller, async (sql, workspace) => {
      const removing = workspace.removed({ removedAt: Date.now(), cascade: null });
      const { n } = sql.exec<{ n: number }>("SELECT count(*) AS n FROM delegations WHERE ended_at IS NULL").one();
      await removing;
      return n;
    });
    expect(left).toBe(many - REMOVAL_SLICE);
    await until("all have ended", async () => {
      await wake(caller);
      return (await count(caller, "delegations WHERE ended_at IS NULL")) === 0;
    });
    expect(await count(caller, ends)).toBe(many);
  });

  it("as callee tells each owner once, a slice with it and the rest by alarm", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    await recordMany(caller, callee, many);
    await until("the callee knows of all", async () => {
      await wake(caller);
      return (await count(callee, "received")) === many;
    });
    await remove(callee);
    await until("all have failed", async () => {
      await wake(callee, caller);
      return (await count(caller, "delegations WHERE ended_at IS NULL")) === 0;
    });
    expect(await count(caller, ends)).toBe(many);
    expect(await count(callee, "received WHERE status <> 'failed'")).toBe(0);
  });
});

describe("an ended delegation", () => {
  it("goes from both objects by its own age, whatever the feed holds, and a retried one with all its attempts", async () => {
    const [caller, callee] = [await anAgent(), await anAgent()];
    const id = await aDelegation(caller, callee);
    await taskAt(callee, id);
    await act(callee, id, "update", { status: "failed", error: "no ink" });
    await entryWhen(caller, id, "failed");
    const retry = { access: ACCESS, delegationId: id, by: "admin", reason: null, force: false };
    const { outcome } = await inside(caller, (_sql, workspace) => workspace.retryDelegation(retry));
    const { attemptId } = outcome.ok ? outcome.value : { attemptId: "" };
    await taskAt(callee, attemptId);
    await complete(callee, attemptId, "done");
    await entryWhen(caller, id, "completed");
    await Promise.all([quiet(caller.id), quiet(callee.id)]);
    expect([await count(caller, "retries"), await count(callee, "received")]).toEqual([1, 2]);
    for (const agent of [caller, callee]) {
      await inside(agent, (sql) => sql.exec("DELETE FROM activity; DELETE FROM events").toArray());
    }
    const now = Date.now();
    vi.useFakeTimers({ toFake: ["Date"], now: now + 30 * DAY_MS - 60_000 });
    await wake(caller, callee);
    expect([await count(caller, "delegations"), await count(callee, "received")]).toEqual([1, 2]);
    vi.setSystemTime(now + 31 * DAY_MS);
    await wake(caller, callee);
    expect([await count(caller, "delegations"), await count(caller, "retries")]).toEqual([0, 0]);
    expect(await count(callee, "received")).toBe(0);
  });

  it("is found under any of its attempts, without looking through the others", async () => {
    const plan = await inside(await anAgent(), (sql) =>
      sql
        .exec<{ detail: string }>(
          "EXPLAIN QUERY PLAN SELECT * FROM delegations WHERE seq = (SELECT seq FROM retries WHERE attempt_id = 'x')",
        )
        .toArray()
        .map(({ detail }) => detail)
        .join("; "),
    );
    expect(plan).not.toContain("SCAN");
  });
});

it("an attempt that was retried before there was an index of attempts is found by it", async () => {
  const [caller, callee] = [await anAgent(), await anAgent()];
  const id = await aDelegation(caller, callee);
  await taskAt(callee, id);
  await act(callee, id, "update", { status: "failed", error: "no ink" });
  await entryWhen(caller, id, "failed");
  const { body } = await call(`/admin/delegations/${id}/retry?caller_id=${caller.id}`, { json: {} });
  await taskAt(callee, body.attempt_id);
  const [fill = ""] = WORKSPACE_SCHEMA.flatMap(({ sql }) => sql.match(/INSERT OR IGNORE INTO retries[^;]*/) ?? []);
  await inside(caller, (sql) => sql.exec(`DELETE FROM retries; ${fill}`).toArray());
  await answer(callee, caller, body.attempt_id, "done");
  expect(await entryWhen(caller, id, "completed")).toMatchObject({ response_preview: "done" });
});
