import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import fc from "fast-check";
import { afterEach, expect, it, vi } from "vitest";
import type { Mishap } from "../src/provisioners/in-memory.ts";
import { machines } from "./support/machines.ts";
import { aMessage, call } from "./support/platform.ts";
import { type Fate, RoughNetwork } from "./support/rough-network.ts";

/** Every call between objects on which the life of a machine hangs. */
const METHODS = [
  "created",
  "removed",
  "paused",
  "resumed",
  "take",
  "beginStart",
  "machineEnded",
  "environmentOf",
  "look",
];
const SCHEDULES = 40;
const STEP_MS = 61_000;
const SETTLING_STEPS = 60;

afterEach(() => {
  vi.useRealTimers();
});

const VERBS = [
  "restart",
  "pause",
  "resume",
  "hibernate",
  "message",
  "delete",
  "crash",
  "ring",
  "register",
  "die",
] as const;

const schedule = fc.record({
  verbs: fc.array(fc.constantFrom(...VERBS), { maxLength: 8 }),
  fates: fc.array(fc.constantFrom<Fate>("arrives", "is lost", "loses its answer", "arrives twice"), { maxLength: 16 }),
  starts: fc.array(fc.constantFrom<Mishap>("refuse", "lose_call", "lose_answer"), { maxLength: 3 }),
  stopFails: fc.boolean(),
});

it("a machine never runs without its workspace's row, and every workspace has a verdict, whatever is lost", async () => {
  let schedules = 0;
  await fc.assert(
    fc.asyncProperty(schedule, async ({ verbs, fates, starts, stopFails }) => {
      schedules += 1;
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + STEP_MS });
      const network = new RoughNetwork(METHODS);
      await network.during(async () => {
        network.deal(...fates);
        const { body } = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "codex" } });
        const { id } = body;
        machines.play(id, "start", ...starts);
        if (stopFails) machines.play(id, "stop", "lose_answer");
        for (const verb of verbs) await act(id, verb);
        network.smooth();
        await settle(id);
        const running = machines.runningFor(id);
        const view = await call(`/workspaces/${id}?include_removed=true`);
        const { status } = view.body;
        expect(running.length, status).toBeLessThanOrEqual(1);
        if (running.length === 0) expect(["failed", "paused", "hibernated", "removed"]).toContain(status);
        else expect(["online", "failed", "offline"]).toContain(status);
        if (status === "failed") {
          const listed = (await call("/workspaces")).body.find((entry: { id: string }) => entry.id === id);
          expect(listed.last_sample_error).not.toBe("");
        }
      });
    }),
    { numRuns: SCHEDULES, endOnFailure: true },
  );
  expect(schedules).toBe(SCHEDULES);
}, 180_000);

async function act(id: string, verb: (typeof VERBS)[number]): Promise<void> {
  switch (verb) {
    case "delete":
      await call(`/workspaces/${id}`, { method: "DELETE" });
      return;
    case "message":
      await call(`/workspaces/${id}/a2a`, { json: aMessage("wake up") });
      return;
    case "crash":
      await crash(named(env.WORKSPACE, id));
      await crash(named(env.MACHINE, id));
      return;
    case "ring":
      await ring(id);
      return;
    case "register":
      await register(id);
      return;
    case "die":
      machines.remove({ workspaceId: id, instanceId: null });
      return;
    default:
      await call(`/workspaces/${id}/${verb}`, { method: "POST" });
  }
}

/** The agent of the machine that runs, if one does, under the token that the machine was given last. */
async function register(id: string): Promise<void> {
  if (machines.runningFor(id).length === 0) return;
  const token = machines.callsFor(id).findLast(({ verb }) => verb === "start")?.order?.files[".auth_token"];
  if (token === undefined) return;
  await call("/registry/register", { token, json: { id, delivery_mode: "poll", agent_card: { name: "agent" } } });
}

/** A minute passes, and every alarm rings that should. */
async function ring(id: string): Promise<void> {
  vi.setSystemTime(Date.now() + STEP_MS);
  await runDurableObjectAlarm(named(env.DIRECTORY, "default"));
  await runDurableObjectAlarm(named(env.MACHINE, id));
  await env.WORKSPACE.getByName(id).wake();
  await runDurableObjectAlarm(named(env.MACHINE, id));
}

/** Whatever the object does at this moment ends here; what it has stored stays. */
async function crash(object: DurableObjectStub): Promise<void> {
  await runInDurableObject(object, (_instance, context) => context.abort("crashed")).catch(() => undefined);
}

/** An object itself; the network stands between objects and whoever finds them by name. */
function named<T extends Rpc.DurableObjectBranded | undefined>(namespace: DurableObjectNamespace<T>, name: string) {
  return namespace.get(namespace.idFromName(name));
}

async function settle(id: string): Promise<void> {
  for (let step = 0; step < SETTLING_STEPS; step += 1) {
    await ring(id);
    await register(id);
    const isSettled = (await env.WORKSPACE.getByName(id).lookAfterMachines()) === null;
    const { status } = (await call(`/workspaces/${id}?include_removed=true`)).body;
    if (isSettled && status !== "provisioning" && step > 2) return;
  }
  throw new Error(`the machines of ${id} never settle`);
}
