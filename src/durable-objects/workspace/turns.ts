import type { Access } from "../../domain/access.ts";
import type { HubEvent } from "../../domain/hub-event.ts";
import { type RateState, RateWindow } from "../../domain/rate-limit.ts";
import { Refusal, type RefusalCode, settle } from "../../domain/refusal.ts";
import { AlarmScheduler, type Clock } from "../shared/alarm.ts";
import { FlushPace } from "../shared/flush-pace.ts";
import type { Reply } from "../shared/reply.ts";
import type { Schema } from "../shared/schema.ts";
import type { Core } from "./core.ts";
import type { Delegations } from "./delegations.ts";
import type { Listeners } from "./listeners.ts";
import type { Presence } from "./presence.ts";
import { BoardTelling, HubTelling, type Receivers } from "./telling.ts";

/** How long an answer waits for the directory to show a changed status. */
const BOARD_WAIT_MS = 1_000;
/** Rate windows kept in memory; the least recently made goes first. */
const RATE_WINDOWS_MAX = 100;

/** What the work of one turn finds: its time, and what the hub is told after the commit, once. */
export interface Turn {
  readonly now: number;
  readonly once: HubEvent[];
}

/** What a turn answers for a workspace that nobody created: a value, or a refusal of its own. */
export interface TurnOptions<T> {
  readonly absent?: () => T;
  readonly unknown?: RefusalCode;
  /** The token's owner did nothing itself: no sign of life, and no limit counts it. */
  readonly passive?: boolean;
}

/** What a turn leaves to be told to one other object each, right after its commit; alarms repeat what fails. */
export interface Errands {
  readonly hasFresh: boolean;
  tellFresh(now: number): Promise<void>;
  /** After a turn that was rolled back. */
  forget(): void;
}

interface Parts {
  readonly schema: Schema;
  readonly core: Core;
  readonly presence: Presence;
  readonly listeners: Listeners;
  readonly delegations: Delegations;
  readonly errands: readonly Errands[];
  readonly receivers: Receivers;
  /** Goes on when there are no tables any more. */
  readonly purge: Clock;
  /** What time brings about beside presence, flush, board and hub. */
  readonly clocks: readonly Clock[];
}

/**
 * The one way in which a workspace changes: verify, decide, commit, and only then tell others. The alarm goes the
 * same way.
 */
export class Turns {
  readonly #ctx: DurableObjectState;
  readonly #parts: Parts;
  readonly #board: BoardTelling;
  readonly #hub: HubTelling;
  readonly #pace: FlushPace;
  readonly #rates = new Map<string, RateWindow>();
  #alarm: AlarmScheduler;

  constructor(ctx: DurableObjectState, parts: Parts) {
    this.#ctx = ctx;
    this.#parts = parts;
    this.#board = new BoardTelling(parts.core, parts.receivers);
    this.#hub = new HubTelling(parts.core, parts.receivers);
    this.#pace = new FlushPace(parts.core.flush);
    this.#alarm = this.#scheduler(null);
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarm = this.#scheduler(await ctx.storage.getAlarm());
    });
  }

  /** One turn: everything that `work` decides is committed before anything else happens, or nothing is. */
  async take<T>(access: Access | null, work: (turn: Turn) => T, options: TurnOptions<T> = {}): Promise<Reply<T>> {
    const { schema, core } = this.#parts;
    const turn: Turn = { now: Date.now(), once: [] };
    let rate: RateState | null = null;
    let urgent = false;
    const outcome = await settle(() => {
      if (schema.state === "ahead") throw new Refusal("schema.ahead", { retryAfter: 10 });
      const purge = core.purge.get();
      if (purge !== null && (access !== null || schema.state === "absent")) {
        return ofPurged(purge.workspaceId, access, options);
      }
      if (schema.state === "absent") return ofNobody(access, options);
      this.#judge(turn.now);
      const committed = this.#commit(turn.now, () => {
        if (access) core.tokens.verify(access, turn.now * 1000);
        if (options.passive) return work(turn);
        rate = this.#takeRate(access, turn.now);
        requireRate(rate);
        if (access?.kind === "token") this.#parts.presence.contact(turn.now);
        return work(turn);
      });
      urgent = committed.urgent;
      return committed.value;
    });
    if (schema.state !== "ready") return { outcome, rate };
    await this.#afterCommit(turn, urgent);
    return { outcome, rate };
  }

  /** What the platform itself does to a workspace that exists. */
  async apply(work: (now: number) => void): Promise<void> {
    const now = Date.now();
    const { urgent } = this.#commit(now, () => work(now));
    await this.#afterCommit({ now, once: [] }, urgent);
  }

  /** Runs what is due. Never throws. */
  async alarm(): Promise<void> {
    const now = Date.now();
    await this.#alarm.run(now);
    if (this.#parts.schema.state !== "ready") return;
    // What the clocks wrote may have been flushed meanwhile: clean is not told.
    await this.#afterCommit({ now, once: [] }, false, true);
  }

  /** Tells hub and board what they have not heard. */
  async tellOthers(now: number): Promise<void> {
    await Promise.all([this.#board.run(now), this.#hub.run(now)]);
  }

  get hasToldOthers(): boolean {
    return this.#board.isTold && this.#hub.isTold;
  }

  /** When the directory should have its machines looked after. */
  lifecycleDue(now: number): number | null {
    return this.#board.lifecycleDue(now);
  }

  /** Looks whether the alarm still stands right, after something that is no turn. */
  rearm(): void {
    this.#alarm.arm(Date.now());
  }

  /** Any contact brings about what time has, in a commit of its own, so that a refused contact does so too. */
  #judge(now: number): void {
    const { delegations } = this.#parts;
    if (delegations.isDue(now)) this.#commit(now, () => delegations.judgeDue(now));
  }

  #forget(): void {
    this.#parts.core.forget();
    for (const errand of this.#parts.errands) errand.forget();
  }

  #commit<T>(now: number, work: () => T): { value: T; urgent: boolean } {
    const { profile } = this.#parts.core;
    const before = profile.get();
    try {
      return this.#ctx.storage.transactionSync(() => {
        const value = work();
        const urgent = this.#board.note(before, now);
        profile.commit();
        return { value, urgent };
      });
    } catch (error) {
      this.#forget();
      throw error;
    }
  }

  #takeRate(access: Access | null, now: number): RateState | null {
    const { config } = this.#parts.core;
    const principal = principalOf(access);
    if (principal === null || config.devMode) return null;
    let window = this.#rates.get(principal);
    if (!window) {
      if (this.#rates.size >= RATE_WINDOWS_MAX) this.#rates.delete(this.#rates.keys().next().value ?? "");
      window = new RateWindow(config.RATE_LIMIT);
      this.#rates.set(principal, window);
    }
    return window.take(now);
  }

  /** Tells others what has been committed. Only a status that people see is waited for, and not for long. */
  async #afterCommit({ now, once }: Turn, urgent: boolean, untold = false): Promise<void> {
    const { core, listeners, errands } = this.#parts;
    if (core.tokens.takeRevoked()) listeners.closeRevoked((digest) => core.tokens.isLive(digest));
    const dirty = core.flush.isDirty();
    if (dirty || untold) listeners.deliver(now);
    if (dirty) this.#ctx.waitUntil(this.#flushAndRearm(now));
    if (dirty || untold || once.length > 0) this.#ctx.waitUntil(this.#tellHubAndRearm(now, once));
    for (const errand of errands) if (errand.hasFresh) this.#ctx.waitUntil(errand.tellFresh(now));
    if (urgent) await Promise.race([this.#board.run(now), scheduler.wait(BOARD_WAIT_MS)]);
    this.#alarm.arm(now);
  }

  async #tellHubAndRearm(now: number, once: HubEvent[]): Promise<void> {
    await this.#hub.run(now, once);
    this.rearm();
  }

  async #flushAndRearm(now: number): Promise<void> {
    await this.#pace.run();
    if (this.#parts.schema.state !== "ready") return;
    this.#board.noteFlush(now);
    this.rearm();
  }

  /** A clock that reads tables has nothing to do once a purge has deleted them. */
  #whileReady(clock: Clock): Clock {
    const dueAt = (now: number) => (this.#parts.schema.state === "ready" ? clock.dueAt(now) : null);
    return { name: clock.name, dueAt, run: (now) => clock.run(now) };
  }

  #scheduler(current: number | null): AlarmScheduler {
    const { core, presence, clocks, purge } = this.#parts;
    const flushing: Clock = {
      name: "flush",
      dueAt: (now) => core.flush.dueAt(now),
      run: (now) => core.flush.run(now),
    };
    const silence: Clock = {
      name: "presence",
      dueAt: (now) => presence.dueAt(now),
      run: (now) => void this.#commit(now, () => presence.run(now)),
    };
    const all = [silence, ...clocks, flushing, this.#board, this.#hub].map((clock) => this.#whileReady(clock));
    return new AlarmScheduler(this.#ctx.storage, [...all, purge], current);
  }
}

/** Whose requests are counted; null for whoever is not limited. */
function principalOf(access: Access | null): string | null {
  if (access?.kind === "token") return access.digest;
  return access?.kind === "organisation" ? access.id : null;
}

/** Nobody has created this workspace: no token is good for it, and the method says what else that means. */
function ofNobody<T>(access: Access | null, { absent, unknown }: TurnOptions<T>): T {
  if (access?.kind === "token") throw new Refusal("auth.invalid_token");
  if (absent) return absent();
  throw new Refusal(unknown ?? "workspace.not_found");
}

/** A purged workspace answers as a removed one does. Whoever reports to it finds nobody to hear it. */
function ofPurged<T>(id: string, access: Access | null, { absent, unknown }: TurnOptions<T>): T {
  if (access?.kind === "token") throw new Refusal("auth.invalid_token");
  if (access === null && absent) return absent();
  throw new Refusal(unknown === "a2a.access_denied" ? unknown : "workspace.removed", { details: { id } });
}

/** The state is kept for the answer's headers whether or not it refuses. */
function requireRate(rate: RateState | null): void {
  if (!rate?.exceeded) return;
  throw new Refusal("request.rate_limited", { details: { retry_after: rate.reset }, retryAfter: rate.reset });
}
