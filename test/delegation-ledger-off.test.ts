import { env, runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import { DelegationStore } from "../src/durable-objects/workspace/delegation-store.ts";
import { aDelegation, complete, entryWhen, resultsOf, taskAt } from "./support/delegations.ts";
import { query } from "./support/ledger.ts";
import { anAgent } from "./support/platform.ts";
import { until } from "./support/until.ts";

// A deployment without the ledger of delegations, objects included: set before anything has read its configuration.
env.DELEGATION_LEDGER_WRITE = "0";

it("without its ledger a delegation lives its whole life, and the ledger hears of its messages only", async () => {
  const [caller, callee] = [await anAgent(), await anAgent()];
  const id = await aDelegation(caller, callee);
  await taskAt(callee, id);
  await complete(callee, id, "twelve");
  await entryWhen(caller, id, "completed");
  expect(await resultsOf(caller)).toMatchObject([{ response_body: { text: "twelve", delegation_id: id } }]);
  await until("its history has arrived", async () => {
    const rows = await query("SELECT 1 FROM activity_logs WHERE workspace_id = $1 AND status = 'completed'", [
      caller.id,
    ]);
    return rows.length > 0;
  });
  expect(await query("SELECT 1 FROM delegations WHERE caller_id = $1", [caller.id])).toEqual([]);
});

it("what only that ledger would hear of is pending for no statement", async () => {
  const [caller, callee] = [await anAgent(), await anAgent()];
  await aDelegation(caller, callee);
  const owner = env.WORKSPACE.get(env.WORKSPACE.idFromName(caller.id));
  const pending = await runInDurableObject(owner, (_instance, { storage }) => {
    const store = new DelegationStore(storage.sql, () => 1);
    return [true, false].map((isOn) => store.mirror(isOn).pending(0, 10).length);
  });
  expect(pending).toEqual([1, 0]);
});
