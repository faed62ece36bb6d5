import type { OpenDelegation } from "../../domain/delegation.ts";
import type { Received } from "../../domain/delegation-received.ts";
import { Refusal } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import type { RebuildSeed } from "../../domain/workspace-seed.ts";
import type { WorkspaceStatus } from "../../domain/workspace-status.ts";
import type { ActivityEntry, FileEntry, QueueEntry, TokenEntry } from "../../ledgers/rebuild-source.ts";
import { log } from "../../log.ts";
import { EPOCH_SPAN } from "../shared/flush.ts";
import type { Schema, StepBookmark } from "../shared/schema.ts";
import type { Core } from "./core.ts";
import type { StoredMachine } from "./machine-store.ts";
import { newProfile } from "./new-profile.ts";
import type { Profile } from "./profile-store.ts";
import type { Push } from "./push.ts";
import { restoreActivity, restoreEndedItem, restoreFile, restoreRevokedToken } from "./restored-rows.ts";
import type { MintedToken } from "./token-store.ts";

const RESTORE_EXPECTED = "restore_expected";

/** How an object stands that an operator thinks of rebuilding. */
export interface Standing {
  /** `empty`: it is nobody; `unfinished`: a rebuild of it was broken off. */
  readonly state: "empty" | "unfinished" | "alive";
  readonly epoch: number;
  /** Changes that the ledger does not have, and that a rebuild from it therefore loses. */
  readonly unflushed: number;
  /** Where its history can be taken back to: before each step of its schema. */
  readonly bookmarks: readonly StepBookmark[];
}

/** What comes back in one call; every part may come twice. */
export interface RebuildPart {
  readonly activity?: readonly ActivityEntry[];
  readonly files?: readonly FileEntry[];
  readonly tokens?: readonly TokenEntry[];
  readonly queue?: readonly QueueEntry[];
  readonly received?: readonly Received[];
  readonly delegations?: readonly RestoredDelegation[];
}

export interface RestoredDelegation {
  readonly delegation: OpenDelegation;
  readonly task: string;
  /** Where the row that stands for the current attempt is in the feed; null where it is gone. */
  readonly sentSeq: number | null;
}

/** Who brings an object back, why, and what the log should say came back. */
export interface RebuildOrder {
  readonly epoch: number;
  readonly actor: string;
  readonly reason: string | null;
  readonly from: "ledger" | "bookmark";
  readonly counts: Readonly<Record<"activity" | "delegations" | "files", number>>;
  /** The one token that is good afterwards; null where an agent gets its token with its start. */
  readonly minted: MintedToken | null;
}

/**
 * Makes a workspace's object anew from what directory and ledger know, or lets one that was taken back in time go on
 * under a new epoch. Until the last step the object counts as absent, so that nobody meets half of it.
 */
export class Rebuild {
  readonly #storage: DurableObjectStorage;
  readonly #schema: Schema;
  readonly #core: Core;
  readonly #push: Push;

  constructor(storage: DurableObjectStorage, schema: Schema, core: Core, push: Push) {
    this.#storage = storage;
    this.#schema = schema;
    this.#core = core;
    this.#push = push;
  }

  standing(): Standing {
    const { hasTables, isUnfinished } = this.#schema;
    if (!hasTables) return { state: "empty", epoch: 0, unflushed: 0, bookmarks: [] };
    const { profile, flush } = this.#core;
    const unflushed = isUnfinished ? 0 : flush.status().lag_versions;
    const state = isUnfinished ? "unfinished" : "alive";
    return { state, epoch: profile.get().epoch, unflushed, bookmarks: this.#schema.bookmarks() };
  }

  /** Forgets all that is stored; memory must go too, so the caller ends the object after it. */
  async clear(epoch: number): Promise<void> {
    if (this.standing().epoch >= epoch) throw superseded(this.standing().epoch);
    await this.#storage.deleteAlarm();
    await this.#storage.deleteAll();
    await this.#storage.sync();
  }

  /** Makes the tables. Everything that the old epochs gave out counts as known to the ledger. */
  begin(seed: RebuildSeed, inboundSecret: string): void {
    if (this.#schema.hasTables) throw superseded(this.standing().epoch);
    const { epoch, boardVersion, monthlySpend, lastOutboundAt, counters, sampleError, platformUrl, ...facts } = seed;
    const now = Date.now();
    this.#inTransaction(() => {
      this.#schema.prepare();
      this.#core.profile.insert({
        ...newProfile({ ...facts, inboundSecret }),
        epoch,
        boardVersion,
        boardDue: now,
        sampleError: reasonOf(seed.status, sampleError),
        markVersion: seed.treeVersion,
        hubThrough: epoch * EPOCH_SPAN,
        monthlySpend,
        lastOutboundAt,
        counters,
      });
      this.#storage.sql.exec(
        "INSERT INTO flush_state (id, flushed_through, version_floor, failures) VALUES (0, ?1, ?1, 0)",
        epoch * EPOCH_SPAN,
      );
      if (!isExternal(seed.runtime)) this.#forgetMachines(epoch, platformUrl, now);
    });
  }

  /** Takes in a part of what is known. */
  take(epoch: number, part: RebuildPart, now: number): void {
    this.#requireUnfinished(epoch);
    this.#inTransaction(() => {
      const { sql } = this.#storage;
      const { profile, flush, ids } = this.#parts();
      const { workspaceId } = profile.get();
      for (const row of part.activity ?? []) restoreActivity(sql, workspaceId, row);
      for (const row of part.files ?? []) restoreFile(sql, ids("file", row.file_id), row);
      for (const row of part.tokens ?? [])
        restoreRevokedToken(sql, ids("token", row.id), flush.nextVersion(), row, now);
      for (const row of part.queue ?? []) restoreEndedItem(sql, ids("queue", row.id), flush.nextVersion(), row, now);
      for (const received of part.received ?? [])
        this.#core.received.put({ received, activitySeq: this.#mailOf(received) });
      for (const restored of part.delegations ?? []) this.#restoreDelegation(restored, now);
    });
    this.#core.forget();
  }

  /** Throws a Refusal where the runtime keeps no history, or none that reaches so far. */
  async bookmarkAt(at: number): Promise<string> {
    try {
      return await this.#storage.getBookmarkForTime(at);
    } catch {
      throw new Refusal("rebuild.no_bookmark");
    }
  }

  /** Notes in the present storage that it is to go; the one that it is taken back to has no such note. */
  expectRestore(): void {
    this.#storage.kv.put(RESTORE_EXPECTED, true);
  }

  /** Whether the storage is still the one that was to go; forgets that it was. */
  takeExpectation(): boolean {
    return this.#storage.kv.delete(RESTORE_EXPECTED);
  }

  /** The storage as it was, from the object's next life on. */
  async restoreNext(bookmark: string): Promise<void> {
    try {
      await this.#storage.onNextSessionRestoreBookmark(bookmark);
    } catch {
      throw new Refusal("rebuild.no_bookmark");
    }
  }

  /** The last step of a rebuild, inside a turn: from now on the object is there. */
  finish(order: RebuildOrder, now: number): void {
    this.#requireUnfinished(order.epoch);
    this.#tell(order, now);
    this.#schema.finish();
  }

  /** What stands in the rows of another time says nothing of the machine that runs: it is stopped, whichever it is. */
  #forgetMachines(epoch: number, platformUrl: string | undefined, now: number): void {
    const { machines } = this.#core;
    const { wish, facts, machines: known } = machines.get();
    for (const { start } of known) machines.drop(start);
    machines.put(forgottenMachine(epoch));
    const present = { ...facts, wishedAt: now, platformUrl: platformUrl ?? facts.platformUrl };
    machines.wish({ number: wish.number + 1, machine: "stopped", served: true }, present);
  }

  /**
   * Lets an object that was taken back in time go on, inside a turn: under the new epoch, at its present place in the
   * tree, without the tokens and the calls of that time.
   */
  adopt(seed: RebuildSeed, order: RebuildOrder, now: number): void {
    const { profile, tokens, calls } = this.#core;
    const { name, role, tier, runtime, path, treeVersion, budgetLimit, maxConcurrentTasks, status } = seed;
    const { boardVersion, epoch, platformUrl, workspaceDir = null, workspaceAccess = "none" } = seed;
    const sampleError = reasonOf(status, seed.sampleError || profile.get().sampleError);
    if (profile.get().epoch >= epoch) throw superseded(profile.get().epoch);
    const placement = { name, role, tier, runtime, path, treeVersion, markVersion: treeVersion };
    const mount = { workspaceDir, workspaceAccess };
    const present: Partial<Profile> = { ...placement, ...mount, budgetLimit, maxConcurrentTasks, status, sampleError };
    profile.set({ ...present, epoch, boardVersion, boardDue: now });
    tokens.revokeAll(now * 1000);
    for (const call of calls.all()) this.#push.lost(call, now);
    if (!isExternal(runtime)) this.#forgetMachines(epoch, platformUrl, now);
    this.#tell(order, now);
  }

  #tell({ epoch, actor, reason, from, counts, minted }: RebuildOrder, now: number): void {
    const { profile, tokens, events, audit } = this.#core;
    const { workspaceId } = profile.get();
    if (minted) tokens.add(minted, now * 1000);
    events.record("WORKSPACE_REBUILT", JSON.stringify({ epoch, from, ...counts }), now * 1000);
    const detail = JSON.stringify({ epoch, from, ...counts });
    audit.add({ actor, action: "workspace.rebuild", subject: workspaceId, reason, detail }, now * 1000);
    log.info("workspace.rebuilt", { workspace_id: workspaceId, epoch, from, by: actor, ...counts });
  }

  #restoreDelegation({ delegation, task, sentSeq }: RestoredDelegation, now: number): void {
    const { delegations } = this.#core;
    if (delegations.find(delegation.delegationId) !== null) return;
    const slots = sentSeq === null ? {} : { [delegation.current.attemptId]: { sent: sentSeq } };
    // Due at once: its own judge sets the clock, and hands over what is queued.
    delegations.put({ seq: null, delegation, task, slots, dueAt: now });
  }

  /** The row of the inbox that holds a task. */
  #mailOf({ attemptId, callerId }: Received): number | null {
    const [row] = this.#storage.sql
      .exec<{ seq: number }>(
        "SELECT seq FROM activity WHERE message_id = ? AND source_id = ? AND own = 0 ORDER BY seq LIMIT 1",
        attemptId,
        callerId,
      )
      .toArray();
    return row?.seq ?? null;
  }

  #parts() {
    const { profile, flush } = this.#core;
    const ids = (domain: "file" | "queue" | "token", id: string) => {
      const seq = this.#core.ids(domain).seqOf(id);
      // Ids are made under CURSOR_KEY: another key would give every row another name.
      if (seq === null) throw new Refusal("rebuild.foreign_ids");
      return seq;
    };
    return { profile, flush, ids };
  }

  #requireUnfinished(epoch: number): void {
    const standing = this.standing();
    if (standing.state !== "unfinished" || standing.epoch !== epoch) throw superseded(standing.epoch);
  }

  #inTransaction(work: () => void): void {
    try {
      this.#storage.transactionSync(work);
    } catch (error) {
      this.#core.forget();
      throw error;
    }
  }
}

/** Whatever runs for a workspace whose token is no longer good; nobody wishes it, so it is stopped. */
function forgottenMachine(epoch: number): StoredMachine {
  const nothing = {
    instanceId: null,
    stopping: false,
    stopFailures: 0,
    nextAt: 0,
    operation: 0,
    handedAt: 0,
    url: null,
  };
  return { ...nothing, start: epoch * EPOCH_SPAN, wish: 0, state: "unknown" };
}

/** The directory of an earlier release does not tell why a workspace failed. */
function reasonOf(status: WorkspaceStatus, known = ""): string {
  return known === "" && status === "failed" ? "the reason was not kept" : known;
}

function superseded(epoch: number): Refusal {
  return new Refusal("rebuild.superseded", { details: { epoch } });
}
