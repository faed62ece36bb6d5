import { Refusal } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import { log } from "../../log.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import type { Machines } from "./machines.ts";

/** An idle workspace is looked at this often at most, because its idleness is not a row that says when it is due. */
const IDLE_LOOK_MS = 60_000;

export interface HibernationSettings {
  readonly hasBackend: boolean;
  /** Time without work after which a workspace hibernates; null: never. */
  readonly hibernateAfterMs: number | null;
}

/** The sleep of a workspace whose machine is stopped until somebody needs it. All methods but the clock's run in a turn. */
export class Hibernation implements Clock {
  readonly name = "hibernation";
  readonly #core: Core;
  readonly #machines: Machines;
  readonly #settings: HibernationSettings;
  readonly #apply: (work: (now: number) => void) => Promise<void>;
  #lookedAt = 0;

  constructor(
    core: Core,
    machines: Machines,
    settings: HibernationSettings,
    apply: (work: (now: number) => void) => Promise<void>,
  ) {
    this.#core = core;
    this.#machines = machines;
    this.#settings = settings;
    this.#apply = apply;
  }

  /** Stops an idle workspace until somebody needs it. */
  begin(force: boolean, now: number): void {
    const { profile } = this.#core;
    const { status, activeTasks } = profile.get();
    if (status !== "online" && status !== "degraded") throw new Refusal("workspace.not_hibernatable");
    if (activeTasks > 0 && !force) {
      throw new Refusal("workspace.has_active_tasks", { details: { active_tasks: activeTasks } });
    }
    profile.set({ status: "hibernating", activeTasks: 0, currentTask: "" });
    this.#machines.stop(now);
    this.settle(now);
  }

  /** It sleeps once its machine is gone. */
  settle(now: number): void {
    const { profile, events, machines } = this.#core;
    const { status, name, tier, workspaceId } = profile.get();
    if (status !== "hibernating" || machines.get().machines.length > 0) return;
    profile.set({ status: "hibernated", url: null });
    events.record("WORKSPACE_HIBERNATED", JSON.stringify({ name, tier }), now * 1000);
    log.info("workspace.hibernated", { workspace_id: workspaceId });
  }

  /** Whether a message finds nobody here until the machine runs again. */
  get isAsleep(): boolean {
    const { status, runtime } = this.#core.profile.get();
    return (status === "hibernated" || status === "hibernating") && !isExternal(runtime) && this.#settings.hasBackend;
  }

  /** Starts what hibernates. */
  wake(now: number): void {
    if (!this.isAsleep) return;
    this.#machines.provision({ platformUrl: "", files: null, resetSession: false }, now);
    log.info("workspace.woken", { workspace_id: this.#core.profile.get().workspaceId });
  }

  dueAt(): number | null {
    const { hibernateAfterMs, hasBackend } = this.#settings;
    const { status, runtime, activeTasks } = this.#core.profile.get();
    const isUp = status === "online" || status === "degraded";
    if (hibernateAfterMs === null || !hasBackend || !isUp || isExternal(runtime) || activeTasks > 0) return null;
    return Math.max(this.#idleSince() + hibernateAfterMs, this.#lookedAt + IDLE_LOOK_MS);
  }

  async run(): Promise<void> {
    await this.#apply((now) => {
      const at = this.dueAt();
      if (at === null || at > now) return;
      this.#lookedAt = now;
      this.begin(false, now);
    });
  }

  /** Since when nothing came in or went out, in ms: its newest row, or its machine's start. */
  #idleSince(): number {
    const { inbox, profile, machines } = this.#core;
    const { startedAt, createdAt } = profile.get();
    return Math.max(inbox.newestAt() ?? 0, startedAt ?? createdAt, machines.get().facts.wishedAt);
  }
}
