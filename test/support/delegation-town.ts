import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { type Attempt, type Delegation, isOpen } from "../../src/domain/delegation.ts";
import { delegationRow } from "../../src/domain/delegation-view.ts";
import type { Slots } from "../../src/durable-objects/workspace/delegation-store.ts";
import type { Workspace } from "../../src/durable-objects/workspace/workspace.ts";
import { PushAgent } from "./agent-server.ts";
import { away, back } from "./ledger.ts";
import { aMessage } from "./platform.ts";
import type { Fate, RoughNetwork } from "./rough-network.ts";

const ACCESS = { kind: "admin" } as const;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const STEPS_MS = [1_000, 8_000, 10 * MINUTE_MS + 1_000, HOUR_MS, 6 * HOUR_MS];
/** Less than the day after which an effect is set aside. */
const ADVANCE_MAX_MS = 18 * HOUR_MS;
const ROUNDS_MAX = 12;
const FATES: readonly Fate[] = ["is lost", "loses its answer", "arrives twice", "arrives"];
const BEHAVIOURS = ["echo", "status/503", "cloudflare/521", "reset", "status/500", "echo"];

type Stored = { readonly delegation: Delegation; readonly slots: Slots };
type FeedRow = { seq: number; method: string; own: number; response_body: string | null };

/** What was said of an attempt and let in. */
interface Said {
  readonly texts: Set<string>;
  failed: boolean;
}

/** What the ledger must hold of a delegation in the end. */
export interface LedgerExpectation {
  readonly caller_id: string;
  readonly delegation_id: string;
  readonly status: string;
  readonly result_preview: string | null;
  readonly error_detail: string | null;
  readonly version: number;
  /** Who is told of in each of its events, and how many of those are ends. */
  readonly target_id: string;
  readonly ends: number;
}

/** The moved clock that all towns share; it never goes back. */
export interface TownClock {
  readonly now: number;
  set(now: number): void;
}

/** Whose objects they are. Removed ones are replaced before the next schedule. */
export class Residents {
  caller = "";
  poller = "";
  pushed = "";
  readonly stranger = crypto.randomUUID();
  readonly player = new PushAgent();

  async settle(now: number): Promise<void> {
    this.caller ||= await settled(null, now);
    this.poller ||= await settled(null, now);
    this.pushed ||= await settled(this.player.url("script"), now);
  }

  /** A schedule that failed leaves nothing to the next. */
  allGone(): void {
    for (const id of [this.caller, this.poller, this.pushed]) this.gone(id);
  }

  gone(id: string): void {
    if (id === this.caller) this.caller = "";
    if (id === this.poller) this.poller = "";
    if (id === this.pushed) this.pushed = "";
  }
}

/**
 * Real objects of a caller, a callee that polls, one that is pushed to and a stranger, on a rough network. Every step
 * is a number that chooses what happens and to whom; in the end time passes, and what does not hold throws.
 */
export class DelegationTown {
  /** How often each kind of thing has happened, over all towns: a model that reaches nothing proves nothing. */
  static readonly happened = new Map<string, number>();

  readonly #network: RoughNetwork;
  readonly #clock: TownClock;
  readonly #residents: Residents;
  readonly #callerId: string;
  readonly #poller: string;
  readonly #pushed: string;
  readonly #caller: Workspace;
  readonly #sql: SqlStorage;
  readonly #ids = new Set<string>();
  readonly #said = new Map<string, Said>();
  readonly #start: number;
  #texts = 0;
  #advanced = 0;
  #isAway = false;
  /** How the pushed agent will behave, until it has been told. */
  #script: string[] = [];

  /** One schedule, told from inside the caller's object, which saves most of the way there. */
  static async live(
    choices: readonly number[],
    residents: Residents,
    network: RoughNetwork,
    clock: TownClock,
  ): Promise<LedgerExpectation[]> {
    await residents.settle(clock.now);
    return runInDurableObject(of(residents.caller), async (caller, { storage }) => {
      const town = new DelegationTown(residents, caller as Workspace, storage.sql, network, clock);
      return town.#live(choices);
    }).catch(async (error) => {
      residents.allGone();
      network.smooth();
      await back();
      throw error;
    });
  }

  private constructor(
    residents: Residents,
    caller: Workspace,
    sql: SqlStorage,
    network: RoughNetwork,
    clock: TownClock,
  ) {
    this.#residents = residents;
    this.#callerId = residents.caller;
    this.#poller = residents.poller;
    this.#pushed = residents.pushed;
    this.#caller = caller;
    this.#sql = sql;
    this.#network = network;
    this.#clock = clock;
    this.#start = clock.now;
  }

  async #live([first = 0, ...rest]: readonly number[]): Promise<LedgerExpectation[]> {
    await this.#begin(first);
    for (const choice of rest) await this.#step(choice);
    return this.#finish();
  }

  async #begin(choice: number): Promise<void> {
    this.#script = [0, 1, 2].map((n) => pick(BEHAVIOURS, (choice >> (3 * n)) % 7));
    await this.#delegate(choice);
    await this.#network.quiet();
  }

  async #step(choice: number): Promise<void> {
    const act = pick(STEPS, choice);
    await act(this, Math.floor(choice / STEPS.length));
    await this.#network.quiet();
  }

  /** Everything arrives, Postgres is back, and every deadline passes. */
  async #finish(): Promise<LedgerExpectation[]> {
    this.#network.smooth();
    if (this.#isAway) await back();
    this.#clock.set(this.#clock.now + 31 * HOUR_MS);
    let left = "";
    for (let round = 0; round < ROUNDS_MAX; round++) {
      await this.#round();
      left = await this.#leftOver();
      if (left === "") break;
      this.#clock.set(this.#clock.now + 10 * MINUTE_MS);
    }
    must(left === "", `left over: ${left}`);
    this.#check();
    return this.#expectations();
  }

  async #round(): Promise<void> {
    const callees = this.#callees();
    await Promise.all([this.#caller.wake(), ...callees.map((id) => of(id).wake())]);
    if (callees.includes(this.#pushed)) await this.makeCalls();
    await this.#network.quiet();
  }

  /** Who has been given something. */
  #callees(): string[] {
    return [...new Set(this.#stored().map(({ delegation }) => delegation.calleeId))];
  }

  deal(choice: number): void {
    this.#network.deal(pick(FATES, choice), pick(FATES, choice >> 2), pick(FATES, choice >> 4));
  }

  advance(choice: number): void {
    const step = pick(STEPS_MS, choice);
    if (this.#advanced + step > ADVANCE_MAX_MS) return;
    this.#advanced += step;
    this.#clock.set(this.#clock.now + step);
  }

  wake(choice: number): Promise<void> {
    return pick([this.#caller, this.#caller, of(this.#poller), of(this.#pushed)], choice).wake() as Promise<void>;
  }

  /** Postgres goes, for the rest of the schedule. */
  async ledgerGoes(): Promise<void> {
    this.#isAway = true;
    await away();
  }

  async delegateAgain(choice: number): Promise<void> {
    if (this.#stored().length < 3) await this.#delegate(choice);
  }

  async record(choice: number): Promise<void> {
    if (this.#stored().length >= 3) return;
    const request = { targetId: await this.#target(choice), task: "by hand", deadlineMs: null, warning: null };
    const delegationId = `${pick(["one", "two"], choice >> 1)} at ${this.#start}`;
    this.#ids.add(delegationId);
    await this.#caller.recordDelegation({ access: ACCESS, request: { ...request, delegationId } });
  }

  /** The callee says something by update or by message. */
  async say(choice: number): Promise<void> {
    const chosen = this.#choose(choice);
    if (!chosen) return;
    const { calleeId } = chosen.delegation;
    const { attemptId } = pick([chosen.delegation.current, ...chosen.delegation.past], choice >> 3);
    const words = this.#words(choice >> 5);
    const reply =
      choice % 2 === 0 || words.text === null
        ? await of(calleeId).updateDelegation({
            access: ACCESS,
            delegationId: attemptId,
            callerId: null,
            update: words,
          })
        : await this.#message(calleeId, attemptId, words.text);
    if (reply.outcome.ok && reply.outcome.value !== false) this.#note(attemptId, words);
  }

  /** The caller says it; it means the current attempt. */
  async sayAsCaller(choice: number): Promise<void> {
    const chosen = this.#choose(choice);
    if (!chosen) return;
    const { delegationId, current } = chosen.delegation;
    const words = this.#words(choice >> 3);
    await this.#caller.updateDelegation({ access: ACCESS, delegationId, callerId: null, update: words });
    this.#note(current.attemptId, words);
  }

  async intrude(choice: number): Promise<void> {
    const chosen = this.#choose(choice);
    if (!chosen) return;
    // What is due by now would happen at any contact.
    await this.sweep();
    await this.#network.quiet();
    const before = JSON.stringify(this.#stored().map(({ delegation }) => delegation.current));
    await this.#message(this.#residents.stranger, chosen.delegation.current.attemptId, "stranger");
    const after = JSON.stringify(this.#stored().map(({ delegation }) => delegation.current));
    must(before === after, "a stranger changed something");
  }

  async beat(choice: number): Promise<void> {
    const chosen = this.#choose(choice);
    if (!chosen) return;
    const { calleeId, delegationId, current } = chosen.delegation;
    const [who, id] = choice % 3 === 0 ? [this.#caller, delegationId] : [of(calleeId), current.attemptId];
    const heartbeat = { progressSeq: choice % 5, details: null };
    await (who as Workspace).beatDelegation({ access: ACCESS, delegationId: id, callerId: null, heartbeat });
  }

  /** A sign of work, and then none for too long. */
  async fallSilent(choice: number): Promise<void> {
    await this.beat(choice);
    await this.#network.quiet();
    this.advance(2);
    await this.sweep();
  }

  async order(choice: number): Promise<void> {
    const chosen = this.#choose(choice);
    if (!chosen) return;
    const order = { access: ACCESS, delegationId: chosen.delegation.delegationId, by: "operator", reason: null };
    if (choice % 3 === 0) await this.#caller.cancelDelegation(order);
    else await this.#caller.retryDelegation({ ...order, force: choice % 2 === 0 });
  }

  async sweep(): Promise<void> {
    const ids = this.#stored().map(({ delegation }) => delegation.delegationId);
    const findings = await this.#caller.sweepDelegations(ids);
    must(findings.length === ids.length, "a sweep without a finding for each");
    const late = this.#stored().some(
      ({ delegation: { current } }) => isOpen(current) && current.deadline <= this.#clock.now,
    );
    must(!late, "a sweep left something past its deadline");
  }

  /** The pushed agent has a hand free: its queue sends on what waits. */
  async drain(): Promise<void> {
    const beat = {
      errorRate: 0,
      sampleError: "",
      activeTasks: 0,
      uptimeSeconds: 1,
      currentTask: "",
      monthlySpend: 0,
      runtimeState: "",
      capabilities: {},
    };
    await of(this.#pushed).heartbeat({ access: ACCESS, beat });
  }

  /** Calls go out when their alarms ring, which under a moved clock is now. */
  async makeCalls(): Promise<void> {
    const callIds = await inside(this.#pushed, (sql) => [
      ...sql.exec<{ call_id: string }>("SELECT call_id FROM calls"),
    ]);
    for (const { call_id } of callIds)
      await runDurableObjectAlarm(env.OUTBOUND_CALL.get(env.OUTBOUND_CALL.idFromName(call_id)));
  }

  async remove(choice: number): Promise<void> {
    if (choice % 4 !== 0) return;
    const id = pick([this.#callerId, this.#poller, this.#pushed], choice >> 2);
    await of(id).removed({ removedAt: this.#clock.now, cascade: null });
    this.#residents.gone(id);
    happened("removed");
  }

  async #delegate(choice: number): Promise<void> {
    const idempotencyKey = choice % 4 === 0 ? "key" : null;
    const request = {
      targetId: await this.#target(choice >> 2),
      task: "do it",
      idempotencyKey,
      deadlineMs: null,
      warning: null,
    };
    const { outcome } = await this.#caller.delegate({ access: ACCESS, request });
    if (outcome.ok) this.#ids.add(outcome.value.delegation_id);
  }

  async #target(choice: number) {
    if (choice % 2 === 0) return this.#poller as never;
    if (this.#script.length > 0) await this.#residents.player.play(...this.#script.splice(0));
    return this.#pushed as never;
  }

  #message(from: string, id: string, text: string) {
    const envelope = aMessage(text);
    const message = { ...envelope.params.message, metadata: { delegation_id: id } };
    const body = JSON.stringify({ jsonrpc: "2.0", id: "1", method: envelope.method, params: { message } });
    const { messageId } = message;
    const delegation = { delegationId: id, delegationStatus: null, text: body };
    return this.#caller.receive({
      caller: { id: from, name: from, path: [from] },
      message: { body, bodyKey: null, method: envelope.method, messageId, digest: messageId, delegation },
    });
  }

  /** Now and then a failure, or an end without words; every text is new. */
  #words(choice: number): { status: "completed" | "failed"; text: string | null; error: string | null } {
    this.#texts += 1;
    if (choice % 5 === 0) return { status: "failed", text: null, error: `error ${this.#texts}` };
    return { status: "completed", text: choice % 5 === 1 ? null : `text ${this.#texts}`, error: null };
  }

  #note(attemptId: string, { text, status }: { text: string | null; status: string }): void {
    const said = this.#said.get(attemptId) ?? { texts: new Set(), failed: false };
    if (text !== null) said.texts.add(text);
    if (status === "failed") said.failed = true;
    this.#said.set(attemptId, said);
  }

  #choose(choice: number): Stored | undefined {
    const stored = this.#stored();
    return stored[choice % Math.max(1, stored.length)];
  }

  /** The delegations of this schedule. */
  #stored(): (Stored & { readonly version: number })[] {
    return this.#rows<{ state: string; slots: string; version: number }>(
      "SELECT state, slots, version FROM delegations WHERE delegation_id IN (SELECT value FROM json_each(?)) ORDER BY seq",
      JSON.stringify([...this.#ids]),
    ).map(({ state, slots, version }) => ({ delegation: JSON.parse(state), slots: JSON.parse(slots), version }));
  }

  #rows<Row extends Record<string, SqlStorageValue>>(query: string, ...values: SqlStorageValue[]): Row[] {
    return this.#sql.exec<Row>(query, ...values).toArray();
  }

  async #leftOver(): Promise<string> {
    const open = this.#stored().filter(({ delegation }) => isOpen(delegation.current));
    const untold = this.#rows<{ kind: string }>("SELECT kind FROM effects").map(({ kind }) => kind);
    const atCallees = await Promise.all(
      this.#callees().map((id) =>
        inside(id, (sql) => [
          ...sql.exec<{ what: string }>(
            `SELECT kind AS what FROM effects UNION ALL SELECT 'call' FROM calls
             UNION ALL SELECT 'queue item' FROM queue WHERE completed_at IS NULL UNION ALL
             SELECT 'received' FROM received WHERE status IN ('dispatched', 'in_progress')`,
          ),
        ]),
      ),
    );
    return [...open.map(() => "open"), ...untold, ...atCallees.flat().map(({ what }) => what)].join(" ");
  }

  #check(): void {
    const stored = this.#stored();
    const feed = this.#rows<FeedRow>(
      "SELECT seq, method, own, response_body FROM activity WHERE created_at >= ?",
      this.#start * 1000,
    );
    for (const one of stored) {
      const { past, current } = one.delegation;
      const attempts: Attempt[] = [...past, current];
      this.#checkRows(one, attempts, feed);
    }
  }

  #checkRows({ delegation, slots }: Stored, attempts: readonly Attempt[], feed: readonly FeedRow[]): void {
    const { delegationId } = delegation;
    const mail = feed.filter(
      (row) => row.method === "delegate_result" && row.own === 0 && bodyOf(row).delegation_id === delegationId,
    );
    let expected = 0;
    for (const attempt of attempts) {
      const places = slots[attempt.attemptId] ?? {};
      expected += 1 + (places.inbox_late === undefined ? 0 : 1);
      must(places.inbox_result !== undefined, "an end without its row");
      const texts = new Set(
        [places.result, places.late, places.inbox_result, places.inbox_late]
          .map((seq) => feed.find((row) => row.seq === seq))
          .map((row) => (row ? String(bodyOf(row).text ?? "") : ""))
          .filter((text) => text !== ""),
      );
      must(texts.size <= 1, `two texts of one attempt: ${[...texts].join()}`);
      const said = this.#said.get(attempt.attemptId);
      const mayContradict =
        said?.failed || (attempt.state === "failed" && "endedBy" in attempt && attempt.endedBy !== "platform");
      must(mayContradict || !said || said.texts.size === 0 || texts.size === 1, "a text was lost");
      if ("endedBy" in attempt) happened(`${attempt.state} by ${attempt.endedBy}`);
      if (places.inbox_late !== undefined) happened("late");
      if (places.inbox_stuck !== undefined) happened("stuck");
    }
    if (attempts.length > 1) happened("retried");
    must(mail.length === expected, `${mail.length} rows of mail where ${expected} are due`);
  }

  #expectations(): LedgerExpectation[] {
    return this.#stored().map(({ delegation, version }) => {
      const row = delegationRow(delegation);
      return {
        caller_id: row.callerId,
        delegation_id: row.delegationId,
        status: row.status,
        result_preview: row.resultPreview,
        error_detail: row.errorDetail,
        version,
        target_id: row.calleeId,
        ends: row.retryCount + 1,
      };
    });
  }
}

type Step = (town: DelegationTown, choice: number) => unknown;

/** What is written more than once happens more often. */
const STEPS: readonly Step[] = [
  (town, choice) => town.deal(choice),
  (town, choice) => town.deal(choice),
  (town, choice) => town.deal(choice),
  (town, choice) => town.advance(choice),
  (town, choice) => town.advance(choice),
  (town, choice) => town.wake(choice),
  (town, choice) => town.wake(choice),
  (town) => town.makeCalls(),
  (town) => town.makeCalls(),
  (town) => town.makeCalls(),
  (town) => town.drain(),
  (town, choice) => town.say(choice),
  (town, choice) => town.say(choice),
  (town, choice) => town.say(choice),
  (town, choice) => town.sayAsCaller(choice),
  (town, choice) => town.beat(choice),
  (town, choice) => town.fallSilent(choice),
  (town, choice) => town.order(choice),
  (town, choice) => town.order(choice),
  (town, choice) => town.delegateAgain(choice),
  (town, choice) => town.record(choice),
  (town, choice) => town.intrude(choice),
  (town) => town.sweep(),
  (town) => town.ledgerGoes(),
  (town, choice) => town.remove(choice),
];

/** Choices beyond this repeat what smaller ones do. */
export const CHOICES = STEPS.length * 4096;

function of(id: string) {
  return env.WORKSPACE.get(env.WORKSPACE.idFromName(id));
}

async function settled(url: string | null, now: number): Promise<string> {
  const id = crypto.randomUUID();
  await of(id).created({
    id,
    name: id,
    role: null,
    tier: 1,
    runtime: "external",
    path: [id],
    treeVersion: 1,
    maxConcurrentTasks: 1,
    budgetLimit: null,
    deliveryMode: url === null ? "poll" : "push",
    url,
    agentCard: null,
    status: "online",
    token: null,
    events: [],
    inboundSecret: "secret",
    createdAt: now,
  });
  return id;
}

function inside<T>(id: string, look: (sql: SqlStorage) => T): Promise<T> {
  return runInDurableObject(of(id), (_instance, { storage }) => look(storage.sql));
}

function bodyOf({ response_body }: FeedRow): { text?: string; delegation_id?: string } {
  return JSON.parse(response_body ?? "{}");
}

function happened(event: string): void {
  DelegationTown.happened.set(event, (DelegationTown.happened.get(event) ?? 0) + 1);
}

function must(holds: boolean | undefined, breach: string): void {
  if (!holds) throw new Error(breach);
}

function pick<Item>(items: readonly Item[], choice: number): Item {
  return items[choice % items.length] as Item;
}
