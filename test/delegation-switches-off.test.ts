import { env, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, expect, it, vi } from "vitest";
import {
  act,
  aDelegation,
  complete,
  entryOf,
  entryWhen,
  resultsOf,
  rowsOf,
  taskAt,
  wake,
} from "./support/delegations.ts";
import { anAgent } from "./support/platform.ts";

// A deployment that judges nobody and tells no inbox: set before anything has read its configuration.
env.DELEGATION_SWEEPER = "0";
env.DELEGATION_RESULT_INBOX_PUSH = "0";

const HOUR_MS = 60 * 60_000;

afterEach(() => {
  vi.useRealTimers();
});

it("without the sweeper neither silence nor a deadline is judged, by alarm, contact or sweep", async () => {
  const [caller, callee] = [await anAgent(), await anAgent()];
  const id = await aDelegation(caller, callee);
  await taskAt(callee, id);
  await act(callee, id, "heartbeat");
  await entryWhen(caller, id, "in_progress");
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 7 * HOUR_MS });
  await wake(caller, callee);
  const owner = env.WORKSPACE.getByName(caller.id);
  await runDurableObjectAlarm(owner);
  expect(await owner.sweepDelegations([id])).toEqual(["raced"]);
  expect(await entryOf(caller, id)).toMatchObject({ status: "in_progress" });
  await complete(callee, id, "twelve");
  await entryWhen(caller, id, "completed");
});

it("without the sweeper a time that an earlier setting left is due once, and holds up nothing", async () => {
  const [caller, callee] = [await anAgent(), await anAgent()];
  const id = await aDelegation(caller, callee);
  await taskAt(callee, id);
  const owner = env.WORKSPACE.getByName(caller.id);
  const dueAt = (write: string) =>
    runInDurableObject(owner, (_instance, { storage: { sql } }) => {
      sql.exec(write);
      return sql.exec<{ due_at: number | null }>("SELECT due_at FROM delegations").one().due_at;
    });
  expect(await dueAt("UPDATE delegations SET due_at = 1")).toBe(1);
  await evictDurableObject(owner);
  await wake(caller);
  expect(await dueAt("SELECT 1")).toBeNull();
  expect(await entryOf(caller, id)).toMatchObject({ status: "dispatched" });
});

it("without the push the result stands in the list and in the history, and no inbox row tells of it", async () => {
  const [caller, callee] = [await anAgent(), await anAgent()];
  const id = await aDelegation(caller, callee);
  await taskAt(callee, id);
  await complete(callee, id, "twelve");
  expect(await entryWhen(caller, id, "completed")).toMatchObject({ response_preview: "twelve" });
  expect(await resultsOf(caller)).toEqual([]);
  expect(await rowsOf(caller, { activity_type: "delegation", method: "delegate_result" })).toMatchObject([
    { status: "completed", response_body: { text: "twelve", delegation_id: id } },
  ]);
});
