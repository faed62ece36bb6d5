import { DurableObject } from "cloudflare:workers";
import { configOf, pushUrlPolicy } from "../../config.ts";
import { usageOf } from "../../domain/a2a-answer.ts";
import {
  busyRefusal,
  judgePush,
  type Observation,
  type PushOutcome,
  type PushTarget,
  tellsOfDeath,
} from "../../domain/a2a-outcome.ts";
import { unwrap } from "../../domain/refusal.ts";
import { log } from "../../log.ts";
import { type BlobStore, blobStoreOf } from "../../storage/blob-store.ts";
import { isLargeBody, LARGE_BODY_BYTES, readLargeBody, storeLargeBody } from "../../storage/large-body.ts";
import { within } from "../../time-limit.ts";
import { machineIsGone } from "../shared/machine-look.ts";
import { workspaceStub } from "../shared/stubs.ts";
import type { CallAnswer, CallIntent, CallOutcome, KeptText, QueuePlace } from "./call.ts";
import { CallState, type Ended } from "./call-state.ts";
import { ANSWER_BYTES_MAX, CALL_CEILING_MS, observe } from "./observe.ts";

/** An ended call answers repetitions this long after its workspace has confirmed the report. */
const KEPT_MS = 24 * 60 * 60_000;
const REPORT_TIMEOUT_MS = 10_000;
const REPORT_AGAIN_MIN_MS = 1_000;
const REPORT_AGAIN_MAX_MS = 5 * 60_000;

const MACHINE_GONE: Observation = { kind: "not_sent", reason: "its machine does not run" };

const EVENT_OF = { yes: "call.answered", no: "call.undelivered", unknown: "call.unknown" } as const;

/**
 * One call to a push agent. Handing it over stores the intent; the object's own alarm makes the call, once, and
 * reports until the workspace has confirmed. A call that wakes up started and without an outcome is unknown.
 */
export class OutboundCall extends DurableObject<Env> {
  readonly #state: CallState;
  readonly #blobs: BlobStore | null;
  #running = false;
  #done = Promise.withResolvers<void>();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#state = new CallState(ctx.storage.kv);
    this.#blobs = blobStoreOf(env);
  }

  /**
   * Takes a call over and waits up to `waitMs` for its outcome. A repetition finds the same call. A later attempt
   * calls again only where the one before surely was not delivered; else it is given what that one got.
   */
  async start({ intent, waitMs }: { intent: CallIntent; waitMs: number }): Promise<CallAnswer> {
    await this.#reported(intent.attempt);
    const known = this.#state.intent;
    const ended = known && this.#state.ended(known.attempt);
    const isLater = known !== null && intent.attempt > known.attempt;
    if (!known || (isLater && ended?.outcome.delivered === "no")) {
      this.#state.begin(intent);
      await this.ctx.storage.setAlarm(Date.now());
    } else if (isLater && ended) {
      await this.#report({ ...known, attempt: intent.attempt }, ended.outcome, true);
    } else if (
      !this.#running &&
      !this.#state.confirmed(known.attempt) &&
      (await this.ctx.storage.getAlarm()) === null
    ) {
      await this.ctx.storage.setAlarm(Date.now());
    }
    const answer = this.#answer();
    if (answer.state !== "working" || waitMs <= 0) return answer;
    await Promise.race([this.#done.promise, scheduler.wait(waitMs)]);
    return this.#answer();
  }

  /** Takes a call back unless it has started: it ends as one that was not sent, and is reported like any other. One that has goes on. */
  async withdraw({ intent }: { intent: CallIntent }): Promise<void> {
    const notSent: Observation = { kind: "not_sent", reason: "taken back before it was sent" };
    const ended = await this.#kept(intent, notSent, judgePush(notSent, intent.target), 0);
    const known = this.#state.intent;
    const last = known && this.#state.ended(known.attempt);
    const isNew = known === null || (intent.attempt > known.attempt && last?.outcome.delivered === "no");
    const isUnstarted = known?.attempt === intent.attempt && !this.#state.hasStarted(intent.attempt);
    if (!isNew && !isUnstarted) {
      await this.start({ intent, waitMs: 0 });
      return;
    }
    this.#state.begin(intent);
    this.#state.start(intent.attempt);
    this.#state.end(intent.attempt, ended);
    await this.ctx.storage.setAlarm(Date.now());
  }

  override async alarm(): Promise<void> {
    const intent = this.#state.intent;
    if (!intent) return;
    this.#running = true;
    try {
      await this.#go(intent);
    } finally {
      this.#running = false;
      this.#done.resolve();
      this.#done = Promise.withResolvers();
    }
  }

  /** A later attempt begins when the one before has finished reporting. */
  async #reported(attempt: number): Promise<void> {
    const known = this.#state.intent;
    if (this.#running && known && attempt > known.attempt && this.#state.ended(known.attempt)) await this.#done.promise;
  }

  async #go(intent: CallIntent): Promise<void> {
    const { storage } = this.ctx;
    const confirmed = this.#state.confirmed(intent.attempt);
    if (confirmed) {
      const goneAt = confirmed.at + KEPT_MS;
      if (Date.now() < goneAt) await storage.setAlarm(goneAt);
      else await this.#forget(intent);
      return;
    }
    const { outcome, at } = this.#state.ended(intent.attempt) ?? (await this.#call(intent));
    const report = await this.#report(intent, outcome, false);
    if (report) {
      const now = Date.now();
      this.#state.confirm({ attempt: intent.attempt, at: now, place: report.place });
      await storage.setAlarm(now + KEPT_MS);
    } else {
      const age = Math.max(Date.now() - at, REPORT_AGAIN_MIN_MS);
      await storage.setAlarm(Date.now() + Math.min(age * (1 + Math.random()), REPORT_AGAIN_MAX_MS));
    }
  }

  async #call(intent: CallIntent): Promise<Ended> {
    const { attempt, target } = intent;
    const startedAt = Date.now();
    let observed: Observation = { kind: "lost" };
    if (!this.#state.hasStarted(attempt)) {
      this.#state.start(attempt);
      // Nothing leaves before it is certain that nothing will leave a second time.
      await this.ctx.storage.sync();
      log.info("call.started", factsOf(intent));
      observed = await this.#observe(intent);
    }
    const container = observed === MACHINE_GONE ? "dead" : await this.#containerOf(intent, observed);
    const judged = judgePush(observed, { ...target, container });
    const ended = await this.#kept(intent, observed, judged, Date.now() - startedAt);
    this.#state.end(attempt, ended);
    await this.ctx.storage.sync();
    const { delivered, row, durationMs } = ended.outcome;
    const status = "status" in observed ? observed.status : null;
    const event = EVENT_OF[delivered];
    log.info(event, {
      ...factsOf(intent),
      observed: observed.kind,
      status,
      row_status: row.status,
      duration_ms: durationMs,
    });
    return ended;
  }

  /** A failure that a dead container explains is looked into; whatever cannot be seen counts as alive. */
  async #containerOf(intent: CallIntent, observed: Observation): Promise<PushTarget["container"]> {
    if (intent.instanceId === undefined || !tellsOfDeath(observed)) return "none";
    return (await this.#isGone(intent)) ? "dead" : "alive";
  }

  async #isGone({ reportTo, instanceId }: CallIntent): Promise<boolean> {
    return instanceId !== undefined && (await machineIsGone(this.env, reportTo, instanceId));
  }

  async #observe(intent: CallIntent): Promise<Observation> {
    const { url, body, bodyKey, isMachineUrl = false } = intent;
    // Another machine may answer at the address of one that is gone.
    if (isMachineUrl && (await this.#isGone(intent))) return MACHINE_GONE;
    const stored = bodyKey === null ? body : await this.#stored(bodyKey);
    // Nothing was sent, which is all that this kind says.
    if (stored === null) return { kind: "not_sent", reason: "the stored request is gone" };
    const config = configOf(this.env);
    return observe({
      url,
      body: stored,
      policy: pushUrlPolicy(config),
      isProbed: config.localPlatform,
      isMachineUrl,
      answerBytesMax: this.#blobs ? ANSWER_BYTES_MAX : LARGE_BODY_BYTES,
      ceilingMs: CALL_CEILING_MS,
    });
  }

  async #stored(key: string): Promise<Uint8Array | null> {
    try {
      const stream = this.#blobs && (await readLargeBody(this.#blobs, key));
      return stream && (await new Response(stream).bytes());
    } catch {
      return null;
    }
  }

  /** The outcome with its texts where they fit; an answer that cannot be kept counts as one that could not be read. */
  async #kept(
    { reportTo, target, instanceId }: CallIntent,
    observed: Observation,
    judged: PushOutcome,
    durationMs: number,
  ): Promise<Ended> {
    const at = Date.now();
    const words = judged.reply.kind === "pass" ? judged.reply.body : null;
    const { responseBody, toolTrace, ...rest } = judged.row;
    // A trace too large for a row still stands in the answer.
    const row = {
      ...rest,
      toolTrace: toolTrace !== null && toolTrace.length * 3 > LARGE_BODY_BYTES ? null : toolTrace,
    };
    const usage = words === null ? null : usageOf(words);
    try {
      const answer = words === null ? null : await this.#keptText(reportTo, words);
      const recorded =
        responseBody === words ? answer : responseBody === null ? null : await this.#keptText(reportTo, responseBody);
      const death = judged.containerDied && instanceId !== undefined ? { deadInstanceId: instanceId } : {};
      return { at, answer, outcome: { ...plain(judged), row, recorded, usage, durationMs, ...death } };
    } catch (error) {
      log.error("call.answer_not_kept", {
        workspace_id: reportTo,
        reason: error instanceof Error ? error.name : "unknown",
      });
      const unread = judgePush({ kind: "answer_cut", status: "status" in observed ? observed.status : 0 }, target);
      return {
        at,
        answer: null,
        outcome: { ...plain(unread), row: { ...unread.row, toolTrace: null }, recorded: null, usage, durationMs },
      };
    }
  }

  async #keptText(workspaceId: string, text: string): Promise<KeptText> {
    // No text of fewer characters can be too large, whatever it is made of.
    const bytes = text.length * 3 > LARGE_BODY_BYTES ? new TextEncoder().encode(text) : null;
    if (!bytes || !isLargeBody(bytes) || !this.#blobs) return { text, key: null };
    return { text: null, key: (await storeLargeBody(this.#blobs, workspaceId, bytes)).key };
  }

  /** Null when the workspace did not confirm. */
  async #report(
    intent: CallIntent,
    outcome: CallOutcome,
    repeated: boolean,
  ): Promise<{ place: QueuePlace | null } | null> {
    const { callId, attempt, reportTo } = intent;
    try {
      const reply = workspaceStub(this.env, reportTo).reportCall({ callId, attempt, outcome, repeated });
      return unwrap((await within(reply, REPORT_TIMEOUT_MS)).outcome);
    } catch (error) {
      log.warn("call.not_reported", { ...factsOf(intent), reason: error instanceof Error ? error.name : "unknown" });
      return null;
    }
  }

  #answer(): CallAnswer {
    const intent = this.#state.intent;
    const ended = intent && !this.#running ? this.#state.ended(intent.attempt) : null;
    if (!intent || !ended) return { state: "working" };
    const { reply } = ended.outcome;
    switch (reply.kind) {
      case "pass":
        return { state: "answered", status: reply.status, contentType: reply.contentType, body: ended.answer };
      case "refuse":
        return { state: "refused", code: reply.code, options: reply.options };
      case "queue": {
        const place = this.#state.confirmed(intent.attempt)?.place;
        return place ? { state: "queued", ...place } : refusedAsBusy(intent.target);
      }
    }
  }

  async #forget(intent: CallIntent): Promise<void> {
    const ended = this.#state.ended(intent.attempt);
    const key = ended?.answer?.key ?? null;
    // A text that a row shows too belongs to the row.
    if (key !== null && key !== ended?.outcome.recorded?.key) await this.#blobs?.delete([key]);
    await this.ctx.storage.deleteAll();
    this.#state.forget();
  }
}

function plain(judged: PushOutcome): Pick<CallOutcome, "delivered" | "reason" | "reply"> {
  const { delivered, reason, reply } = judged;
  switch (reply.kind) {
    case "pass":
      return { delivered, reason, reply: { kind: "pass", status: reply.status, contentType: reply.contentType } };
    case "refuse":
      return { delivered, reason, reply: { kind: "refuse", code: reply.refusal.code, options: reply.refusal.options } };
    case "queue":
      return { delivered, reason, reply };
  }
}

function refusedAsBusy({ nativeSession }: PushTarget): CallAnswer {
  const { code, options } = busyRefusal(nativeSession);
  return { state: "refused", code, options };
}

function factsOf({ callId, attempt, reportTo, target }: CallIntent) {
  return { call_id: callId, attempt, workspace_id: reportTo, method: target.method };
}
