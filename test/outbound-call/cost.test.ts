import { describe, expect, it } from "vitest";
import { aPushAgent } from "../support/agent-server.ts";
import { costsOf, totalRows } from "../support/counting.ts";
import { kvRowsOf } from "../support/kv-rows.ts";
import { away, back, statements } from "../support/ledger.ts";
import { anAgent, tell } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

describe("a message to a push target", () => {
  it("costs four object requests and eight rows, and one statement after it", async () => {
    const agent = await aPushAgent("echo");
    const sender = await anAgent();
    await tell(agent, "warm", sender);
    await Promise.all([quiet(agent.id), quiet(sender.id)]);
    const before = await statements();
    const kvRows: string[] = [];
    const costs = await costsOf(async () => {
      const work = async () => {
        await tell(agent, "hello", sender);
        await quiet(agent.id);
      };
      kvRows.push(...(await kvRowsOf(work)));
    });
    expect(costs.objectRequests).toEqual(["verify", "receive", "start", "reportCall"]);
    expect(kvRows).toEqual(["intent", "started", "ended", "confirmed"]);
    // The workspace's own row notes how far the hub has been told.
    expect(costs.rowsWritten).toEqual({ calls: 2, activity: 1, workspace: 1 });
    expect(totalRows(costs) + kvRows.length).toBe(8);
    expect(costs.r2).toEqual({ a: 0, b: 0 });
    expect((await statements()) - before).toBe(1);
  });

  it("needs no Postgres", async () => {
    const agent = await aPushAgent("echo");
    await away();
    try {
      expect(await tell(agent, "hello")).toMatchObject({ status: 200 });
    } finally {
      await back();
    }
  });
});
