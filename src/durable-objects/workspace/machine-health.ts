import { diedText, oneMoreRestart } from "../../domain/lifecycle.ts";
import { log } from "../../log.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import { fail } from "./failed.ts";
import type { Machines } from "./machines.ts";

/**
 * Looks whether the machine of a workspace that has fallen silent still runs, and replaces one that does not; an agent
 * that is heard has one.
 */
export class MachineHealth implements Clock {
  readonly name = "machine_health";
  readonly #core: Core;
  readonly #machines: Machines;
  readonly #isGone: (instanceId: string) => Promise<boolean>;
  readonly #apply: (work: (now: number) => void) => Promise<void>;
  /** In memory: an object that began anew looks once more, which harms nothing. */
  #lookedAt = 0;

  constructor(
    core: Core,
    machines: Machines,
    isGone: (instanceId: string) => Promise<boolean>,
    apply: (work: (now: number) => void) => Promise<void>,
  ) {
    this.#core = core;
    this.#machines = machines;
    this.#isGone = isGone;
    this.#apply = apply;
  }

  dueAt(): number | null {
    const { profile, machines, config } = this.#core;
    const { status, absentSince } = profile.get();
    const isSilent = status === "offline" || absentSince !== null;
    if (!isSilent || machines.serving() === null) return null;
    return this.#lookedAt + config.MACHINE_LOOK_INTERVAL_S * 1000;
  }

  async run(now: number): Promise<void> {
    const instanceId = this.#core.machines.serving()?.instanceId;
    if (instanceId == null) return;
    this.#lookedAt = now;
    if (!(await this.#isGone(instanceId))) return;
    await this.#apply((at) => this.died(instanceId, at));
  }

  /**
   * The backend has seen that a machine does not run any more. The one that serves the wish gets a successor, unless
   * that has happened too often already.
   */
  died(instanceId: string, now: number): void {
    const { machines, profile, events, config } = this.#core;
    const { status, workspaceId } = profile.get();
    const { facts } = machines.get();
    const isUp = status === "online" || status === "degraded";
    if (machines.serving()?.instanceId !== instanceId || (!isUp && status !== "offline")) return;
    log.warn("machine.died", { workspace_id: workspaceId, instance_id: instanceId });
    if (isUp) {
      profile.set({ status: "offline", absentSince: null });
      events.record("WORKSPACE_OFFLINE", "{}", now * 1000);
    }
    const perHour = config.MACHINE_RESTARTS_PER_HOUR;
    const restarts = oneMoreRestart(facts.restarts, perHour, now);
    if (restarts === null) {
      fail(this.#core, diedText(perHour), { source: "health_sweep" }, now);
      this.#machines.stop(now);
      return;
    }
    machines.wish(machines.get().wish, { ...facts, restarts });
    this.#machines.provision({ platformUrl: "", files: null, resetSession: false, because: "died" }, now);
  }
}
