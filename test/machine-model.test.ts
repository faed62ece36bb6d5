import fc from "fast-check";
import { afterEach, expect, it, vi } from "vitest";
import type { Mishap } from "../src/provisioners/in-memory.ts";
import {
  crashDirectory,
  crashWorkspace,
  expectVerdict,
  MACHINE_METHODS,
  register,
  ring,
  rowsSince,
  settle,
} from "./support/machine-life.ts";
import { machines } from "./support/machines.ts";
import { aMessage, call } from "./support/platform.ts";
import { type Fate, RoughNetwork } from "./support/rough-network.ts";

const SCHEDULES = 40;
const STEP_MS = 61_000;

afterEach(() => {
  vi.useRealTimers();
});

const VERBS = [
  "restart",
  "pause",
  "resume",
  "hibernate",
  "message",
  "patch",
  "delete",
  "purge",
  "crash",
  "crash directory",
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
      const since = Date.now();
      const network = new RoughNetwork(MACHINE_METHODS);
      await network.during(async () => {
        network.deal(...fates);
        const { body } = await call("/workspaces", { json: { name: crypto.randomUUID(), runtime: "codex" } });
        const { id } = body;
        machines.play(id, "start", ...starts);
        if (stopFails) machines.play(id, "stop", "lose_answer");
        for (const verb of verbs) await act(id, verb);
        network.smooth();
        await settle(since);
        const rows = await rowsSince(since);
        expect(rows.map((row) => row.id)).toEqual([id]);
        for (const row of rows) await expectVerdict(row);
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
    case "purge":
      await call(`/workspaces/${id}?purge=true`, { method: "DELETE" });
      return;
    case "patch":
      await call(`/workspaces/${id}`, { method: "PATCH", json: { name: crypto.randomUUID(), role: "renamed" } });
      return;
    case "message":
      await call(`/workspaces/${id}/a2a`, { json: aMessage("wake up") });
      return;
    case "crash":
      return crashWorkspace(id);
    case "crash directory":
      return crashDirectory();
    case "ring":
      return ring([id]);
    case "register":
      return register(id);
    case "die":
      machines.remove({ workspaceId: id, instanceId: null });
      return;
    default:
      await call(`/workspaces/${id}/${verb}`, { method: "POST" });
  }
}
