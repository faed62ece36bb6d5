import { expect, it } from "vitest";
import type { Mishap } from "../../src/provisioners/in-memory.ts";
import type { MachineRef, Provisioner, StartOrder } from "../../src/provisioners/provisioner.ts";
import { anOrder } from "../support/machine-server.ts";

/** One backend on its own, for one test. */
export interface Bench {
  readonly provisioner: Provisioner;
  /** Lets the next call of this kind for the workspace go wrong. */
  play(workspaceId: string, verb: "start" | "stop" | "isRunning", mishap: Mishap): void | Promise<void>;
}

export async function started({ provisioner }: Pick<Bench, "provisioner">, order: StartOrder): Promise<MachineRef> {
  const outcome = await provisioner.start(order);
  if (outcome.kind !== "started") throw new Error(`not started: ${outcome.reason}`);
  return { workspaceId: order.workspaceId, instanceId: outcome.instanceId };
}

/** What every backend promises while nothing goes wrong. */
export function describeMachines(aBench: () => Pick<Bench, "provisioner">): void {
  it("runs a machine from its start to its stop", async () => {
    const bench = aBench();
    const machine = await started(bench, anOrder());
    expect(await bench.provisioner.isRunning(machine)).toEqual({ kind: "running" });
    expect(await bench.provisioner.stop(machine)).toEqual({ kind: "stopped" });
    expect(await bench.provisioner.isRunning(machine)).toEqual({ kind: "not_running" });
  });

  it("takes a second stop for as good as the first", async () => {
    const bench = aBench();
    const machine = await started(bench, anOrder());
    await bench.provisioner.stop(machine);
    expect(await bench.provisioner.stop(machine)).toEqual({ kind: "stopped" });
    expect(await bench.provisioner.stop({ ...machine, instanceId: null })).toEqual({ kind: "stopped" });
  });

  it("takes a machine that nobody ever started for stopped", async () => {
    const { provisioner } = aBench();
    for (const instanceId of [null, "nobody-knows-it"]) {
      const machine = { workspaceId: crypto.randomUUID(), instanceId };
      expect(await provisioner.isRunning(machine)).toEqual({ kind: "not_running" });
      expect(await provisioner.stop(machine)).toEqual({ kind: "stopped" });
    }
  });

  it("keeps the machines of two workspaces apart", async () => {
    const bench = aBench();
    const one = await started(bench, anOrder());
    const other = await started(bench, anOrder());
    expect(other.instanceId).not.toBe(one.instanceId);
    await bench.provisioner.stop(one);
    expect(await bench.provisioner.isRunning(other)).toEqual({ kind: "running" });
    await bench.provisioner.stop(other);
  });

  it("starts another machine after a stop", async () => {
    const bench = aBench();
    const order = anOrder();
    const first = await started(bench, order);
    await bench.provisioner.stop(first);
    const second = await started(bench, { ...order, resetSession: true });
    expect(second.instanceId).not.toBe(first.instanceId);
    expect(await bench.provisioner.isRunning(second)).toEqual({ kind: "running" });
    await bench.provisioner.stop(second);
  });

  it("finds and stops a machine whose id nobody knows", async () => {
    const bench = aBench();
    const machine = await started(bench, anOrder());
    const unnamed = { ...machine, instanceId: null };
    expect(await bench.provisioner.isRunning(unnamed)).toEqual({ kind: "running" });
    expect(await bench.provisioner.stop(unnamed)).toEqual({ kind: "stopped" });
    expect(await bench.provisioner.isRunning(machine)).toEqual({ kind: "not_running" });
  });

  it("cleans up after a stop, and again, and where nothing was", async () => {
    const bench = aBench();
    const machine = await started(bench, anOrder());
    await bench.provisioner.stop(machine);
    for (const workspaceId of [machine.workspaceId, machine.workspaceId, crypto.randomUUID()]) {
      expect(await bench.provisioner.cleanUp(workspaceId)).toEqual({ kind: "stopped" });
    }
  });
}

/** What every backend promises when calls and answers are lost. */
export function describeMishaps(aBench: () => Bench): void {
  it("leaves nothing running after a start that was refused", async () => {
    const { provisioner, play } = aBench();
    const order = anOrder();
    await play(order.workspaceId, "start", "refuse");
    expect(await provisioner.start(order)).toMatchObject({ kind: "refused", reason: expect.any(String) });
    expect(await provisioner.isRunning({ ...order, instanceId: null })).toEqual({ kind: "not_running" });
  });

  it.each(["lose_call", "lose_answer"] as const)("does not know what came of a start: %s", async (mishap) => {
    const { provisioner, play } = aBench();
    const order = anOrder();
    const machine = { workspaceId: order.workspaceId, instanceId: null };
    await play(order.workspaceId, "start", mishap);
    expect(await provisioner.start(order)).toMatchObject({ kind: "unknown", reason: expect.any(String) });
    const kind = mishap === "lose_answer" ? "running" : "not_running";
    expect(await provisioner.isRunning(machine)).toEqual({ kind });
    expect(await provisioner.stop(machine)).toEqual({ kind: "stopped" });
    expect(await provisioner.isRunning(machine)).toEqual({ kind: "not_running" });
  });

  it.each(["refuse", "lose_call", "lose_answer"] as const)("repeats a stop that failed: %s", async (mishap) => {
    const bench = aBench();
    const machine = await started(bench, anOrder());
    await bench.play(machine.workspaceId, "stop", mishap);
    expect(await bench.provisioner.stop(machine)).toMatchObject({ kind: "failed", reason: expect.any(String) });
    expect(await bench.provisioner.stop(machine)).toEqual({ kind: "stopped" });
    expect(await bench.provisioner.isRunning(machine)).toEqual({ kind: "not_running" });
  });

  it.each(["refuse", "lose_call"] as const)("never takes a look that failed for an answer: %s", async (mishap) => {
    const bench = aBench();
    const machine = await started(bench, anOrder());
    await bench.play(machine.workspaceId, "isRunning", mishap);
    expect(await bench.provisioner.isRunning(machine)).toMatchObject({ kind: "unknown", reason: expect.any(String) });
    expect(await bench.provisioner.isRunning(machine)).toEqual({ kind: "running" });
  });
}
