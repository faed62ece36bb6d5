import type { Running } from "../../provisioners/provisioner.ts";
import { within } from "../../time-limit.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import type { Machines } from "./machines.ts";

/** Below what an alarm waits for one of its clocks. */
const LOOK_TIMEOUT_MS = 8_000;

/** Looks whether the machine of a workspace that has fallen silent still runs; an agent that is heard has one. */
export class MachineHealth implements Clock {
  readonly name = "machine_health";
  readonly #core: Core;
  readonly #machines: Machines;
  readonly #look: (instanceId: string) => Promise<Running["kind"]>;
  readonly #apply: (work: (now: number) => void) => Promise<void>;
  /** In memory: an object that began anew looks once more, which harms nothing. */
  #lookedAt = 0;

  constructor(
    core: Core,
    machines: Machines,
    look: (instanceId: string) => Promise<Running["kind"]>,
    apply: (work: (now: number) => void) => Promise<void>,
  ) {
    this.#core = core;
    this.#machines = machines;
    this.#look = look;
    this.#apply = apply;
  }

  dueAt(): number | null {
    const { profile, config } = this.#core;
    const { status, absentSince } = profile.get();
    const isSilent = status === "offline" || absentSince !== null;
    if (!isSilent || this.#machines.serving === null) return null;
    return this.#lookedAt + config.MACHINE_LOOK_INTERVAL_S * 1000;
  }

  async run(now: number): Promise<void> {
    const instanceId = this.#machines.serving?.instanceId;
    if (instanceId == null) return;
    this.#lookedAt = now;
    if ((await within(this.#look(instanceId), LOOK_TIMEOUT_MS)) !== "not_running") return;
    await this.#apply((at) => this.#machines.died(instanceId, at));
  }
}
