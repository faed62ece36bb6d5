import { microsToTimestamp } from "../../domain/activity.ts";
import { BOARD_CARD_BYTES_MAX, type BoardEntry } from "../../domain/board.ts";
import { eventsOfRow, type HubEvent } from "../../domain/hub-event.ts";
import { isUnsettled } from "../../domain/lifecycle.ts";
import { log } from "../../log.ts";
import type { Clock } from "../shared/alarm.ts";
import type { Core } from "./core.ts";
import { deliveryModeOf, type Profile } from "./profile-store.ts";

/** Task, counts, error rate and spend reach the board at most this often. */
export const RIDE_ALONG_MS = 15_000;
/** When the directory has a workspace looked after whose machines are not settled. */
export const LIFECYCLE_NET_MS = 60_000;
const RETRY_MS = 5_000;
const HUB_BATCH = 100;
/** Tellings of the hub begin at least this far apart: a burst goes out in few calls instead of one for each row. */
const HUB_PACE_MS = 50;
/** A batch is cut here, far below what a call between objects may carry. */
const HUB_BATCH_CHARS_MAX = 4 * 1024 * 1024;
const URGENT_FIELDS = ["status", "url", "deliveryMode", "agentCard", "sampleError"] as const;
const RIDE_ALONG_FIELDS = [
  "activeTasks",
  "currentTask",
  "errorRate",
  "startedAt",
  "monthlySpend",
  "lastOutboundAt",
  "counters",
] as const;

/** Where a workspace tells what happened: the directory's board and the hub. */
export interface Receivers {
  board(workspaceId: string, entry: BoardEntry): Promise<void>;
  publish(message: { workspaceId: string; path: readonly string[]; events: HubEvent[] }): Promise<void>;
}

/** Tells the board: what people see at once, the rest when it rides along. */
export class BoardTelling implements Clock {
  readonly name = "board";
  readonly #core: Core;
  readonly #receivers: Receivers;
  #retryAt = 0;
  #running: Promise<void> | null = null;

  constructor(core: Core, receivers: Receivers) {
    this.#core = core;
    this.#receivers = receivers;
  }

  /**
   * Called at the end of a turn, with the profile as it was before: commits when the directory has to hear of it.
   * True when it has to hear now.
   */
  note(before: Profile | null, now: number): boolean {
    const { profile } = this.#core;
    const after = profile.get();
    const changed = (fields: readonly (keyof Profile)[]) =>
      !before || fields.some((field) => before[field] !== after[field]);
    const urgent = changed(URGENT_FIELDS);
    if (!urgent && !changed(RIDE_ALONG_FIELDS)) return false;
    const boardDue = urgent ? now : (after.boardDue ?? now + RIDE_ALONG_MS);
    profile.set({ boardVersion: after.boardVersion + 1, boardDue });
    return urgent;
  }

  /** Called after a flush: what operators see of it rides along. */
  noteFlush(now: number): void {
    const { profile, flush } = this.#core;
    const { setAside, flushBlocked } = this.#flushFacts;
    if (setAside === flush.setAside().length && flushBlocked === flush.blockedReason) return;
    const { boardVersion, boardDue } = profile.get();
    profile.set({ boardVersion: boardVersion + 1, boardDue: boardDue ?? now + RIDE_ALONG_MS });
    profile.commit();
    this.#flushFacts = { setAside: flush.setAside().length, flushBlocked: flush.blockedReason };
  }

  #flushFacts: { setAside: number; flushBlocked: string | null } = { setAside: 0, flushBlocked: null };

  /** A provisioning workspace, or one whose machines are not settled, is looked after every minute. */
  lifecycleDue(now: number): number | null {
    const { profile, machines } = this.#core;
    const lifecycle = machines.get();
    const isAwaited = profile.get().status === "provisioning" && lifecycle.wish.machine === "running";
    return isAwaited || isUnsettled(lifecycle) ? now + LIFECYCLE_NET_MS : null;
  }

  #entry(now: number): BoardEntry {
    const { flush, delegations } = this.#core;
    const profile = this.#core.profile.get();
    const large = profile.agentCard !== null && profile.agentCard.length > BOARD_CARD_BYTES_MAX;
    return {
      version: profile.boardVersion,
      status: profile.status,
      url: profile.url,
      deliveryMode: deliveryModeOf(profile),
      agentCard: large ? null : profile.agentCard,
      cardInObject: large,
      activeTasks: profile.activeTasks,
      currentTask: profile.currentTask,
      errorRate: profile.errorRate,
      sampleError: profile.sampleError,
      startedAt: profile.startedAt,
      monthlySpend: profile.monthlySpend,
      lastOutboundAt: profile.lastOutboundAt,
      setAside: flush.setAside().length,
      flushBlocked: flush.blockedReason,
      openDelegations: delegations.countOpen(),
      counters: profile.counters,
      lifecycleDue: this.lifecycleDue(now),
    };
  }

  get isTold(): boolean {
    return this.#core.profile.get().boardDue === null;
  }

  dueAt(): number | null {
    const due = this.#core.profile.get().boardDue;
    return due === null ? null : Math.max(due, this.#retryAt);
  }

  /** Tells the board what stands now; a change while it is told is told after it. */
  run(now: number): Promise<void> {
    this.#running ??= this.#tell(now).finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #tell(now: number): Promise<void> {
    const { profile } = this.#core;
    const entry = this.#entry(now);
    try {
      await this.#receivers.board(profile.get().workspaceId, entry);
    } catch (error) {
      this.#retryAt = now + RETRY_MS;
      log.warn("board.not_told", { workspace_id: profile.get().workspaceId, reason: String(error).slice(0, 120) });
      return;
    }
    if (profile.get().boardVersion === entry.version) profile.set({ boardDue: null });
    profile.commit();
  }
}

/** The hub as a second reader of the versioned rows, with its own watermark; and what is sent to it only once. */
export class HubTelling implements Clock {
  readonly name = "hub";
  readonly #core: Core;
  readonly #receivers: Receivers;
  /** Undefined until the rows have been looked at: a crash may have come between a commit and its telling. */
  #retryAt: number | null | undefined;
  #failures = 0;
  #startedAt = 0;
  #running: Promise<void> | null = null;

  constructor(core: Core, receivers: Receivers) {
    this.#core = core;
    this.#receivers = receivers;
  }

  get isTold(): boolean {
    return this.#next() === null;
  }

  dueAt(now: number): number | null {
    if (this.#retryAt === undefined) this.#retryAt = this.#next() === null ? null : now;
    return this.#retryAt;
  }

  /** Tells the hub all that it has not heard; `once` is lost when the hub cannot be reached. */
  async run(now: number, once: HubEvent[] = []): Promise<void> {
    if (once.length > 0) await this.#publish(once).catch(() => undefined);
    this.#running ??= this.#tellAll(now).finally(() => {
      this.#running = null;
    });
    await this.#running;
  }

  async #tellAll(now: number): Promise<void> {
    while (this.#next()) {
      // A clock that was moved back must not make anybody wait longer.
      const wait = Math.min(this.#startedAt + HUB_PACE_MS - Date.now(), HUB_PACE_MS);
      if (wait > 0) await scheduler.wait(wait);
      this.#startedAt = Date.now();
      const batch = this.#next();
      if (!batch) break;
      try {
        await this.#publish(batch.events);
      } catch {
        this.#failures += 1;
        this.#retryAt = now + Math.min(RETRY_MS * this.#failures, 60_000);
        return;
      }
      const { profile } = this.#core;
      if (profile.get().hubThrough < batch.through) profile.set({ hubThrough: batch.through });
      profile.commit();
    }
    this.#failures = 0;
    this.#retryAt = null;
  }

  #next(): { events: HubEvent[]; through: number } | null {
    const { profile, inbox, events } = this.#core;
    const { hubThrough, name } = profile.get();
    const { rows, through: rowsThrough } = inbox.unbroadcast(hubThrough, HUB_BATCH);
    const { recorded, through: eventsThrough } = events.after(hubThrough, HUB_BATCH);
    // Cut where both lists are still complete, so that nothing between them is skipped.
    const complete = Math.min(rowsThrough, eventsThrough);
    const waiting = [
      ...rows.filter((row) => row.version <= complete).flatMap((row) => eventsOfRow(row, name)),
      ...recorded
        .filter((event) => event.version <= complete)
        .map((event) => ({
          version: event.version,
          event: event.event,
          payload: event.payload,
          timestamp: microsToTimestamp(event.createdAt),
        })),
    ].sort((a, b) => (a.version ?? 0) - (b.version ?? 0));
    const told = oneBatch(waiting);
    const through = told.at(-1)?.version ?? null;
    return through === null ? null : { events: told, through };
  }

  #publish(events: HubEvent[]): Promise<void> {
    const { workspaceId, path } = this.#core.profile.get();
    return this.#receivers.publish({ workspaceId, path, events });
  }
}

/** The first events up to the size of a batch; those of one version stay together. */
function oneBatch(events: HubEvent[]): HubEvent[] {
  let size = 0;
  let last: number | null = null;
  const end = events.findIndex(({ version, payload }) => {
    if (size >= HUB_BATCH_CHARS_MAX && version !== last) return true;
    size += payload.length;
    last = version;
    return false;
  });
  return end < 0 ? events : events.slice(0, end);
}
