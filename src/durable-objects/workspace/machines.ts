import {
  afterStart,
  afterStop,
  begin,
  bootstrapFailure,
  isLeaving,
  type Lifecycle,
  nextStep,
  stageOf,
  stopsPending,
  timeOutText,
  type Wish,
  wished,
} from "../../domain/lifecycle.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { RestartReason } from "../../domain/restart-context.ts";
import { hostDirectoryOf } from "../../domain/workspace-creation.ts";
import { log } from "../../log.ts";
import { NO_BACKEND } from "../../provisioners/backend.ts";
import type { MachineJob, MachineReport, StartFacts, StartRequest } from "../machine/job.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import { fail } from "./failed.ts";
import type { StoredMachine, WishFacts } from "./machine-store.ts";
import type { Errands } from "./turns.ts";

/** Wishes are numbered from 1. */
const NO_WISH = 0;
/** What clients learn of a backend that failed; the reason stands in the log. */
const PROVISIONING_FAILED = "provisioning failed";
/** An operation without an outcome is handed over again this often: a hand-over may have been lost. */
const HAND_OVER_AGAIN_MS = 30_000;

export interface MachineSettings {
  readonly hasBackend: boolean;
  /** Whether something of a machine stays until it is cleaned up. */
  readonly keepsVolumes: boolean;
  /** Time from the wish to the registration, by runtime. */
  provisionTimeoutMs(runtime: string): number;
}

/** What a wish for a running machine brings along; files only where they are to be written anew. */
export interface Provision {
  readonly platformUrl: string;
  readonly files: Readonly<Record<string, string>> | null;
  readonly resetSession: boolean;
  /** Left out where it is no restart. */
  readonly because?: RestartReason;
}

/**
 * The workspace's machines: at most one operation runs, and what was wished last is what comes of it. All methods but
 * the clock's run in a turn.
 */
export class Machines implements Clock, Errands {
  readonly name = "machines";
  readonly #core: Core;
  readonly #settings: MachineSettings;
  readonly #handOver: (job: MachineJob) => Promise<void>;
  readonly #apply: (work: (now: number) => void) => Promise<void>;
  #fresh: MachineJob[] = [];

  constructor(
    core: Core,
    settings: MachineSettings,
    handOver: (job: MachineJob) => Promise<void>,
    apply: (work: (now: number) => void) => Promise<void>,
  ) {
    this.#core = core;
    this.#settings = settings;
    this.#handOver = handOver;
    this.#apply = apply;
  }

  /** A machine is wanted, whatever runs now is replaced; the workspace is provisioning until its agent registers. */
  provision(provision: Provision, now: number): void {
    const { profile, events } = this.#core;
    this.#disown(now);
    profile.set({
      status: "provisioning",
      url: null,
      absentSince: null,
      sampleError: "",
      activeTasks: 0,
      currentTask: "",
    });
    const { name, tier, runtime } = profile.get();
    events.record("WORKSPACE_PROVISIONING", JSON.stringify({ name, tier, runtime }), now * 1000);
    this.start(provision, now);
  }

  /** The same for a workspace whose creation has told all of that already. */
  start({ platformUrl, files, resetSession, because }: Provision, now: number): void {
    const { machines, profile } = this.#core;
    const before = machines.get().facts;
    const { lastSeen } = profile.get();
    if (files !== null) machines.putFiles(files);
    const facts = {
      ...before,
      wishedAt: now,
      platformUrl: platformUrl === "" ? before.platformUrl : platformUrl,
      resetSession,
      restarts: because === "asked" ? [] : before.restarts,
      context: because ? { reason: because, restartedAt: now, lastSeen, secretKeys: null } : null,
    };
    this.#wish("running", facts);
    this.#advance(now);
  }

  /** No machine is wanted. Answers how many have to be stopped. */
  stop(now: number): number {
    const { machines } = this.#core;
    const { wish, facts } = machines.get();
    if (wish.machine === "running") {
      this.#disown(now);
      this.#wish("stopped", { ...facts, wishedAt: now });
    }
    this.#advance(now);
    return stopsPending(machines.get());
  }

  /**
   * The workspace is gone for good: whatever a machine of it ever had goes too, hence one more stop where none is still
   * to be decided on and something may be left. Answers how many are to be made.
   */
  remove(now: number): number {
    const { machines, flush } = this.#core;
    const { wish, machines: known } = machines.get();
    if (this.#settings.keepsVolumes && wish.number > 0 && known.every(({ stopping }) => stopping)) {
      machines.put(forgotten(wish, flush.nextVersion(), now));
    }
    return this.stop(now);
  }

  /** A watcher saw the machine's bootstrap fail; false when the workspace is not waiting for one. */
  bootstrapFailed(input: { error: string; logTail: string }, now: number): boolean {
    if (this.#core.profile.get().status !== "provisioning") return false;
    const { error, logTail, text } = bootstrapFailure(input.error, input.logTail);
    fail(this.#core, text, { error, log_tail: logTail, source: "bootstrap_watcher" }, now);
    this.stop(now);
    return true;
  }

  /** The last word before a start is made; null when nobody wants it any more. */
  beginStart({ operation, token }: StartRequest, now: number): StartFacts | null {
    const { machines, profile, tokens, events } = this.#core;
    const { wish, facts, machines: known } = machines.get();
    const machine = known.find((candidate) => candidate.operation === operation);
    const { name, role, path, runtime, tier, workspaceDir, workspaceAccess, removedAt } = profile.get();
    if (machine?.state !== "starting" || machine.wish !== wish.number || removedAt !== null) return null;
    tokens.revokeAll(now * 1000);
    if (token) tokens.add(token, now * 1000);
    // Whoever registered before this machine was started was not its agent.
    if (profile.get().status === "online") {
      profile.set({ status: "provisioning", url: null });
      events.record("WORKSPACE_PROVISIONING", JSON.stringify({ name, tier, runtime }), now * 1000);
    }
    const { platformUrl, resetSession } = facts;
    const files = machines.files();
    const hostDirectory = hostDirectoryOf(workspaceDir, workspaceAccess);
    const parentId = path.at(-2) ?? null;
    return { name, role, parentId, runtime, tier, hostDirectory, platformUrl, files, resetSession };
  }

  /** How an operation ended; one that is not known any more has ended before, or is of no use to anybody. */
  ended({ operation, end }: MachineReport, now: number): void {
    const known = this.#core.machines.get();
    const machine = known.machines.find((candidate) => candidate.operation === operation);
    if (!machine) {
      if (end.kind === "started") this.#stopStray(operation, end.instanceId, now);
      return;
    }
    if (end.kind === "stopped" || end.kind === "not_stopped") {
      this.#write(known, afterStop(known, machine.start, end.kind === "stopped", now), machine);
    } else {
      const { lifecycle, verdict } = afterStart(known, machine.start, end);
      this.#write(known, lifecycle, { ...machine, url: end.kind === "started" ? end.url : null });
      if (verdict === "started" && end.kind === "started") this.#started(end);
      if (verdict === "failed") {
        this.#disown(now);
        this.#failed(PROVISIONING_FAILED, {}, now);
      }
    }
    this.#advance(now);
  }

  /**
   * An operator knows that a machine on its way out is gone, though its backend cannot say so any more. One that is
   * still wanted is refused.
   */
  forgetMachine(instanceId: string | null, by: { actor: string; reason: string | null }, now: number): void {
    const { machines, audit } = this.#core;
    const known = machines.get();
    const meant = known.machines.filter((machine) => machine.instanceId === instanceId);
    if (meant.length === 0) throw new Refusal("machine.not_found");
    if (meant.some((machine) => !isLeaving(machine, known.wish))) throw new Refusal("machine.wanted");
    // Nobody knows yet whether there will be a machine.
    if (meant.some(({ state }) => state === "starting")) throw new Refusal("machine.starting");
    for (const { start } of meant) machines.drop(start);
    const detail = JSON.stringify({ stop_failures: Math.max(...meant.map(({ stopFailures }) => stopFailures)) });
    const subject = instanceId ?? "unknown";
    audit.add({ ...by, action: "machine.forget", subject, detail }, now * 1000);
    log.warn("machine.forgotten", {
      workspace_id: this.#core.profile.get().workspaceId,
      instance_id: instanceId,
      by: by.actor,
    });
    this.#advance(now);
  }

  /** Operations of this turn go out right after its commit. */
  get hasFresh(): boolean {
    return this.#fresh.length > 0;
  }

  async tellFresh(): Promise<void> {
    const fresh = this.#fresh;
    this.#fresh = [];
    await Promise.all(fresh.map((job) => this.#handOver(job).catch((error: unknown) => notHandedOver(job, error))));
  }

  forget(): void {
    this.#fresh = [];
  }

  dueAt(now: number): number | null {
    const { machines } = this.#core;
    const lifecycle = machines.get();
    const open = lifecycle.machines.filter(isOpen).map(({ handedAt }) => handedAt + HAND_OVER_AGAIN_MS);
    const step = nextStep(lifecycle, now);
    const next = step.kind === "wait" ? step.until : now;
    const due = [...open, next, this.#timeOutAt()].filter((at) => at !== null);
    return due.length === 0 ? null : Math.min(...due);
  }

  async run(): Promise<void> {
    await this.#apply((now) => {
      this.#judgeTimeOut(now);
      for (const machine of this.#core.machines.get().machines) {
        if (!isOpen(machine) || machine.handedAt + HAND_OVER_AGAIN_MS > now) continue;
        this.#core.machines.put({ ...machine, handedAt: now });
        this.#fresh.push(this.#jobOf(machine));
      }
      this.#advance(now);
    });
  }

  /** A machine that goes must not be taken for one that comes, or for none. */
  #disown(now: number): void {
    this.#core.tokens.revokeAll(now * 1000);
  }

  #wish(machine: "running" | "stopped", facts: WishFacts): void {
    const { machines } = this.#core;
    machines.wish(wished(machines.get(), machine).wish, facts);
  }

  /** Begins what is next to be done. */
  #advance(now: number): void {
    const { machines } = this.#core;
    const known = machines.get();
    const step = nextStep(known, now);
    if (step.kind === "wait") return;
    if (step.kind === "start" && !this.#settings.hasBackend) {
      this.#failed(NO_BACKEND, {}, now);
      return;
    }
    const operation = this.#core.flush.nextVersion();
    const machine = step.kind === "start" ? begin(known.wish, operation) : { ...step.machine, stopping: true };
    const stored: StoredMachine = { ...machine, operation, handedAt: now, url: null };
    machines.put(stored);
    this.#fresh.push(this.#jobOf(stored));
    log.info(`machine.${step.kind}_wanted`, { workspace_id: this.#core.profile.get().workspaceId, operation });
  }

  #jobOf({ operation, stopping, instanceId }: StoredMachine): MachineJob {
    const { workspaceId, removedAt } = this.#core.profile.get();
    const kind = stopping ? "stop" : "start";
    return { operation, workspaceId, kind, instanceId, forGood: stopping && removedAt !== null };
  }

  /** A machine came of a start that has no row any more: no machine runs without one, so it gets one and is stopped. */
  #stopStray(operation: number, instanceId: string, now: number): void {
    const { machines } = this.#core;
    if (machines.get().machines.some((machine) => machine.instanceId === instanceId)) return;
    const row = begin({ number: NO_WISH, machine: "stopped", served: true }, operation);
    machines.put({ ...row, state: "running", instanceId, operation, handedAt: 0, url: null });
    this.#advance(now);
  }

  #write(before: Lifecycle, after: Lifecycle, touched: StoredMachine): void {
    const { machines } = this.#core;
    const machine = after.machines.find(({ start }) => start === touched.start);
    if (machine) machines.put({ ...touched, ...machine, url: touched.url });
    else machines.drop(touched.start);
    if (after.wish !== before.wish) machines.wish(after.wish, machines.get().facts);
  }

  #started({ url, secretKeys = [] }: Extract<MachineReport["end"], { kind: "started" }>): void {
    const { machines, profile } = this.#core;
    const { wish, facts } = machines.get();
    const context = facts.context && { ...facts.context, secretKeys };
    // A volume has them now, and what its user makes of them there is not written over.
    if (this.#settings.keepsVolumes) machines.putFiles({});
    machines.wish(wish, { ...facts, resetSession: false, context });
    const { status } = profile.get();
    if (url !== null && (status === "provisioning" || status === "online" || status === "degraded"))
      profile.set({ url });
  }

  /** The wish has its verdict; a machine that may come of it yet is stopped. */
  #failed(message: string, extra: Record<string, unknown>, now: number): void {
    const { machines, profile } = this.#core;
    const { wish, facts } = machines.get();
    machines.wish({ ...wish, served: true }, facts);
    if (profile.get().status === "provisioning") fail(this.#core, message, extra, now);
  }

  #timeOutAt(): number | null {
    const { profile, machines } = this.#core;
    const { status, runtime } = profile.get();
    const { wish, facts } = machines.get();
    if (status !== "provisioning" || wish.machine !== "running") return null;
    return facts.wishedAt + this.#settings.provisionTimeoutMs(runtime);
  }

  #judgeTimeOut(now: number): void {
    const at = this.#timeOutAt();
    if (at === null || at > now) return;
    const { profile, machines } = this.#core;
    const { runtime } = profile.get();
    const stage = stageOf(machines.get());
    const timeout_secs = Math.round(this.#settings.provisionTimeoutMs(runtime) / 1000);
    const extra = { timeout_secs, runtime, source: "provision_timeout_sweep", stage };
    this.#failed(timeOutText(stage), extra, now);
    // One that runs may be looked into, and its agent may come yet; anything else is given up.
    if (stage !== "started") this.stop(now);
  }
}

/** A machine that may be there, known by nothing but its workspace. */
function forgotten(wish: Wish, start: number, handedAt: number): StoredMachine {
  return { ...begin(wish, start), state: "unknown", operation: start, handedAt, url: null };
}

function isOpen({ state, stopping }: StoredMachine): boolean {
  return stopping || state === "starting";
}

function notHandedOver({ workspaceId, operation }: MachineJob, error: unknown): void {
  const reason = error instanceof Error ? error.name : "unknown";
  log.warn("machine.not_handed_over", { workspace_id: workspaceId, operation, reason });
}
