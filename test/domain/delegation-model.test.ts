import fc from "fast-check";
import { expect, it } from "vitest";
import { CHOICES, DelegationWorld } from "./delegation-model.ts";

const SCHEDULES = 100_000;
const STEPS_MAX = 80;

/** What the schedules must come across often, or they prove nothing. */
const HAPPENS = [
  "dispatch 2",
  "queued to dispatched",
  "dispatched to queued",
  "dispatched to in_progress",
  "in_progress to queued",
  "in_progress to completed",
  "in_progress to failed",
  "in_progress to cancelled",
  "failed to queued",
  "cancelled to queued",
  "closed",
  "contradicted",
  "filled",
  "kept",
  "late",
  "progressed",
  "replayed",
  "stranger",
  "row fill",
  "row late",
  "row result",
  "row stuck",
];

const aSchedule = fc.array(fc.nat(CHOICES - 1), { minLength: 10, maxLength: STEPS_MAX, size: "max" });

/** A failure prints seed and path; `{ seed, path }` beside `numRuns` replays it. */
it("whatever is lost, doubled or overtaken: one end per attempt, every text told once, nothing left behind", () => {
  DelegationWorld.happened.clear();
  fc.assert(
    fc.property(aSchedule, ([first = 0, ...choices]) => {
      const world = new DelegationWorld(first);
      for (const choice of choices) world.step(choice);
      world.finish();
    }),
    { numRuns: SCHEDULES },
  );
  const rare = HAPPENS.filter((event) => (DelegationWorld.happened.get(event) ?? 0) < 100);
  expect(rare).toEqual([]);
}, 300_000);
