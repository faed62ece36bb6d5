import { describe, expect, it } from "vitest";
import { aMachine, machines, registered } from "../support/machines.ts";
import { call, poll } from "../support/platform.ts";
import { RoughNetwork } from "../support/rough-network.ts";
import { until } from "../support/until.ts";

const METHODS = ["removed", "placed", "paused", "resumed", "restarted", "collapsed"];

/** Changes something while no word of the directory reaches an object. */
async function unheard<T>(change: () => Promise<T>): Promise<T> {
  const network = new RoughNetwork(METHODS);
  return network.during(async () => {
    network.deal(...Array.from({ length: 20 }, () => "is lost" as const));
    return change();
  });
}

const post = (id: string, verb: string) => call(`/workspaces/${id}/${verb}`, { method: "POST" });

describe("a change that an object has not heard of yet", () => {
  it("says so: a removal counts the machine that still runs, and its token is good until the object hears", async () => {
    const id = await aMachine();
    const agent = await registered(id);
    const removed = await unheard(() => call(`/workspaces/${id}`, { method: "DELETE" }));
    expect(removed.body).toEqual({ status: "removed", cascade_deleted: 0, pending: true, stops_pending: 1 });
    expect((await call(`/workspaces/${id}`)).status).toBe(410);
    expect((await poll(agent)).status).toBe(200);
    await until("it hears of it", async () => (await poll(agent)).status === 401);
    await until("its machine is stopped", async () => machines.runningFor(id).length === 0);
  });

  it("says so of a move, a pause, its end, a restart and a collapse, and follows", async () => {
    const parent = await aMachine();
    const id = await aMachine({ parent_id: parent });
    await registered(parent);
    await registered(id);
    const move = () => call(`/workspaces/${id}`, { method: "PATCH", json: { parent_id: null } });
    expect((await unheard(move)).body).toEqual({ status: "updated", pending: true });
    await call(`/workspaces/${id}`, { method: "PATCH", json: { parent_id: parent } });
    expect((await unheard(() => post(id, "pause"))).body).toEqual({ status: "paused", paused_count: 1, pending: true });
    expect((await unheard(() => post(id, "resume"))).body).toMatchObject({ resumed_count: 1, pending: true });
    expect((await unheard(() => post(parent, "restart"))).body).toMatchObject({
      status: "provisioning",
      pending: true,
    });
    expect((await unheard(() => post(parent, "collapse"))).body).toMatchObject({ status: "collapsed", pending: true });
    await until("the collapsed one is stopped", async () => machines.runningFor(id).length === 0);
  });

  it("is not said where all have heard", async () => {
    const id = await aMachine();
    await registered(id);
    expect((await call(`/workspaces/${id}`, { method: "PATCH", json: { role: "poet" } })).body).toEqual({
      status: "updated",
    });
    expect((await call(`/workspaces/${id}`, { method: "DELETE" })).body).toEqual({
      status: "removed",
      cascade_deleted: 0,
      stops_pending: 1,
    });
  });
});
