import { DurableObject } from "cloudflare:workers";
import { configOf } from "../../config.ts";
import type { Access } from "../../domain/access.ts";
import type { Attachment } from "../../domain/activity.ts";
import type { ActivityQuery } from "../../domain/activity-query.ts";
import type { Path } from "../../domain/hierarchy.ts";
import type { HubEvent } from "../../domain/hub-event.ts";
import { type RateState, RateWindow } from "../../domain/rate-limit.ts";
import { Refusal, settle } from "../../domain/refusal.ts";
import type { WorkspaceSeed } from "../../domain/workspace-seed.ts";
import { log } from "../../log.ts";
import { type BlobStore, blobStoreOf } from "../../storage/blob-store.ts";
import type { StoredFile } from "../../uploads/serve-upload.ts";
import type { Removal } from "../directory/directory.ts";
import type { CallReport, QueuePlace } from "../outbound-call/call.ts";
import { AlarmScheduler } from "../shared/alarm.ts";
import { FlushPace } from "../shared/flush-pace.ts";
import type { Reply } from "../shared/reply.ts";
import { Schema } from "../shared/schema.ts";
import { directoryStub, eventHubStub, outboundCallStub } from "../shared/stubs.ts";
import { Core } from "./core.ts";
import { Files, type ReceivedFile, type StagedFile, type UploadTarget } from "./files.ts";
import { type ActivityPage, EMPTY_PAGE, type NewActivity } from "./inbox-store.ts";
import { LISTEN_HEADER, type ListenInput } from "./listen.ts";
import { Listeners } from "./listeners.ts";
import { type IncomingMessage, Messages, type Sender } from "./messages.ts";
import { type HeartbeatInput, Presence, type Registered, type RegistrationInput } from "./presence.ts";
import type { Profile } from "./profile-store.ts";
import { Push, type PushReceived } from "./push.ts";
import { Queue, type QueueReader } from "./queue.ts";
import { Retention } from "./retention.ts";
import { WORKSPACE_SCHEMA } from "./schema.ts";
import { BoardTelling, HubTelling, type Receivers } from "./telling.ts";
import type { MintedToken, TokenView } from "./token-store.ts";

/** How long an answer waits for the directory to show a changed status. */
const BOARD_WAIT_MS = 1_000;
/** Rate windows kept in memory; the least recently made goes first. */
const RATE_WINDOWS_MAX = 100;

/** A workspace's identity as it hands it to another workspace's object, with a verified token. */
export interface VerifiedCaller {
  readonly id: string;
  readonly name: string;
  readonly path: Path;
}

/** What became of a message at its target. */
export type Received =
  | { readonly mode: "admitted" }
  | { readonly mode: "poll"; readonly activityId: string; readonly repeated: boolean }
  | PushReceived;

interface Turn {
  readonly now: number;
  /** Sent to the hub after the commit, once. */
  readonly once: HubEvent[];
}

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
  readonly #board: BoardTelling;
  readonly #hub: HubTelling;
  readonly #pace: FlushPace;
  readonly #rates = new Map<string, RateWindow>();
  #alarm: AlarmScheduler;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const config = configOf(env);
    const blobs: BlobStore | null = blobStoreOf(env);
    this.#schema = new Schema(ctx.storage, WORKSPACE_SCHEMA);
    this.#core = new Core(ctx.storage, env, config);
    this.#pace = new FlushPace(this.#core.flush);
    this.#listeners = new Listeners(ctx, this.#core, blobs);
    this.#presence = new Presence(this.#core, () => this.#listeners.connected());
    this.#messages = new Messages(this.#core);
    this.#queue = new Queue(this.#core, this.#messages);
    this.#push = new Push(this.#core, this.#queue, (intent) =>
      outboundCallStub(env, intent.callId).start({ intent, waitMs: 0 }),
    );
    this.#files = new Files(this.#core, blobs);
    const receivers = receiversOf(env);
    this.#board = new BoardTelling(this.#core, receivers);
    this.#hub = new HubTelling(this.#core, receivers);
    this.#alarm = this.#scheduler(null, blobs);
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarm = this.#scheduler(await ctx.storage.getAlarm(), blobs);
    });
  }

  /** Told by the directory at creation. True when the object now exists; repeatable. */
  async created(seed: WorkspaceSeed): Promise<boolean> {
    if (this.#schema.state === "ahead") throw new Error("schema ahead");
    if (this.#schema.state === "ready") return true;
    this.#schema.create();
    const now = Date.now();
    this.ctx.storage.transactionSync(() => {
      const { profile, tokens, events } = this.#core;
      const { token, events: recorded, ...facts } = seed;
      profile.insert(newProfile(facts));
      if (token) tokens.add(token, now * 1000, token.registration);
      for (const { event, payload } of recorded) events.record(event, payload, now * 1000);
    });
    log.info("workspace.created", { workspace_id: seed.id, runtime: seed.runtime, status: seed.status });
    await this.#afterCommit({ now, once: [] }, false);
    return true;
  }

  /** Told by the directory: this workspace is no more. Its tokens and sockets end; repeatable. */
  async removed({ removedAt, cascade }: Removal): Promise<void> {
    // An object that has not heard of its creation yet must hear of that first.
    if (this.#schema.state !== "ready") throw new Error("not created yet");
    const now = Date.now();
    const { profile, tokens, events } = this.#core;
    if (profile.get().removedAt !== null) return;
    this.ctx.storage.transactionSync(() => {
      tokens.revokeAll(now * 1000);
      profile.set({ removedAt, status: "removed", currentTask: "", activeTasks: 0 });
      events.record(
        "WORKSPACE_REMOVED",
        JSON.stringify(cascade === null ? {} : { cascade_deleted: cascade }),
        now * 1000,
      );
      profile.commit();
    });
    log.info("workspace.removed", { workspace_id: profile.get().workspaceId });
    await this.#afterCommit({ now, once: [] }, false);
  }

  /** Verifies a caller for another object: its identity, once, under its own token. */
  verify(input: { access: Access; sending?: boolean }): Promise<Reply<VerifiedCaller>> {
    return this.#turn(input.access, ({ now }) => {
      const { profile } = this.#core;
      this.#requireLive();
      const { workspaceId, name, path, lastOutboundAt } = profile.get();
      if (input.sending && (lastOutboundAt === null || now - lastOutboundAt > 60_000))
        profile.set({ lastOutboundAt: now });
      return { id: workspaceId, name, path };
    });
  }

  /** Null for a workspace that does not exist: only the Worker knows whether the caller may create it. */
  register(input: {
    access: Access | null;
    registration: RegistrationInput;
    minted: MintedToken;
    fingerprint: string;
  }): Promise<Reply<Registered | null>> {
    return this.#turn(
      null,
      ({ now }) => {
        if (this.#schema.state === "absent") return null;
        const { access, registration, minted, fingerprint } = input;
        const registered = this.#presence.register(access, registration, minted, fingerprint, now);
        // Who asks for its messages from now on finds what waited for it.
        if (registered.deliveryMode === "poll") this.#push.drain(0, now);
        return registered;
      },
      true,
    );
  }

  heartbeat(input: { access: Access; beat: HeartbeatInput }): Promise<Reply<{ inboundSecret: string }>> {
    return this.#turn(input.access, ({ now, once }) => {
      const { inboundSecret, once: events } = this.#presence.heartbeat(input.beat, now);
      once.push(...events);
      this.#push.drain(input.beat.activeTasks, now);
      return { inboundSecret };
    });
  }

  updateCard(input: { access: Access; agentCard: string }): Promise<Reply<true>> {
    return this.#turn(input.access, ({ now }) => {
      this.#presence.updateCard(input.agentCard, now);
      return true as const;
    });
  }

  /** Whether this access is good here; for routes whose answer comes from elsewhere. */
  authorise(input: { access: Access }): Promise<Reply<true>> {
    return this.#turn(input.access, () => true as const, true);
  }

  /** What a workspace that may reach this one learns of it. */
  discover(input: {
    caller: VerifiedCaller | null;
  }): Promise<Reply<Pick<Profile, "name" | "url" | "status"> & { mode: "push" | "poll" }>> {
    return this.#turn(
      null,
      () => {
        this.#messages.reach(senderOf(input.caller));
        const { name, url, status } = this.#core.profile.get();
        return { name, url, status, mode: this.#messages.deliveryMode() };
      },
      false,
      input.caller ? "a2a.access_denied" : "workspace.not_found",
    );
  }

  listActivity(input: { access: Access; query: ActivityQuery }): Promise<Reply<ActivityPage>> {
    return this.#turn(
      input.access,
      ({ now }) => {
        if (this.#schema.state === "absent") return EMPTY_PAGE;
        return this.#messages.read(input.query, input.access.kind === "token", now).page;
      },
      true,
    );
  }

  /** A row that the agent reports; false when nobody has created the workspace. */
  reportActivity(input: { access: Access; row: Omit<NewActivity, "own" | "event"> }): Promise<Reply<true>> {
    return this.#turn(input.access, ({ now }) => {
      this.#requireLive();
      this.#messages.report(input.row, now);
      return true as const;
    });
  }

  /** Moves the delivery watermark to a row's id or seq. */
  acknowledge(input: { access: Access; upTo: string | number }): Promise<Reply<{ ackedSeq: number }>> {
    return this.#turn(input.access, () => {
      this.#requireLive();
      return { ackedSeq: this.#messages.acknowledge(input.upTo) };
    });
  }

  notify(input: { access: Access; message: string; attachments: readonly Attachment[] }): Promise<Reply<true>> {
    return this.#turn(input.access, ({ now }) => {
      if (this.#core.profile.get().removedAt !== null) throw new Refusal("workspace.not_found");
      this.#messages.notify(input.message, input.attachments, now);
      return true as const;
    });
  }

  /** A message: into the inbox of a poll target, a call for a push target. `message` null: only whether it would be let in. */
  receive(input: { caller: VerifiedCaller | null; message: IncomingMessage | null }): Promise<Reply<Received>> {
    return this.#turn(
      null,
      ({ now }): Received => {
        const sender = senderOf(input.caller);
        this.#messages.admit(sender);
        if (input.message === null) return { mode: "admitted" };
        if (this.#messages.deliveryMode() === "push") return this.#push.receive(sender, input.message, now);
        return { mode: "poll", ...this.#messages.receive(sender, input.message, now) };
      },
      false,
      input.caller ? "a2a.access_denied" : "workspace.not_found",
    );
  }

  /** Where the answer of a call will be found by a caller that waits no longer; null when it is there already. */
  keepWaiting(input: { callId: string; attempt: number }): Promise<Reply<QueuePlace | null>> {
    return this.#turn(null, ({ now }) => this.#push.keepWaiting(input, now));
  }

  /** An outgoing call's outcome; there is nobody to hear it when the workspace is gone. */
  reportCall(report: CallReport): Promise<Reply<{ place: QueuePlace | null }>> {
    return this.#turn(
      null,
      ({ now }) => (this.#schema.state === "absent" ? { place: null } : this.#push.report(report, now)),
      true,
    );
  }

  /** One item of the queue, for an operator, for this workspace under its own token, or for a verified caller. */
  queueItem(input: {
    access: Access | null;
    reader: QueueReader;
    queueId: string;
  }): Promise<Reply<{ json: string; responseKey: string | null }>> {
    return this.#turn(
      input.access,
      () => this.#queue.show(input.queueId, input.reader),
      false,
      "a2a.queue_item_not_found",
    );
  }

  /** An operator clears the queue of what has waited too long. */
  dropStaleItems(input: { maxAgeMinutes: number }): Promise<Reply<{ dropped: number }>> {
    return this.#turn(null, ({ now }) => ({ dropped: this.#queue.dropStale(input.maxAgeMinutes, now) }));
  }

  openUpload(input: { access: Access; uploadId: string }): Promise<Reply<UploadTarget>> {
    return this.#turn(input.access, ({ now }) => this.#files.open(input.uploadId, now));
  }

  uploadTarget(input: { access: Access }): Promise<Reply<UploadTarget>> {
    return this.#turn(input.access, () => this.#files.target());
  }

  renewUpload(input: { uploadId: string }): Promise<Reply<boolean>> {
    return this.#turn(null, ({ now }) => this.#files.renew(input.uploadId, now));
  }

  commitUpload(input: { uploadId: string; files: readonly ReceivedFile[] }): Promise<Reply<StagedFile[] | null>> {
    return this.#turn(null, ({ now }) => this.#files.commit(input.uploadId, input.files, now));
  }

  abandonUpload(input: { uploadId: string }): Promise<Reply<true>> {
    return this.#turn(null, ({ now }) => {
      this.#files.abandon(input.uploadId, now);
      return true as const;
    });
  }

  fetchFile(input: { access: Access; fileId: string }): Promise<Reply<StoredFile>> {
    return this.#turn(
      input.access,
      ({ now }) => this.#files.fetch(input.fileId, input.access.kind === "token" ? "agent" : "user", now),
      false,
      "upload.not_found",
    );
  }

  ackFile(input: { access: Access; fileId: string }): Promise<Reply<{ raced: boolean }>> {
    return this.#turn(input.access, ({ now }) => this.#files.ack(input.fileId, now), false, "upload.not_found");
  }

  listTokens(input: { access: Access; limit: number; offset: number }): Promise<Reply<TokenView[]>> {
    return this.#turn(
      input.access,
      () => (this.#schema.state === "absent" ? [] : this.#core.tokens.list(input.limit, input.offset)),
      true,
    );
  }

  addToken(input: { access: Access; minted: MintedToken }): Promise<Reply<{ id: string }>> {
    return this.#turn(input.access, ({ now }) => {
      this.#requireLive();
      const { profile, tokens } = this.#core;
      const { workspaceId } = profile.get();
      const id = tokens.add(input.minted, now * 1000);
      log.info("token.minted", { workspace_id: workspaceId, token_id: id });
      return { id };
    });
  }

  revokeToken(input: { access: Access; tokenId: string }): Promise<Reply<true>> {
    return this.#turn(
      input.access,
      ({ now }) => {
        if (!this.#core.tokens.revoke(input.tokenId, now * 1000)) throw new Refusal("token.not_found");
        log.info("token.revoked", { workspace_id: this.#core.profile.get().workspaceId, token_id: input.tokenId });
        return true as const;
      },
      false,
      "token.not_found",
    );
  }

  /** Whether the connection of an external agent may be shown. */
  requireExternal(input: { access: Access }): Promise<Reply<true>> {
    return this.#turn(input.access, () => {
      this.#externalId("external.connection_refused");
      return true as const;
    });
  }

  /** Ends every token of an external workspace, with their polls and sockets, and puts one new in their place. */
  rotateCredentials(input: { access: Access; minted: MintedToken }): Promise<Reply<true>> {
    return this.#turn(input.access, ({ now }) => {
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
    return this.#turn(null, () => this.#core.profile.get().agentCard);
  }

  /** Looks at everything that is due, as any contact does; sweeps call it. */
  async wake(): Promise<void> {
    if (this.#schema.state !== "ready") return;
    // Whoever wakes it thinks that memory has missed something: only the rows count.
    this.#core.forget();
    await this.alarm();
  }

  /** The daily visit: what is due, and once more what the ledger refused. */
  async scrub(): Promise<void> {
    if (this.#schema.state !== "ready") return;
    await this.#core.flush.retrySetAside();
    await this.wake();
  }

  /** A held poll (`/poll`) or an inbox socket (`/socket`); who asks and what for stands in one header. */
  override async fetch(request: Request): Promise<Response> {
    const { access, query, stream } = JSON.parse(request.headers.get(LISTEN_HEADER) ?? "{}") as ListenInput;
    const digest = access.kind === "token" ? access.digest : null;
    let upgrade: Response | null = null;
    const reply = await this.#turn(access, ({ now }): ActivityPage => {
      if (this.#schema.state === "absent") throw new Refusal("workspace.not_found");
      if (!this.#listeners.hasRoom()) throw new Refusal("overloaded", { retryAfter: 5 });
      const { page, after } = this.#messages.read(query, access.kind === "token", now);
      if (stream) upgrade = this.#listeners.stream(query, after ?? this.#core.inbox.head(), digest, now);
      else if (page.kind === "whole" && page.count === 0) upgrade = this.#listeners.hold(query, after, digest);
      return page;
    });
    return upgrade ?? Response.json(reply satisfies Reply<ActivityPage>);
  }

  override async webSocketMessage(_socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    // An inbox socket may acknowledge what it has read: {"ack":"<row id>"}.
    if (typeof message !== "string" || message.length > 200) return;
    const ack = readAck(message);
    if (ack !== null) await this.#turn({ kind: "admin" }, () => this.#messages.acknowledge(ack));
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    // 1005 and 1006 may not be sent; the peer has gone either way.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
    this.#alarm.arm(Date.now());
  }

  override async alarm(): Promise<void> {
    if (this.#schema.state !== "ready") return;
    const now = Date.now();
    await this.#alarm.run(now);
    await this.#afterCommit({ now, once: [] }, false);
  }

  /** What silence makes of the workspace, committed with what the board must hear of it. */
  #silence(now: number): void {
    const { profile } = this.#core;
    const before = profile.get();
    this.ctx.storage.transactionSync(() => {
      this.#presence.run(now);
      this.#board.note(before, now);
      profile.commit();
    });
  }

  /**
   * One turn: everything that `work` decides is committed before anything else happens, or nothing is. `absentToo`
   * lets work answer for a workspace that nobody created; otherwise that is `unknown`, or a bad token.
   */
  async #turn<T>(
    access: Access | null,
    work: (turn: Turn) => T,
    absentToo = false,
    unknown:
      | "workspace.not_found"
      | "a2a.access_denied"
      | "upload.not_found"
      | "a2a.queue_item_not_found"
      | "token.not_found" = "workspace.not_found",
  ): Promise<Reply<T>> {
    const turn: Turn = { now: Date.now(), once: [] };
    let rate: RateState | null = null;
    let urgent = false;
    const outcome = await settle(() => {
      if (this.#schema.state === "ahead") throw new Refusal("schema.ahead", { retryAfter: 10 });
      if (this.#schema.state === "absent") {
        if (access?.kind === "token") throw new Refusal("auth.invalid_token");
        if (!absentToo) throw new Refusal(unknown);
        return work(turn);
      }
      const { profile, tokens } = this.#core;
      const before = profile.get();
      const result = this.ctx.storage.transactionSync(() => {
        if (access) tokens.verify(access, turn.now * 1000);
        rate = this.#takeRate(access, turn.now);
        if (rate?.exceeded) {
          throw new Refusal("request.rate_limited", { details: { retry_after: rate.reset }, retryAfter: rate.reset });
        }
        if (access?.kind === "token") this.#presence.contact(turn.now);
        const value = work(turn);
        urgent = this.#board.note(before, turn.now);
        profile.commit();
        return value;
      });
      return result;
    }).catch((error) => {
      this.#core.forget();
      throw error;
    });
    if (!outcome.ok && this.#schema.state === "ready") this.#core.forget();
    if (this.#schema.state === "ready") await this.#afterCommit(turn, urgent);
    return { outcome, rate };
  }

  #externalId(refusal: "external.connection_refused" | "external.rotate_refused"): string {
    this.#requireLive();
    const { workspaceId, runtime } = this.#core.profile.get();
    if (runtime !== "external") throw new Refusal(refusal, { details: { runtime } });
    return workspaceId;
  }

  /** Whoever still gets here after a removal is an operator: the tokens are gone. */
  #requireLive(): void {
    const { removedAt, workspaceId } = this.#core.profile.get();
    if (removedAt !== null) throw new Refusal("workspace.removed", { details: { id: workspaceId } });
  }

  #takeRate(access: Access | null, now: number): RateState | null {
    if (access?.kind !== "token" || this.#core.config.devMode) return null;
    let window = this.#rates.get(access.digest);
    if (!window) {
      if (this.#rates.size >= RATE_WINDOWS_MAX) this.#rates.delete(this.#rates.keys().next().value ?? "");
      window = new RateWindow(this.#core.config.RATE_LIMIT);
      this.#rates.set(access.digest, window);
    }
    return window.take(now);
  }

  /** Tells others what has been committed. Only a status that people see is waited for, and not for long. */
  async #afterCommit({ now, once }: Turn, urgent: boolean): Promise<void> {
    const { flush, tokens } = this.#core;
    if (tokens.takeRevoked()) this.#listeners.closeRevoked((digest) => tokens.isLive(digest));
    if (flush.isDirty()) {
      this.#listeners.deliver(now);
      this.ctx.waitUntil(this.#flushAndRearm(now));
    }
    if (flush.isDirty() || once.length > 0) this.ctx.waitUntil(this.#tellHubAndRearm(now, once));
    if (this.#push.hasFresh) this.ctx.waitUntil(this.#push.handOverFresh(now));
    if (urgent) {
      const told = this.#board.run(now);
      await Promise.race([told, scheduler.wait(BOARD_WAIT_MS)]);
    }
    this.#alarm.arm(now);
  }

  async #tellHubAndRearm(now: number, once: HubEvent[]): Promise<void> {
    await this.#hub.run(now, once);
    this.#alarm.arm(Date.now());
  }

  async #flushAndRearm(now: number): Promise<void> {
    await this.#pace.run();
    this.#board.noteFlush(now);
    this.#alarm.arm(Date.now());
  }

  #scheduler(current: number | null, blobs: BlobStore | null): AlarmScheduler {
    const { flush } = this.#core;
    const flushClock = {
      name: "flush",
      dueAt: (now: number) => flush.dueAt(now),
      run: (now: number) => flush.run(now),
    };
    const presenceClock = {
      name: "presence",
      dueAt: (now: number) => this.#presence.dueAt(now),
      run: (now: number) => this.#silence(now),
    };
    return new AlarmScheduler(
      this.ctx.storage,
      [
        presenceClock,
        this.#push,
        this.#queue,
        this.#files,
        flushClock,
        this.#board,
        this.#hub,
        new Retention(this.#core, blobs),
      ],
      current,
    );
  }
}

function senderOf(caller: VerifiedCaller | null): Sender {
  return caller === null ? { kind: "canvas" } : { kind: "workspace", id: caller.id, path: caller.path };
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

function newProfile(facts: Omit<WorkspaceSeed, "token" | "events">): Profile {
  const { id, ...rest } = facts;
  return {
    ...rest,
    workspaceId: id,
    epoch: 0,
    lastSeen: null,
    absentSince: null,
    errorRate: 0,
    sampleError: "",
    activeTasks: 0,
    currentTask: "",
    startedAt: null,
    monthlySpend: 0,
    runtimeState: "",
    capabilities: {},
    lastOutboundAt: null,
    readSeq: 0,
    ackedSeq: 0,
    lostSeq: 0,
    hubThrough: 0,
    boardVersion: 0,
    boardDue: null,
    counters: {},
    removedAt: null,
  };
}
