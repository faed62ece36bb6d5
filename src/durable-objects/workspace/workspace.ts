import { DurableObject } from "cloudflare:workers";
import { type Config, configOf } from "../../config.ts";
import type { Access } from "../../domain/access.ts";
import type { Attachment } from "../../domain/activity.ts";
import type { ActivityQuery } from "../../domain/activity-query.ts";
import type { Note } from "../../domain/agent.ts";
import type { EndMessage } from "../../domain/delegation-effect.ts";
import type { HeartbeatAnswer } from "../../domain/delegation-heartbeat.ts";
import type {
  DelegateRequest,
  HeartbeatRequest,
  RecordRequest,
  UpdateRequest,
} from "../../domain/delegation-request.ts";
import type { Path } from "../../domain/hierarchy.ts";
import { stopsPending, type Wish } from "../../domain/lifecycle.ts";
import { Refusal, unwrap } from "../../domain/refusal.ts";
import { isExternal } from "../../domain/runtime.ts";
import type { Placement } from "../../domain/workspace-patch.ts";
import type { RebuildSeed, WorkspaceSeed } from "../../domain/workspace-seed.ts";
import type { WorkspaceStatus } from "../../domain/workspace-status.ts";
import { log } from "../../log.ts";
import { hasProvisioner, keepsVolumes, provisionTimeoutMs } from "../../provisioners/backend.ts";
import { type BlobStore, blobStoreOf } from "../../storage/blob-store.ts";
import type { StoredFile } from "../../uploads/serve-upload.ts";
import type { Collapse, Mark, Purging, Removal } from "../directory/tree.ts";
import type { MachineReport, StartFacts, StartRequest } from "../machine/job.ts";
import type { CallReport, QueuePlace } from "../outbound-call/call.ts";
import { machineIsGone } from "../shared/machine-look.ts";
import { type Reply, reply } from "../shared/reply.ts";
import { Schema } from "../shared/schema.ts";
import { directoryStub, eventHubStub, machineStub, outboundCallStub } from "../shared/stubs.ts";
import { Core } from "./core.ts";
import { delegationLines, inFull } from "./delegation-lines.ts";
import { delegationList } from "./delegation-list.ts";
import { DelegationPost } from "./delegation-post.ts";
import { DelegationRemoval } from "./delegation-removal.ts";
import type { PlainOutcome, TaskEnd, TaskHandOver, WordToOwner } from "./delegation-words.ts";
import { DelegationWriting } from "./delegation-writing.ts";
import { type DelegateAnswer, Delegations, type RecordAnswer, type SweepFinding } from "./delegations.ts";
import { Files, type ReceivedFile, type StagedFile, type UploadTarget } from "./files.ts";
import { Hibernation, type HibernationSettings } from "./hibernation.ts";
import { type ActivityPage, EMPTY_PAGE, type NewActivity, type RowsPage } from "./inbox-store.ts";
import { type LargeTexts, withLargeTexts } from "./large-texts.ts";
import { LISTEN_HEADER, type ListenInput } from "./listen.ts";
import { Listeners } from "./listeners.ts";
import { MachineHealth } from "./machine-health.ts";
import { NOTHING_WISHED, type StoredMachine } from "./machine-store.ts";
import { type MachineSettings, Machines } from "./machines.ts";
import { type IncomingMessage, Messages, type Sender } from "./messages.ts";
import { newProfile } from "./new-profile.ts";
import { OwnerTelling } from "./owner-telling.ts";
import { type HeartbeatInput, Presence, type Registered, type RegistrationInput } from "./presence.ts";
import type { Profile } from "./profile-store.ts";
import { Purge } from "./purge.ts";
import { Push, type PushReceived } from "./push.ts";
import { Queue, type QueueReader } from "./queue.ts";
import { Rebuild, type RebuildOrder, type RebuildPart, type Standing } from "./rebuild.ts";
import { Receptions } from "./receptions.ts";
import { tellRestart } from "./restart-telling.ts";
import { Retention } from "./retention.ts";
import { WORKSPACE_SCHEMA } from "./schema.ts";
import { LIFECYCLE_NET_MS, type Receivers } from "./telling.ts";
import type { MintedToken, TokenView } from "./token-store.ts";
import { type Turn, Turns } from "./turns.ts";

/** When a sender should try again whose message woke the workspace. */
const WAKING_S = 15;
/** How long a purge that has begun may take before it is answered that it goes on. */
const PURGE_WAIT_MS = 1_500;

/** A workspace's identity as it hands it to another workspace's object, with a verified token. */
export interface VerifiedCaller {
  readonly id: string;
  readonly name: string;
  readonly path: Path;
}

/** The machines of a workspace that have not surely gone. */
export interface MachineRows {
  readonly status: WorkspaceStatus;
  readonly wish: Wish;
  readonly machines: readonly StoredMachine[];
}

/** What became of a message at its target. */
export type Received =
  | { readonly mode: "admitted" }
  /** `bodyKept`: a body that lies in R2 is now this row's. */
  | { readonly mode: "poll"; readonly activityId: string; readonly bodyKept: boolean }
  | PushReceived;

/**
 * One workspace: its inbox, tokens, presence, uploads. Every method is one turn: verify, decide, commit, and only
 * then tell others. An object that nobody created stores nothing.
 */
export class Workspace extends DurableObject<Env> {
  readonly #schema: Schema;
  readonly #core: Core;
  readonly #listeners: Listeners;
  readonly #presence: Presence;
  readonly #messages: Messages;
  readonly #queue: Queue;
  readonly #push: Push;
  readonly #files: Files;
  readonly #delegations: Delegations;
  readonly #receptions: Receptions;
  readonly #machines: Machines;
  readonly #hibernation: Hibernation;
  readonly #health: MachineHealth;
  readonly #purge: Purge;
  readonly #removal: DelegationRemoval;
  readonly #rebuild: Rebuild;
  readonly #blobs: BlobStore | null;
  readonly #turns: Turns;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const blobs = blobStoreOf(env);
    const core = new Core(ctx.storage, env, configOf(env));
    this.#schema = new Schema(ctx.storage, WORKSPACE_SCHEMA);
    this.#core = core;
    this.#listeners = new Listeners(ctx, core, blobs, async (id) =>
      unwrap((await directoryStub(env).verifyOrganisationToken({ id, digest: null })).outcome),
    );
    this.#presence = new Presence(core, () => this.#listeners.connected());
    this.#messages = new Messages(core);
    const lines = delegationLines(env);
    const post = new DelegationPost(ctx.storage.sql, lines, {
      taken: (task, outcome) => this.#delegations.taken(task, outcome),
      withdrawn: ({ message }) => this.#delegations.withdrawn(message.attemptId),
      ended: (callerId, end) => this.#turns.apply((now) => this.#receptions.end(callerId, end, now)),
    });
    const owners = new OwnerTelling(core, post);
    this.#queue = new Queue(core, this.#messages, owners);
    this.#push = new Push(core, this.#queue, owners, {
      handOver: (intent) => outboundCallStub(env, intent.callId).start({ intent, waitMs: 0 }),
      withdraw: (intent) => outboundCallStub(env, intent.callId).withdraw({ intent }),
    });
    this.#receptions = new Receptions(core, this.#messages, this.#push, this.#queue, owners);
    this.#delegations = new Delegations(core, new DelegationWriting(core, post, this.#push), lines.takeTask, (work) =>
      this.#turns.apply(work),
    );
    this.#removal = new DelegationRemoval(core, this.#delegations, this.#receptions, (work) => this.#turns.apply(work));
    this.#files = new Files(core, blobs);
    this.#machines = new Machines(
      core,
      machineSettings(core.config),
      (job) => machineStub(env, job.workspaceId).take(job),
      (work) => this.#turns.apply(work),
    );
    this.#hibernation = new Hibernation(core, this.#machines, hibernationSettings(core.config), (work) =>
      this.#turns.apply(work),
    );
    this.#health = new MachineHealth(
      core,
      this.#machines,
      (instanceId) => machineIsGone(env, core.profile.get().workspaceId, instanceId),
      (work) => this.#turns.apply(work),
    );
    this.#rebuild = new Rebuild(ctx.storage, this.#schema, core, this.#push);
    this.#blobs = blobs;
    this.#purge = new Purge({
      schema: this.#schema,
      core,
      blobs,
      database: core.database,
      tellOthers: async (now) => {
        await this.#turns.tellOthers(now);
        return this.#turns.hasToldOthers && post.dueAt() === null;
      },
      hasToldOthers: () => this.#turns.hasToldOthers && post.dueAt() === null,
      forgetEvents: (workspaceId) => eventHubStub(env).forget({ workspaceId }),
      apply: (work) => this.#turns.apply(work),
    });
    this.#turns = new Turns(ctx, {
      schema: this.#schema,
      core,
      presence: this.#presence,
      listeners: this.#listeners,
      delegations: this.#delegations,
      errands: [this.#push, this.#delegations, post, this.#machines],
      receivers: receiversOf(env),
      purge: this.#purge,
      clocks: [
        this.#removal,
        this.#delegations,
        post,
        this.#push,
        this.#queue,
        this.#files,
        this.#machines,
        this.#hibernation,
        this.#health,
        new Retention(core, blobs),
      ],
    });
  }

  /** Told by the directory at creation. True when the object now exists, which a purged one never does; repeatable. */
  async created(seed: WorkspaceSeed): Promise<boolean> {
    if (this.#schema.state === "ahead") throw new Error("schema ahead");
    if (this.#schema.state === "ready") return true;
    if (this.#isPurged) return false;
    this.#schema.create();
    const { token, events: recorded, provision, ...facts } = seed;
    this.#core.profile.insert(newProfile(facts));
    await this.#turns.apply((now) => {
      const { tokens, events } = this.#core;
      if (token) tokens.add(token, now * 1000, token.registration);
      for (const { event, payload } of recorded) events.record(event, payload, now * 1000);
      if (provision) this.#machines.start({ ...provision, resetSession: false }, now);
    });
    log.info("workspace.created", { workspace_id: seed.id, runtime: seed.runtime, status: seed.status });
    return true;
  }

  /** Told by the directory: a new name, a new place in the tree. Repeatable; what is older than known is old news. */
  async placed({ changed, ...placement }: Placement): Promise<void> {
    if (this.#isPurged) return;
    if (this.#schema.state !== "ready") throw new Error("not created yet");
    const { profile, events } = this.#core;
    if (placement.treeVersion <= profile.get().treeVersion) return;
    await this.#turns.apply((now) => {
      profile.set(placement);
      events.record("WORKSPACE_UPDATED", JSON.stringify(changed), now * 1000);
    });
    log.info("workspace.placed", { workspace_id: profile.get().workspaceId, tree_version: placement.treeVersion });
  }

  /** Told by the directory: an operator paused this workspace. Its machine stops; repeatable. */
  async paused({ treeVersion }: Mark): Promise<void> {
    await this.#marked(treeVersion, (now) => {
      const { profile, events } = this.#core;
      profile.set({ status: "paused", url: null, activeTasks: 0, currentTask: "" });
      events.record("WORKSPACE_PAUSED", JSON.stringify({ name: profile.get().name }), now * 1000);
      this.#machines.stop(now);
    });
  }

  /** Told by the directory: the pause is over. An external agent is waited for, any other gets a new machine. */
  async resumed({ treeVersion, platformUrl }: Mark): Promise<void> {
    await this.#marked(treeVersion, (now) => {
      const { profile, events } = this.#core;
      const { name, runtime } = profile.get();
      if (!isExternal(runtime)) {
        this.#machines.provision({ platformUrl, files: null, resetSession: false }, now);
        return;
      }
      profile.set({ status: "awaiting_agent" });
      events.record("WORKSPACE_AWAITING_AGENT", JSON.stringify({ name, external: true }), now * 1000);
    });
  }

  /**
   * Told by the directory: somebody wants a new machine, or what the old one was started with has changed. Of the latter
   * one that is at rest learns when it wakes.
   */
  async restarted({ treeVersion, platformUrl, restart }: Mark): Promise<void> {
    if (this.#schema.state !== "ready") throw new Error("not created yet");
    const { status } = this.#core.profile.get();
    const isAtRest = status === "paused" || status === "hibernated" || status === "hibernating";
    // Skipped, it must not stand in the way of an earlier mark that is still on its way.
    if (isAtRest && restart === undefined) return;
    await this.#marked(treeVersion, (now) => {
      const { resetSession = false } = restart ?? {};
      this.#machines.provision({ platformUrl, files: null, resetSession, because: "asked" }, now);
    });
  }

  /** Told by the directory: all that hung below this workspace is removed. */
  async collapsed({ removed }: Collapse): Promise<void> {
    if (this.#schema.state !== "ready") throw new Error("not created yet");
    if (this.#core.profile.get().removedAt !== null) return;
    await this.#turns.apply((now) => {
      const payload = JSON.stringify({ removed_children: removed });
      this.#core.events.record("WORKSPACE_COLLAPSED", payload, now * 1000);
    });
  }

  /** Told by the directory: a change that was made there, for the history here; what is told twice stands there twice. */
  async noted({ event, payload }: Note): Promise<void> {
    if (this.#isPurged) return;
    if (this.#schema.state !== "ready") throw new Error("not created yet");
    if (this.#core.profile.get().removedAt !== null) return;
    await this.#turns.apply((now) => this.#core.events.record(event, JSON.stringify(payload), now * 1000));
  }

  /**
   * Told by the directory: this workspace is no more. Its tokens and sockets end; repeatable. Answers how many of its
   * machines have still to be stopped.
   */
  async removed({ removedAt, cascade }: Removal): Promise<number> {
    if (this.#isPurged) return 0;
    // An object that has not heard of its creation yet must hear of that first.
    if (this.#schema.state !== "ready") throw new Error("not created yet");
    const { profile, tokens, events } = this.#core;
    if (profile.get().removedAt !== null) return stopsPending(this.#core.machines.get());
    await this.#turns.apply((now) => {
      tokens.revokeAll(now * 1000);
      profile.set({ removedAt, status: "removed", currentTask: "", activeTasks: 0 });
      this.#removal.slice(now);
      const payload = JSON.stringify(cascade === null ? {} : { cascade_deleted: cascade });
      events.record("WORKSPACE_REMOVED", payload, now * 1000);
      this.#machines.remove(now);
    });
    log.info("workspace.removed", { workspace_id: profile.get().workspaceId });
    return stopsPending(this.#core.machines.get());
  }

  /**
   * Told by the directory: nothing is to be left of this workspace. Repeatable, also where the object never heard of
   * its creation or was lost; answers how far it is, and goes on by itself.
   */
  async purged({ workspaceId, ...removal }: Purging): Promise<{ done: boolean; stopsPending: number }> {
    if (this.#schema.state === "ahead") throw new Error("schema ahead");
    if (this.#schema.state === "ready") await this.removed(removal);
    this.#purge.want(workspaceId, Date.now());
    this.#listeners.closeAll();
    this.#turns.rearm();
    await Promise.race([this.#purge.run(), scheduler.wait(PURGE_WAIT_MS)]);
    this.#turns.rearm();
    const pending = this.#schema.state === "ready" ? stopsPending(this.#core.machines.get()) : 0;
    return { done: this.#purge.isDone, stopsPending: pending };
  }

  /** Stops its machine until a message comes; answers the status that came of it. */
  hibernate(input: { access: Access; force: boolean }): Promise<Reply<WorkspaceStatus>> {
    return this.#turns.take(
      input.access,
      ({ now }) => {
        this.#hibernation.begin(input.force, now);
        return this.#core.profile.get().status;
      },
      { unknown: "workspace.not_hibernatable" },
    );
  }

  /** A watcher saw the machine's bootstrap fail; false when nobody waits for one. */
  bootstrapFailed(input: { error: string; logTail: string }): Promise<Reply<boolean>> {
    return this.#turns.take(null, ({ now }) => this.#machines.bootstrapFailed(input, now), { absent: () => false });
  }

  /** What the machine that is about to start has to know; null when nobody wants it any more. */
  beginStart(request: StartRequest): Promise<Reply<StartFacts | null>> {
    return this.#turns.take(null, ({ now }) => this.#machines.beginStart(request, now), { absent: () => null });
  }

  /** How a call to the provisioning backend ended; there is nobody to hear it when the workspace is gone. */
  machineEnded(report: MachineReport): Promise<Reply<true>> {
    return this.#turns.take(
      null,
      ({ now }) => {
        this.#machines.ended(report, now);
        this.#hibernation.settle(now);
        tellRestart(this.#core, this.#push, now);
        return true as const;
      },
      { absent: () => true as const },
    );
  }

  /** Its machines and what is wished, for operators. */
  machineRows(): Promise<Reply<MachineRows>> {
    return this.#turns.take(
      null,
      () => {
        const { profile, machines } = this.#core;
        const { wish, machines: known } = machines.get();
        return { status: profile.get().status, wish, machines: known };
      },
      { absent: () => ({ status: "removed", wish: NOTHING_WISHED, machines: [] }) },
    );
  }

  /** An operator knows that a machine is gone; answers how many are still to be stopped. */
  forgetMachine(input: {
    instanceId: string | null;
    actor: string;
    reason: string | null;
  }): Promise<Reply<{ stopsPending: number }>> {
    const { instanceId, ...by } = input;
    return this.#turns.take(
      null,
      ({ now }) => {
        this.#machines.forgetMachine(instanceId, by, now);
        this.#hibernation.settle(now);
        return { stopsPending: stopsPending(this.#core.machines.get()) };
      },
      { unknown: "machine.not_found" },
    );
  }

  /**
   * Verifies a caller for another object: its identity, once, under its own token. `passive` when the caller did
   * nothing just now: it is no sign of life, and counts against no limit.
   */
  verify(input: { access: Access; sending?: boolean; passive?: boolean }): Promise<Reply<VerifiedCaller>> {
    const { access, sending = false, passive = false } = input;
    const verified = ({ now }: Turn) => {
      const { profile } = this.#core;
      this.#requireLive();
      const { workspaceId, name, path, lastOutboundAt } = profile.get();
      if (sending && (lastOutboundAt === null || now - lastOutboundAt > 60_000)) profile.set({ lastOutboundAt: now });
      return { id: workspaceId, name, path };
    };
    return this.#turns.take(access, verified, { passive });
  }

  /** Null for a workspace that does not exist: only the Worker knows whether the caller may create it. */
  register(input: {
    access: Access | null;
    registration: RegistrationInput;
    minted: MintedToken;
    fingerprint: string;
  }): Promise<Reply<Registered | null>> {
    return this.#turns.take(
      null,
      ({ now }) => {
        const { access, registration, minted, fingerprint } = input;
        const registered = this.#presence.register(access, registration, minted, fingerprint, now);
        // Who asks for its messages from now on finds what waited for it.
        if (registered.deliveryMode === "poll") this.#push.drain(0, now);
        tellRestart(this.#core, this.#push, now);
        return registered;
      },
      { absent: () => this.#requireUnpurged() },
    );
  }

  heartbeat(input: { access: Access; beat: HeartbeatInput }): Promise<Reply<{ inboundSecret: string }>> {
    return this.#turns.take(input.access, ({ now, once }) => {
      const { inboundSecret, once: events } = this.#presence.heartbeat(input.beat, now);
      once.push(...events);
      this.#push.drain(input.beat.activeTasks, now);
      tellRestart(this.#core, this.#push, now);
      return { inboundSecret };
    });
  }

  updateCard(input: { access: Access; agentCard: string }): Promise<Reply<true>> {
    return this.#turns.take(input.access, ({ now }) => {
      this.#presence.updateCard(input.agentCard, now);
      return true as const;
    });
  }

  /** Whether this access is good here; for routes whose answer comes from elsewhere. */
  authorise(input: { access: Access }): Promise<Reply<true>> {
    return this.#turns.take(input.access, () => true as const, { absent: () => true as const });
  }

  /**
   * How this workspace is; null when there is none. Who was removed may know it under its old token: that is how an
   * agent learns to shut down.
   */
  state(input: { access: Access }): Promise<Reply<WorkspaceStatus | null>> {
    if (this.#isPurged) return Promise.resolve({ outcome: { ok: true, value: "removed" }, rate: null });
    const removed = this.#schema.state === "ready" && this.#core.profile.get().removedAt !== null;
    const status = () => this.#core.profile.get().status;
    return this.#turns.take(removed ? null : input.access, status, { absent: () => null });
  }

  /** What a workspace that may reach this one learns of it. */
  discover(input: {
    caller: VerifiedCaller | null;
  }): Promise<Reply<Pick<Profile, "name" | "url" | "status"> & { mode: "push" | "poll"; isMachineUrl: boolean }>> {
    return this.#turns.take(
      null,
      () => {
        this.#messages.reach(senderOf(input.caller));
        const { name, url, status } = this.#core.profile.get();
        const isMachineUrl = this.#core.machines.at(url) !== null;
        return { name, url, status, mode: this.#messages.deliveryMode(), isMachineUrl };
      },
      { unknown: input.caller ? "a2a.access_denied" : "workspace.not_found" },
    );
  }

  listActivity(input: { access: Access; query: ActivityQuery }): Promise<Reply<ActivityPage>> {
    return this.#turns.take(
      input.access,
      ({ now }) => this.#messages.read(input.query, input.access.kind === "token", now).page,
      { absent: () => EMPTY_PAGE },
    );
  }

  /** Goes on with a page of the newest rows that was cut for its size, for a reader who was let in with its start. */
  listBelow(input: { query: ActivityQuery; below: number }): Promise<Reply<RowsPage>> {
    return this.#turns.take(null, ({ now }) => ({
      kind: "rows",
      ...this.#core.inbox.rows(input.query, null, now * 1000, input.below),
    }));
  }

  /** A row that the agent reports of itself. */
  reportActivity(input: { access: Access; row: Omit<NewActivity, "own" | "event"> }): Promise<Reply<true>> {
    return this.#turns.take(input.access, ({ now }) => {
      this.#requireLive();
      this.#messages.report(input.row, now);
      return true as const;
    });
  }

  /** Moves the delivery watermark to a row's id or seq. */
  acknowledge(input: { access: Access; upTo: string | number }): Promise<Reply<{ ackedSeq: number }>> {
    return this.#turns.take(input.access, () => {
      this.#requireLive();
      return { ackedSeq: this.#messages.acknowledge(input.upTo) };
    });
  }

  notify(input: { access: Access; message: string; attachments: readonly Attachment[] }): Promise<Reply<true>> {
    return this.#turns.take(input.access, ({ now }) => {
      if (this.#core.profile.get().removedAt !== null) throw new Refusal("workspace.not_found");
      this.#messages.notify(input.message, input.attachments, now);
      return true as const;
    });
  }

  /** A message: into the inbox of a poll target, a call for a push target. `message` null: only whether it would be let in. */
  async receive(input: { caller: VerifiedCaller | null; message: IncomingMessage | null }): Promise<Reply<Received>> {
    const { caller, message } = input;
    const isAsleep = message !== null && this.#schema.state === "ready" && this.#hibernation.isAsleep;
    if (isAsleep) {
      const woken = await this.#wakeFor(senderOf(caller));
      if (!woken.outcome.ok || !woken.outcome.value) return refusedToWake(woken);
    }
    const unknown = caller ? "a2a.access_denied" : "workspace.not_found";
    return this.#withTexts((texts) =>
      this.#turns.take(null, ({ now }) => this.#received(senderOf(caller), message, texts, now), { unknown }),
    );
  }

  /** Where the answer of a call will be found by a caller that waits no longer; null when it is there already. */
  keepWaiting(input: { callId: string; attempt: number }): Promise<Reply<QueuePlace | null>> {
    return this.#turns.take(null, ({ now }) => this.#push.keepWaiting(input, now));
  }

  /** An outgoing call's outcome; there is nobody to hear it when the workspace is gone. */
  reportCall(report: CallReport): Promise<Reply<{ place: QueuePlace | null }>> {
    const { deadInstanceId } = report.outcome;
    const taken = ({ now }: Turn) => {
      const answer = this.#push.report(report, now);
      if (deadInstanceId !== undefined) this.#health.died(deadInstanceId, now);
      return answer;
    };
    return this.#turns.take(null, taken, { absent: () => ({ place: null }) });
  }

  /** One item of the queue, for an operator, for this workspace under its own token, or for a verified caller. */
  queueItem(input: {
    access: Access | null;
    reader: QueueReader;
    queueId: string;
  }): Promise<Reply<{ json: string; responseKey: string | null }>> {
    return this.#turns.take(input.access, () => this.#queue.show(input.queueId, input.reader), {
      unknown: "a2a.queue_item_not_found",
    });
  }

  /** An operator clears the queue of what has waited too long. */
  dropStaleItems(input: { maxAgeMinutes: number }): Promise<Reply<{ dropped: number }>> {
    return this.#turns.take(null, ({ now }) => ({ dropped: this.#queue.dropStale(input.maxAgeMinutes, now) }));
  }

  /** Takes on a task for another workspace; the answer of the contract. */
  async delegate(input: { access: Access; request: DelegateRequest }): Promise<Reply<DelegateAnswer>> {
    const delegationId = crypto.randomUUID();
    const reply = await this.#withTexts((texts) =>
      this.#turns.take(input.access, ({ now }) => {
        this.#requireLive();
        return this.#delegations.delegate(input.request, delegationId, texts, now);
      }),
    );
    if (reply.outcome.ok) await this.#delegations.room();
    return reply;
  }

  /** Keeps watch over a task that the caller takes to another workspace itself; the answer of the contract. */
  recordDelegation(input: { access: Access; request: RecordRequest }): Promise<Reply<RecordAnswer>> {
    return this.#withTexts((texts) =>
      this.#turns.take(input.access, ({ now }) => {
        this.#requireLive();
        return this.#delegations.record(input.request, texts, now);
      }),
    );
  }

  /** The rows of `GET /delegations` as one JSON array. */
  listDelegations(input: { access: Access }): Promise<Reply<string>> {
    return this.#turns.take(input.access, () => JSON.stringify(delegationList(this.#core)), { absent: () => "[]" });
  }

  /** The end of a delegation by its caller's or its callee's word; false when this workspace knows none of that id. */
  updateDelegation(input: {
    access: Access;
    delegationId: string;
    /** Whose delegation a callee means, where several callers used the id. */
    callerId: string | null;
    update: UpdateRequest;
  }): Promise<Reply<boolean>> {
    const { access, delegationId, callerId, update } = input;
    return this.#withTexts((texts) =>
      this.#turns.take(
        access,
        ({ now }) =>
          this.#delegations.update(delegationId, update, texts, now) ||
          this.#receptions.update(delegationId, callerId, update, now),
        { absent: () => false },
      ),
    );
  }

  /** A sign of work on a delegation from its callee, or from its caller. */
  beatDelegation(input: {
    access: Access;
    delegationId: string;
    /** As for an update. */
    callerId: string | null;
    heartbeat: HeartbeatRequest;
  }): Promise<Reply<HeartbeatAnswer>> {
    const { access, delegationId, callerId, heartbeat } = input;
    return this.#turns.take(access, ({ now }) => {
      const own = this.#delegations.beat(delegationId, heartbeat, now);
      const answer = own ?? this.#receptions.beat(delegationId, callerId, heartbeat, now);
      if (answer === null) throw new Refusal("delegation.not_found");
      return answer;
    });
  }

  /** Ends a delegation of this workspace; `by` is who wants that. */
  cancelDelegation(input: {
    access: Access;
    delegationId: string;
    by: string;
    reason: string | null;
  }): Promise<Reply<{ status: "cancelled"; cancelRequested: boolean }>> {
    const { access, delegationId, by, reason } = input;
    return this.#turns.take(access, ({ now }) => this.#delegations.cancel(delegationId, { actor: by, reason }, now), {
      unknown: "delegation.not_found",
    });
  }

  /** Starts a delegation of this workspace anew; `force` also where the task may have been done. */
  retryDelegation(input: {
    access: Access;
    delegationId: string;
    force: boolean;
    by: string;
    reason: string | null;
  }): Promise<Reply<{ attemptId: string }>> {
    const { access, delegationId, force, by, reason } = input;
    const order = { actor: by, reason, force, attemptId: crypto.randomUUID() };
    return this.#withTexts((texts) =>
      this.#turns.take(
        access,
        ({ now }) => {
          this.#requireLive();
          return this.#delegations.retry(delegationId, order, texts, now);
        },
        { unknown: "delegation.not_found" },
      ),
    );
  }

  /** What becomes of delegations that the ledger shows as due, one finding for each id. */
  async sweepDelegations(ids: string[]): Promise<SweepFinding[]> {
    if (this.#schema.state !== "ready") return ids.map(() => "raced");
    let findings: SweepFinding[] = [];
    await this.#turns.apply((now) => {
      findings = this.#delegations.sweep(ids, now);
    });
    return findings;
  }

  /** A task from another workspace's object. */
  async takeTask(input: TaskHandOver): Promise<Reply<PlainOutcome>> {
    // Throwing, it has the caller's object try again: an agent that comes up has no address yet.
    if (this.#schema.state === "ready" && (await this.#isComingUp(senderOf(input.caller))))
      throw new Error("coming up");
    return this.#withTexts((texts) =>
      this.#turns.take(null, ({ now }) => this.#receptions.take(input, texts, now), { unknown: "a2a.access_denied" }),
    );
  }

  /** The end of a task, from the object of whoever gave it; null when there is nobody to hear it. */
  endTask(input: TaskEnd): Promise<Reply<{ withdrawn: boolean } | null>> {
    return this.#turns.take(null, ({ now }) => this.#receptions.hearEnd(input, now), { absent: () => null });
  }

  /** The word of a callee's object on a delegation of this workspace; null when there is nobody to hear it. */
  async hear(input: WordToOwner): Promise<Reply<{ end: EndMessage | null } | null>> {
    const word = await inFull(this.#blobs, input.word);
    return this.#withTexts((texts) =>
      this.#turns.take(null, ({ now }) => this.#delegations.hear({ ...input, word }, texts, now), {
        absent: () => null,
      }),
    );
  }

  openUpload(input: { access: Access; uploadId: string }): Promise<Reply<UploadTarget>> {
    return this.#turns.take(input.access, ({ now }) => this.#files.open(input.uploadId, now));
  }

  uploadTarget(input: { access: Access }): Promise<Reply<UploadTarget>> {
    return this.#turns.take(input.access, () => this.#files.target());
  }

  renewUpload(input: { uploadId: string }): Promise<Reply<boolean>> {
    return this.#turns.take(null, ({ now }) => this.#files.renew(input.uploadId, now));
  }

  commitUpload(input: { uploadId: string; files: readonly ReceivedFile[] }): Promise<Reply<StagedFile[] | null>> {
    return this.#turns.take(null, ({ now }) => this.#files.commit(input.uploadId, input.files, now));
  }

  abandonUpload(input: { uploadId: string; failed: boolean }): Promise<Reply<true>> {
    return this.#turns.take(null, ({ now }) => {
      this.#files.abandon(input.uploadId, input.failed, now);
      return true as const;
    });
  }

  /** `looks`: the agent asks for the headers only. */
  fetchFile(input: { access: Access; fileId: string; looks: boolean }): Promise<Reply<StoredFile>> {
    const { access, fileId, looks } = input;
    const reader = access.kind === "token" ? "agent" : "user";
    return this.#turns.take(access, ({ now }) => this.#files.fetch(fileId, reader, looks, now), {
      unknown: "upload.not_found",
    });
  }

  ackFile(input: { access: Access; fileId: string }): Promise<Reply<{ raced: boolean }>> {
    return this.#turns.take(input.access, ({ now }) => this.#files.ack(input.fileId, now), {
      unknown: "upload.not_found",
    });
  }

  listTokens(input: { access: Access; limit: number; offset: number }): Promise<Reply<TokenView[]>> {
    return this.#turns.take(input.access, () => this.#core.tokens.list(input.limit, input.offset), {
      absent: () => [],
    });
  }

  addToken(input: { access: Access; minted: MintedToken }): Promise<Reply<{ id: string }>> {
    return this.#turns.take(input.access, ({ now }) => {
      this.#requireLive();
      const { profile, tokens, events } = this.#core;
      const { workspaceId } = profile.get();
      const id = tokens.add(input.minted, now * 1000);
      const payload = JSON.stringify({ token_id: id, prefix: input.minted.prefix });
      events.record("WORKSPACE_TOKEN_CREATED", payload, now * 1000);
      log.info("token.minted", { workspace_id: workspaceId, token_id: id });
      return { id };
    });
  }

  revokeToken(input: { access: Access; tokenId: string }): Promise<Reply<true>> {
    return this.#turns.take(
      input.access,
      ({ now }) => {
        const { profile, tokens, events } = this.#core;
        const revoked = tokens.revoke(input.tokenId, now * 1000);
        if (revoked === null) throw new Refusal("token.not_found");
        const payload = JSON.stringify({ token_id: input.tokenId, prefix: revoked.prefix });
        events.record("WORKSPACE_TOKEN_REVOKED", payload, now * 1000);
        log.info("token.revoked", { workspace_id: profile.get().workspaceId, token_id: input.tokenId });
        return true as const;
      },
      { unknown: "token.not_found" },
    );
  }

  /** Whether the connection of an external agent may be shown. */
  requireExternal(input: { access: Access }): Promise<Reply<true>> {
    return this.#turns.take(input.access, () => {
      this.#externalId("external.connection_refused");
      return true as const;
    });
  }

  /** Ends every token of an external workspace, with their polls and sockets, and puts one new in their place. */
  rotateCredentials(input: { access: Access; minted: MintedToken }): Promise<Reply<true>> {
    return this.#turns.take(input.access, ({ now }) => {
      const workspaceId = this.#externalId("external.rotate_refused");
      const { tokens, events } = this.#core;
      tokens.revokeAll(now * 1000);
      tokens.add(input.minted, now * 1000);
      events.record("EXTERNAL_CREDENTIALS_ROTATED", JSON.stringify({ workspace_id: workspaceId }), now * 1000);
      log.info("credentials.rotated", { workspace_id: workspaceId });
      return true as const;
    });
  }

  /** The card of a workspace whose card is too large for the board. */
  agentCard(): Promise<Reply<string | null>> {
    return this.#turns.take(null, () => this.#core.profile.get().agentCard);
  }

  /** Looks at everything that is due, as any contact does; sweeps call it. */
  async wake(): Promise<void> {
    if (this.#schema.state !== "ready") return;
    // Whoever wakes it thinks that memory has missed something: only the rows count.
    this.#core.forget();
    await this.alarm();
  }

  /** Looks after its machines; answers when somebody should look again, in ms since 1970, null when all is settled. */
  async lookAfterMachines(): Promise<number | null> {
    // It has not heard of its creation yet, or newer code has written: somebody has to look again.
    if (this.#schema.state !== "ready") return this.#purge.isDone ? null : Date.now() + LIFECYCLE_NET_MS;
    await this.wake();
    return this.#turns.lifecycleDue(Date.now());
  }

  /** The daily visit: what is due, and once more what the ledger refused. */
  async scrub(): Promise<void> {
    if (this.#schema.state !== "ready") return;
    await this.#core.flush.retrySetAside();
    await this.wake();
  }

  /** How this object stands, for an operator who thinks of bringing it back. */
  rebuildStanding(): Promise<Reply<Standing>> {
    return this.#rebuilding(() => this.#rebuild.standing());
  }

  /** Forgets everything and ends this object, with its sockets; the call itself breaks off. */
  clearForRebuild(input: { epoch: number }): Promise<Reply<never>> {
    return this.#rebuilding(async () => {
      await this.#rebuild.clear(input.epoch);
      return this.#end("cleared for a rebuild");
    });
  }

  beginRebuild(input: { seed: RebuildSeed; inboundSecret: string }): Promise<Reply<true>> {
    return this.#rebuilding(() => {
      this.#rebuild.begin(input.seed, input.inboundSecret);
      return true as const;
    });
  }

  takeRebuild(input: { epoch: number; part: RebuildPart }): Promise<Reply<true>> {
    return this.#rebuilding(() => {
      this.#rebuild.take(input.epoch, input.part, Date.now());
      return true as const;
    });
  }

  /** From now on the object is there again. */
  finishRebuild(order: RebuildOrder): Promise<Reply<true>> {
    return this.#rebuilding(async () => {
      await this.#turns
        .apply((now) => this.#rebuild.finish(order, now))
        .catch((error: unknown) => {
          this.#schema.reload();
          throw error;
        });
      return true as const;
    });
  }

  /** The bookmark of a moment; refused where the runtime keeps none. */
  bookmarkAt(input: { at: number }): Promise<Reply<string>> {
    return this.#rebuilding(() => this.#rebuild.bookmarkAt(input.at));
  }

  /** The word before `restoreBookmark`, whose own answer never comes. */
  expectRestore(): Promise<Reply<true>> {
    return this.#rebuilding(() => {
      this.#rebuild.expectRestore();
      return true as const;
    });
  }

  /** Takes the storage back to a bookmark and ends this object; the call itself breaks off. */
  restoreBookmark(input: { bookmark: string }): Promise<Reply<never>> {
    return this.#rebuilding(async () => {
      await this.#rebuild.restoreNext(input.bookmark);
      return this.#end("taken back in time");
    });
  }

  /** What was taken back in time goes on under a new epoch. */
  adoptRestored(input: { seed: RebuildSeed; order: RebuildOrder }): Promise<Reply<true>> {
    const isAsBefore = this.#rebuild.takeExpectation();
    return this.#turns.take(null, ({ now }) => {
      if (isAsBefore) throw new Refusal("rebuild.not_restored");
      this.#rebuild.adopt(input.seed, input.order, now);
      return true as const;
    });
  }

  /** A held poll or an inbox socket; who asks and what for stands in one header. */
  override async fetch(request: Request): Promise<Response> {
    const input = decodeURIComponent(request.headers.get(LISTEN_HEADER) ?? "{}");
    const { access, query, stream } = JSON.parse(input) as ListenInput;
    let upgrade: Response | null = null;
    const reply = await this.#turns.take(access, ({ now }): ActivityPage => {
      if (!this.#listeners.hasRoom()) throw new Refusal("overloaded", { retryAfter: 5 });
      const { page, after } = this.#messages.read(query, access.kind === "token", now);
      if (stream) upgrade = this.#listeners.stream(query, after ?? this.#core.inbox.head(), access, now);
      else if (page.kind === "whole" && page.count === 0) upgrade = this.#listeners.hold(query, after, access);
      return page;
    });
    return upgrade ?? Response.json(reply satisfies Reply<ActivityPage>);
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    // An inbox socket may acknowledge what it has read: {"ack":"<row id>"}.
    if (typeof message !== "string" || message.length > 200) return;
    const ack = readAck(message);
    if (ack === null || !(await this.#listeners.isGood(socket))) return;
    await this.#turns.take(this.#listeners.accessOf(socket), () => this.#messages.acknowledge(ack));
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    // 1005 and 1006 may not be sent; the peer has gone either way.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
    this.#turns.rearm();
  }

  override async alarm(): Promise<void> {
    if (this.#schema.state === "ready" || this.#isPurged) await this.#turns.alarm();
  }

  /** Whether nothing is stored here but a purge that goes on, or its tombstone. */
  get #isPurged(): boolean {
    return this.#schema.state === "absent" && this.#core.purge.get() !== null;
  }

  #rebuilding<T>(work: () => T | Promise<T>): Promise<Reply<T>> {
    return reply(() => {
      if (this.#schema.state === "ahead") throw new Refusal("schema.ahead", { retryAfter: 10 });
      return work();
    });
  }

  /** Memory knows what storage no longer does, so the object has to begin anew. */
  #end(reason: string): never {
    this.#listeners.closeRevoked(() => false);
    this.ctx.abort(reason);
    throw new Error(reason);
  }

  /** Whoever may write to a sleeping workspace wakes it; a refusal of the message itself must not undo that. */
  #wakeFor(sender: Sender): Promise<Reply<boolean>> {
    return this.#turns.take(null, ({ now }) => {
      this.#messages.reach(sender);
      this.#messages.admit(sender);
      this.#hibernation.wake(now);
      return this.#messages.deliveryMode() === "poll";
    });
  }

  /** A mark counts once, and not after a later one. */
  /** Whether tasks have to wait for the machine of this workspace; one that sleeps is woken. */
  async #isComingUp(sender: Sender): Promise<boolean> {
    if (this.#hibernation.isAsleep) await this.#wakeFor(sender);
    const { status, runtime, url, removedAt } = this.#core.profile.get();
    const isUnreachable = url === null && this.#messages.deliveryMode() === "push";
    return status === "provisioning" && !isExternal(runtime) && isUnreachable && removedAt === null;
  }

  async #marked(treeVersion: number, work: (now: number) => void): Promise<void> {
    if (this.#isPurged) return;
    if (this.#schema.state !== "ready") throw new Error("not created yet");
    const { profile } = this.#core;
    const { markVersion, removedAt } = profile.get();
    if (treeVersion <= markVersion || removedAt !== null) return;
    await this.#turns.apply((now) => {
      work(now);
      profile.set({ markVersion: treeVersion });
    });
  }

  #received(sender: Sender, message: IncomingMessage | null, texts: LargeTexts, now: number): Received {
    this.#messages.reach(sender);
    // A result is let in whatever the budget: it was paid for when the task was given.
    const result =
      sender.kind === "workspace" && message?.delegation
        ? this.#delegations.message(sender.id, message.delegation, texts, now)
        : null;
    if (result) return { mode: "poll", ...result, bodyKept: false };
    this.#messages.admit(sender);
    if (message === null) return { mode: "admitted" };
    if (this.#messages.deliveryMode() === "push") return this.#push.receive(sender, message, now);
    const { activityId, repeated } = this.#messages.receive(sender, message, now);
    return { mode: "poll", activityId, bodyKept: !repeated };
  }

  #withTexts<T>(turn: (texts: LargeTexts) => Promise<Reply<T>>): Promise<Reply<T>> {
    return withLargeTexts(this.#blobs, () => this.#core.profile.get().workspaceId, turn);
  }

  #externalId(refusal: "external.connection_refused" | "external.rotate_refused"): string {
    this.#requireLive();
    const { workspaceId, runtime } = this.#core.profile.get();
    if (!isExternal(runtime)) throw new Refusal(refusal, { details: { runtime } });
    return workspaceId;
  }

  /** Nobody, for a workspace that nobody created. */
  #requireUnpurged(): null {
    const purge = this.#core.purge.get();
    if (purge !== null) throw new Refusal("workspace.removed", { details: { id: purge.workspaceId } });
    return null;
  }

  /** Whoever still gets here after a removal is an operator: the tokens are gone. */
  #requireLive(): void {
    const { removedAt, workspaceId } = this.#core.profile.get();
    if (removedAt !== null) throw new Refusal("workspace.removed", { details: { id: workspaceId } });
  }
}

function senderOf(caller: Pick<VerifiedCaller, "id" | "path"> | null): Sender {
  return caller === null ? { kind: "canvas" } : { kind: "workspace", id: caller.id, path: caller.path };
}

/** What a sender is told whose message found nobody awake; one for an agent that polls waits in its inbox. */
function refusedToWake({ outcome, rate }: Reply<boolean>): Reply<never> {
  if (!outcome.ok) return { outcome, rate };
  const options = { details: { waking: true, retry_after: WAKING_S }, retryAfter: WAKING_S };
  return { outcome: { ok: false, code: "workspace.waking", options }, rate };
}

function readAck(message: string): string | null {
  try {
    const { ack } = JSON.parse(message) as { ack?: unknown };
    return typeof ack === "string" ? ack : null;
  } catch {
    return null;
  }
}

function receiversOf(env: Env): Receivers {
  return {
    board: (workspaceId, entry) => directoryStub(env).board({ workspaceId, entry }),
    publish: (message) => eventHubStub(env).publish(message),
  };
}

function machineSettings(config: Config): MachineSettings {
  return {
    hasBackend: hasProvisioner(config),
    keepsVolumes: keepsVolumes(config),
    provisionTimeoutMs: (runtime) => provisionTimeoutMs(config, runtime),
  };
}

function hibernationSettings(config: Config): HibernationSettings {
  const minutes = config.HIBERNATION_IDLE_MINUTES;
  return { hasBackend: hasProvisioner(config), hibernateAfterMs: minutes === 0 ? null : minutes * 60_000 };
}
