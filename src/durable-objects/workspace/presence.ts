import { pushUrlPolicy } from "../../config.ts";
import type { Access } from "../../domain/access.ts";
import { microsToTimestamp } from "../../domain/activity.ts";
import type { HubEvent } from "../../domain/hub-event.ts";
import { Refusal } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import { checkPushUrl } from "../../domain/url-guard.ts";
import {
  afterHeartbeat,
  afterRegistration,
  isSignOfLifeDue,
  judgeSilence,
  type Transition,
} from "../../domain/workspace-status.ts";
import { log } from "../../log.ts";
import { tellsMachineUrls } from "../../provisioners/backend.ts";
import type { Core } from "./core.ts";
import { deliveryModeOf } from "./profile-store.ts";
import type { MintedToken } from "./token-store.ts";

/** WORKSPACE_HEARTBEAT and TASK_UPDATED go out at most this often. */
const ONCE_EVENTS_EVERY_MS = 10_000;
/** A start time that moved less than this is the same start, reported a little late. */
const START_TOLERANCE_MS = 5_000;
const SPEND_MAX_CENTS = 1e12;
/** A machine that claims to run for longer, or to have started in the future, has no clock. */
const UPTIME_MAX_S = 100 * 366 * 24 * 60 * 60;

/** What an agent says of itself when it registers. `agentCard` is JSON text. */
export interface RegistrationInput {
  readonly url: string;
  readonly agentCard: string;
  readonly deliveryMode: "push" | "poll" | null;
}

/** The wire's answer to a registration; `minted` when the token that came along was taken. */
export interface Registered {
  readonly deliveryMode: "push" | "poll";
  readonly minted: boolean;
  readonly inboundSecret: string;
}

export interface HeartbeatInput {
  readonly errorRate: number;
  readonly sampleError: string;
  readonly activeTasks: number;
  readonly uptimeSeconds: number;
  readonly currentTask: string;
  readonly monthlySpend: number;
  readonly runtimeState: string;
  readonly capabilities: Readonly<Record<string, boolean>>;
}

/** Registration, heartbeats, the agent's card, and what silence makes of a workspace. */
export class Presence {
  readonly #core: Core;
  /** Whether the agent itself holds a poll or socket open. */
  readonly #connected: () => boolean;
  #taskUntold = false;
  #taskToldAt = 0;
  #beatToldAt = 0;

  constructor(core: Core, connected: () => boolean) {
    this.#core = core;
    this.#connected = connected;
  }

  /**
   * The registry rule: a workspace with a live token needs that token. Without one it is the start of a machine that
   * the platform runs, or the repetition of a registration whose answer was lost.
   */
  register(
    access: Access | null,
    input: RegistrationInput,
    minted: MintedToken,
    fingerprint: string,
    now: number,
  ): Registered {
    const { profile } = this.#core;
    const nowUs = now * 1000;
    const before = profile.get();
    if (before.removedAt !== null) throw new Refusal("workspace.removed", { details: { id: before.workspaceId } });
    const mint = this.#mayMint(access, fingerprint, nowUs);
    const deliveryMode = input.deliveryMode ?? before.deliveryMode;
    const found = this.#machineUrl();
    const url = found === undefined ? input.url || null : found;
    const mode = deliveryModeOf({ deliveryMode, url: url ?? before.url, runtime: before.runtime });
    if (mode === "push" && found === undefined) this.#checkUrl(input.url);
    if (mint) this.#mint(minted, fingerprint, nowUs);
    profile.set({ deliveryMode, url, agentCard: input.agentCard });
    this.#apply(afterRegistration(before.status, { url, agentCard: input.agentCard, deliveryMode: mode }), now);
    profile.set({ lastSeen: now, absentSince: null, sampleError: "" });
    log.info("workspace.registered", { workspace_id: before.workspaceId, delivery_mode: mode, minted: mint });
    return { deliveryMode: mode, minted: mint, inboundSecret: profile.get().inboundSecret };
  }

  /** One beat; the events to send once are returned, those to record are recorded. */
  heartbeat(input: HeartbeatInput, now: number): { inboundSecret: string; once: HubEvent[] } {
    const { profile } = this.#core;
    const before = profile.get();
    const startedAt = now - Math.min(Math.max(input.uptimeSeconds, 0), UPTIME_MAX_S) * 1000;
    const sameStart = before.startedAt !== null && Math.abs(before.startedAt - startedAt) < START_TOLERANCE_MS;
    const transition = afterHeartbeat(before.status, input, before.capabilities.status_mgmt === true);
    const taskChanged = before.currentTask !== input.currentTask;
    profile.set({
      errorRate: input.errorRate,
      // A failed one stays so, and goes on saying why.
      sampleError: before.status === "failed" ? before.sampleError : input.sampleError,
      activeTasks: input.activeTasks,
      currentTask: input.currentTask,
      runtimeState: input.runtimeState,
      capabilities: input.capabilities,
      ...(sameStart ? {} : { startedAt }),
      ...(input.monthlySpend > 0 ? { monthlySpend: Math.min(input.monthlySpend, SPEND_MAX_CENTS) } : {}),
    });
    this.#apply(transition, now);
    this.contact(now);
    return { inboundSecret: before.inboundSecret, once: this.#onceEvents(taskChanged, input, now) };
  }

  updateCard(agentCard: string, now: number): void {
    const { profile, events } = this.#core;
    profile.set({ agentCard });
    events.record("AGENT_CARD_UPDATED", `{"agent_card":${agentCard}}`, now * 1000);
    this.contact(now);
  }

  /** A call with the workspace's own token: a sign of life, stored when the stored one is old. */
  contact(now: number): void {
    const { profile, config } = this.#core;
    const { lastSeen, absentSince, status, agentCard } = profile.get();
    if (absentSince !== null || isSignOfLifeDue(lastSeen, now, config.REMOTE_LIVENESS_STALE_AFTER * 1000)) {
      profile.set({ lastSeen: now, absentSince: null });
    }
    // A registered agent that polls without ever sending heartbeats is as alive as one that does.
    if ((status === "offline" || status === "awaiting_agent") && agentCard !== null) {
      this.#apply(afterHeartbeat(status, { errorRate: 0, sampleError: "", runtimeState: "" }, false), now);
      profile.set({ lastSeen: now });
    }
  }

  /** Now, where a look would find something to note; else when silence would have lasted long enough. */
  dueAt(now: number): number | null {
    const { status, absentSince } = this.#core.profile.get();
    const silence = this.#judge(now);
    return silence.status !== status || silence.absentSince !== absentSince ? now : silence.nextLookAt;
  }

  run(now: number): void {
    const { profile } = this.#core;
    const silence = this.#judge(now);
    profile.set({ absentSince: silence.absentSince });
    this.#apply(silence, now);
  }

  #judge(now: number) {
    const { profile, config } = this.#core;
    const { status, runtime, lastSeen, createdAt, absentSince } = profile.get();
    return judgeSilence(
      { status, external: isExternal(runtime), lastSeen: lastSeen ?? createdAt, absentSince },
      this.#connected(),
      now,
      config.REMOTE_LIVENESS_STALE_AFTER * 1000,
    );
  }

  #mint(minted: MintedToken, fingerprint: string, nowUs: number): void {
    const { tokens, events } = this.#core;
    const id = tokens.add(minted, nowUs, fingerprint);
    events.record("WORKSPACE_TOKEN_CREATED", JSON.stringify({ token_id: id, prefix: minted.prefix }), nowUs);
  }

  #mayMint(access: Access | null, fingerprint: string, nowUs: number): boolean {
    const { tokens } = this.#core;
    if (access?.kind === "token") {
      tokens.verify(access, nowUs);
      return false;
    }
    if (access !== null) throw new Refusal("auth.invalid_token");
    if (tokens.revokeLostAnswer(fingerprint, nowUs)) return true;
    if (!tokens.hasLive() && this.#isMachineAwaited()) return true;
    throw new Refusal("auth.missing_token");
  }

  /** Whether the registration may be the first of a machine that the platform has started. */
  #isMachineAwaited(): boolean {
    const { profile, machines } = this.#core;
    const { runtime, status } = profile.get();
    if (isExternal(runtime) || (status !== "provisioning" && status !== "failed")) return false;
    const { wish, machines: known } = machines.get();
    if (wish.number === 0) return status === "provisioning";
    return wish.machine === "running" && known.some((machine) => machine.wish === wish.number && !machine.stopping);
  }

  /**
   * Where the backend lets the agent be called, whatever the agent calls itself: it knows itself by a name of its own
   * network. Null while that is not known yet, undefined where the agent has to say it.
   */
  #machineUrl(): string | null | undefined {
    const { machines, profile, config } = this.#core;
    if (isExternal(profile.get().runtime)) return undefined;
    const serving = machines.serving();
    if (serving !== null) return serving.url ?? undefined;
    const { wish } = machines.get();
    return tellsMachineUrls(config) && wish.machine === "running" ? null : undefined;
  }

  #checkUrl(url: string): void {
    const { config } = this.#core;
    const check = checkPushUrl(url, pushUrlPolicy(config));
    if (!check.ok) throw check.refusal;
  }

  #apply({ status, events }: Transition, now: number): void {
    const { profile, events: store } = this.#core;
    const before = profile.get().status;
    if (status !== before) {
      profile.set({ status });
      log.info("workspace.status_changed", { workspace_id: profile.get().workspaceId, from: before, to: status });
    }
    for (const { event, payload } of events) store.record(event, payload, now * 1000);
  }

  /** Each kind at most once in so long; a task that changed meanwhile is told by the next beat. */
  #onceEvents(taskChanged: boolean, input: HeartbeatInput, now: number): HubEvent[] {
    this.#taskUntold ||= taskChanged;
    const timestamp = microsToTimestamp(now * 1000);
    const { activeTasks, currentTask, uptimeSeconds } = input;
    const events: HubEvent[] = [];
    const once = (event: string, payload: object) =>
      events.push({ version: null, event, payload: JSON.stringify(payload), timestamp });
    if (this.#taskUntold && now - this.#taskToldAt >= ONCE_EVENTS_EVERY_MS) {
      once("TASK_UPDATED", { current_task: currentTask, active_tasks: activeTasks });
      this.#taskUntold = false;
      this.#taskToldAt = now;
    }
    if (now - this.#beatToldAt >= ONCE_EVENTS_EVERY_MS) {
      once("WORKSPACE_HEARTBEAT", { active_tasks: activeTasks, uptime_seconds: uptimeSeconds });
      this.#beatToldAt = now;
    }
    return events;
  }
}
