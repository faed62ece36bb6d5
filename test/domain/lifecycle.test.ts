import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  afterStart,
  afterStop,
  begin as beginMachine,
  bootstrapFailure,
  diedText,
  isUnsettled,
  type Lifecycle,
  nextStep,
  oneMoreRestart,
  type StartEnd,
  servingMachine,
  stageOf,
  stopsPending,
  timeOutText,
  wished,
} from "../../src/domain/lifecycle.ts";

const NOW = 1_000_000;
const NOTHING: Lifecycle = { wish: { number: 0, machine: "stopped", served: true }, machines: [] };
const STARTED: StartEnd = { kind: "started", instanceId: "i-1" };

function begin({ wish, machines }: Lifecycle, start: number): Lifecycle {
  return { wish, machines: [...machines, beginMachine(wish, start)] };
}

/** A workspace whose machine runs. */
function running(): Lifecycle {
  const begun = begin(wished(NOTHING, "running"), 1);
  return afterStart(begun, 1, STARTED).lifecycle;
}

function stopping(lifecycle: Lifecycle, start: number): Lifecycle {
  return {
    ...lifecycle,
    machines: lifecycle.machines.map((machine) => (machine.start === start ? { ...machine, stopping: true } : machine)),
  };
}

describe("the law of machines", () => {
  it("starts nothing that nobody wants, and one machine for one wish", () => {
    expect(nextStep(NOTHING, NOW)).toEqual({ kind: "wait", until: null });
    const wanted = wished(NOTHING, "running");
    expect(nextStep(wanted, NOW)).toEqual({ kind: "start" });
    const begun = begin(wanted, 1);
    expect(nextStep(begun, NOW)).toEqual({ kind: "wait", until: null });
    const { lifecycle, verdict } = afterStart(begun, 1, STARTED);
    expect(verdict).toBe("started");
    expect(nextStep(lifecycle, NOW)).toEqual({ kind: "wait", until: null });
    expect(lifecycle.machines).toMatchObject([{ state: "running", instanceId: "i-1" }]);
  });

  it("stops the machine before it starts the next one", () => {
    const restarted = wished(running(), "running");
    expect(nextStep(restarted, NOW)).toMatchObject({ kind: "stop", machine: { start: 1 } });
    const stopped = afterStop(stopping(restarted, 1), 1, true, NOW);
    expect(stopped.machines).toEqual([]);
    expect(nextStep(stopped, NOW)).toEqual({ kind: "start" });
  });

  it("starts the next one also when the last could not be stopped, and goes on stopping that one", () => {
    const failed = afterStop(stopping(wished(running(), "running"), 1), 1, false, NOW);
    expect(nextStep(failed, NOW)).toEqual({ kind: "start" });
    const replaced = afterStart(begin(failed, 2), 2, { kind: "started", instanceId: "i-2" }).lifecycle;
    expect(stopsPending(replaced)).toBe(1);
    expect(nextStep(replaced, NOW)).toEqual({ kind: "wait", until: NOW + 30_000 });
    expect(nextStep(replaced, NOW + 30_000)).toMatchObject({ kind: "stop", machine: { instanceId: "i-1" } });
    const again = afterStop(stopping(replaced, 1), 1, false, NOW);
    expect(again.machines[0]).toMatchObject({ stopFailures: 2, nextAt: NOW + 60_000 });
  });

  it("is settled when there is nothing to do and nothing to hear of", () => {
    const wanted = wished(NOTHING, "running");
    const unsettled = [wanted, begin(wanted, 1), wished(running(), "stopped"), wished(running(), "running")];
    expect(unsettled.map(isUnsettled)).toEqual([true, true, true, true]);
    expect([NOTHING, running()].map(isUnsettled)).toEqual([false, false]);
  });

  it("goes on stopping the others while one of two waits", () => {
    const two = afterStart(begin(afterStop(stopping(wished(running(), "running"), 1), 1, false, NOW), 2), 2, STARTED);
    const gone = afterStop(stopping(wished(two.lifecycle, "stopped"), 2), 2, true, NOW);
    expect(gone.machines.map((machine) => machine.start)).toEqual([1]);
    expect(nextStep(gone, NOW)).toEqual({ kind: "wait", until: NOW + 30_000 });
  });

  it("waits ten minutes at most between two stops", () => {
    let lifecycle = wished(running(), "stopped");
    for (let failure = 0; failure < 12; failure += 1) lifecycle = afterStop(stopping(lifecycle, 1), 1, false, NOW);
    expect(lifecycle.machines[0]?.nextAt).toBe(NOW + 10 * 60_000);
  });

  it("gives no verdict on a start that nobody wants any more, and stops its machine", () => {
    const begun = wished(begin(wished(NOTHING, "running"), 1), "stopped");
    const { lifecycle, verdict } = afterStart(begun, 1, STARTED);
    expect(verdict).toBeNull();
    expect(nextStep(lifecycle, NOW)).toMatchObject({ kind: "stop", machine: { instanceId: "i-1" } });
  });

  it("counts an unknown start as failed and stops whatever it started", () => {
    const { lifecycle, verdict } = afterStart(begin(wished(NOTHING, "running"), 1), 1, { kind: "unknown" });
    expect(verdict).toBe("failed");
    expect(nextStep(lifecycle, NOW)).toMatchObject({ kind: "stop", machine: { instanceId: null } });
  });

  it("leaves nothing of a refused start", () => {
    const { lifecycle, verdict } = afterStart(begin(wished(NOTHING, "running"), 1), 1, { kind: "refused" });
    expect([verdict, lifecycle.machines]).toEqual(["failed", []]);
    expect(nextStep(lifecycle, NOW)).toEqual({ kind: "wait", until: null });
  });

  it("is not moved by a report that comes twice, or about a machine that it does not know", () => {
    const known = running();
    expect(afterStart(known, 1, { kind: "refused" })).toEqual({ lifecycle: known, verdict: null });
    expect(afterStart(known, 7, STARTED)).toEqual({ lifecycle: known, verdict: null });
    expect(afterStop(known, 1, true, NOW)).toEqual(known);
    expect(afterStop(known, 7, true, NOW)).toEqual(known);
  });

  it("makes of ten wishes during one operation one more, not ten", () => {
    let lifecycle = begin(wished(NOTHING, "running"), 1);
    for (let trigger = 0; trigger < 10; trigger += 1) lifecycle = wished(lifecycle, "running");
    let starts = 1;
    lifecycle = afterStart(lifecycle, 1, STARTED).lifecycle;
    for (let step = nextStep(lifecycle, NOW); step.kind !== "wait"; step = nextStep(lifecycle, NOW)) {
      if (step.kind === "stop")
        lifecycle = afterStop(stopping(lifecycle, step.machine.start), step.machine.start, true, NOW);
      else {
        starts += 1;
        lifecycle = afterStart(begin(lifecycle, starts), starts, STARTED).lifecycle;
      }
    }
    expect(starts).toBe(2);
    expect(lifecycle.machines).toHaveLength(1);
  });

  it("comes to rest with exactly what was wished last, whatever fails on the way", () => {
    const event = fc.oneof(
      fc.constantFrom("running" as const, "stopped" as const).map((machine) => ({ kind: "wish" as const, machine })),
      fc
        .constantFrom<StartEnd>(STARTED, { kind: "refused" }, { kind: "unknown" })
        .map((end) => ({ kind: "end" as const, end })),
      fc.boolean().map((stopped) => ({ kind: "stopped" as const, stopped })),
    );
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), (events) => {
        let lifecycle = NOTHING;
        let starts = 0;
        let now = NOW;
        const alive = new Set<number>();
        const settle = (end: StartEnd, stopped: boolean) => {
          const open = lifecycle.machines.find((machine) => machine.state === "starting" || machine.stopping);
          if (!open) return;
          if (open.state === "starting") {
            if (end.kind !== "refused") alive.add(open.start);
            lifecycle = afterStart(lifecycle, open.start, end).lifecycle;
          } else {
            if (stopped) alive.delete(open.start);
            lifecycle = afterStop(lifecycle, open.start, stopped, now);
          }
        };
        const advance = () => {
          const step = nextStep(lifecycle, now);
          if (step.kind === "stop") lifecycle = stopping(lifecycle, step.machine.start);
          else if (step.kind === "start") lifecycle = begin(lifecycle, ++starts);
          else if (step.until !== null) now = step.until;
          return step;
        };
        for (const happened of events) {
          if (happened.kind === "wish") lifecycle = wished(lifecycle, happened.machine);
          else if (happened.kind === "end") settle(happened.end, false);
          else settle({ kind: "refused" }, happened.stopped);
          advance();
          const busy = lifecycle.machines.filter((machine) => machine.state === "starting" || machine.stopping);
          expect(busy.length).toBeLessThanOrEqual(1);
          for (const start of alive) expect(lifecycle.machines.map((machine) => machine.start)).toContain(start);
        }
        for (let rest = 0; rest < 200; rest += 1) {
          settle({ kind: "started", instanceId: "i" }, true);
          const step = advance();
          if (
            step.kind === "wait" &&
            step.until === null &&
            !lifecycle.machines.some((machine) => machine.state === "starting" || machine.stopping)
          )
            break;
        }
        const { wish, machines } = lifecycle;
        expect(machines.length).toBeLessThanOrEqual(wish.machine === "running" ? 1 : 0);
        expect(new Set(machines.map((machine) => machine.start))).toEqual(alive);
        expect(stopsPending(lifecycle)).toBe(0);
        expect(isUnsettled(lifecycle)).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("a provisioning that takes too long", () => {
  it("says where it stands", () => {
    const wanted = wished(NOTHING, "running");
    expect(stageOf(wanted)).toBe("waiting");
    expect(stageOf(begin(wanted, 1))).toBe("starting");
    expect(stageOf(running())).toBe("started");
    expect(timeOutText("started")).toBe(
      "provisioning timed out — container started but never called /registry/register. Check container logs and network connectivity to the platform.",
    );
    expect(new Set([timeOutText("waiting"), timeOutText("starting"), timeOutText("started")]).size).toBe(3);
  });
});

describe("a failed bootstrap", () => {
  it("is told by its error and the end of its log", () => {
    expect(bootstrapFailure(" no disk ", "line")).toEqual({
      error: "no disk",
      logTail: "line",
      text: "no disk\n\nline",
    });
    expect(bootstrapFailure("", "")).toEqual({
      error: "bootstrap failed — see log_tail",
      logTail: "",
      text: "bootstrap failed — see log_tail",
    });
  });

  it("is cut between characters, its log at the front and the whole at the end", () => {
    const { logTail, text } = bootstrapFailure("broken", `${"ü".repeat(5_000)}x`);
    expect(logTail.startsWith("...(truncated)...\nü")).toBe(true);
    expect(logTail.endsWith("üx")).toBe(true);
    expect(new TextEncoder().encode(text).length).toBeLessThanOrEqual(8_192);
    expect(text).not.toContain("\uFFFD");
  });
});

describe("a machine that may die", () => {
  it("is the one that runs for the wish, and none on its way out or in", () => {
    expect(servingMachine(NOTHING)).toBeNull();
    expect(servingMachine(begin(wished(NOTHING, "running"), 1))).toBeNull();
    expect(servingMachine(running())?.instanceId).toBe("i-1");
    expect(servingMachine(stopping(running(), 1))).toBeNull();
    expect(servingMachine(wished(running(), "running"))).toBeNull();
    expect(servingMachine(wished(running(), "stopped"))).toBeNull();
  });

  it("is started anew so many times within an hour, and then left to people", () => {
    const HOUR_MS = 3_600_000;
    const first = oneMoreRestart([], 2, HOUR_MS) ?? [];
    const second = oneMoreRestart(first, 2, HOUR_MS + 1) ?? [];
    expect(second).toEqual([HOUR_MS, HOUR_MS + 1]);
    expect(oneMoreRestart(second, 2, 2 * HOUR_MS - 1)).toBeNull();
    expect(oneMoreRestart(second, 2, 2 * HOUR_MS)).toEqual([HOUR_MS + 1, 2 * HOUR_MS]);
    expect(oneMoreRestart([], 0, HOUR_MS)).toBeNull();
    expect(diedText(2)).toContain("more than 2 times within an hour");
    expect(diedText(0)).not.toContain("within an hour");
  });
});
