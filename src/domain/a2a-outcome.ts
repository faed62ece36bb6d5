import { errorTextOf, toolTraceOf } from "./a2a-answer.ts";
import { isJsonObject, parseJsonText } from "./json-text.ts";
import { Refusal } from "./refusal.ts";
import { cutCodePoints, isStorableJson } from "./text.ts";

const RESTART_RETRY_S = 15;
const BUSY_RETRY_S = 30;
const MAX_REASON_CODE_POINTS = 300;

/** What one outgoing call to a push agent observed. `status` is the HTTP status that came back. */
export type Observation =
  | {
      readonly kind: "answered";
      readonly status: number;
      readonly body: string;
      /** Cloudflare wrote this page, not the agent: see `isCloudflareMade`. */
      readonly cloudflareMade: boolean;
    }
  /** The answer began and was cut off, or is larger than may be kept. */
  | { readonly kind: "answer_cut" | "too_large"; readonly status: number }
  /** The URL guard refused the target before anything was sent. */
  | { readonly kind: "guard_refused"; readonly reason: string }
  /** Nothing was sent: the stored request is gone, or its place in the queue was given up. */
  | { readonly kind: "not_sent"; readonly reason: string }
  | { readonly kind: "fetch_threw"; readonly reason: string }
  /** No answer within the longest time that a call may take. */
  | { readonly kind: "timed_out" }
  /** The call had started and whoever made it is gone: eviction, deploy. */
  | { readonly kind: "lost" };

/** Who was called, and what the platform knows of it besides the call. */
export interface PushTarget {
  readonly name: string;
  readonly method: string;
  /** `none` without a backend, and always for runtime external. */
  readonly container: "none" | "alive" | "dead";
  /** Capability `session`: the agent's own adapter retries when busy, so nothing is queued for it. */
  readonly nativeSession: boolean;
}

export interface PushOutcome {
  /** `unknown` is never repeated; `no` may be, because it surely never reached the agent. */
  readonly delivered: "yes" | "no" | "unknown";
  /** Why there is no answer; null when there is one. */
  readonly reason: string | null;
  /** What the waiting caller gets: the agent's words, a refusal, or a place in the queue (202). */
  readonly reply:
    | { readonly kind: "pass"; readonly status: number; readonly contentType: string; readonly body: string | null }
    | { readonly kind: "refuse"; readonly refusal: Refusal }
    | { readonly kind: "queue" };
  /** How the row in the target's feed reads. Bodies are JSON texts. */
  readonly row: {
    readonly status: "ok" | "error";
    readonly summary: string;
    readonly errorDetail: string | null;
    readonly responseBody: string | null;
    readonly toolTrace: string | null;
  };
  /** The container is gone: mark offline, say so, restart. */
  readonly containerDied: boolean;
}

/**
 * Judges a push call. Surely not delivered are only: the guard's refusal, a failed probe of `npm start`, a Cloudflare-made 521, 523
 * or 530, and the agent's own 429 and 503, which mean busy and are queued. Every other failure is unknown, but an
 * answer that was cut or too large did come from the agent. Error texts are reported and never consulted.
 *
 * Where the contract is silent: the agent's other statuses, redirects included, are its answer and pass through with
 * their body; an answer that is no JSON object is kept as `{text}`, so that a late one is not lost; an answer of 300
 * or above that is no JSON passes as plain text, so that an agent's HTML never runs under the platform's origin.
 */
export function judgePush(observed: Observation, target: PushTarget): PushOutcome {
  if (observed.kind !== "answered") return failure(observed, target);
  const { status, body, cloudflareMade } = observed;
  if (cloudflareMade) {
    const delivered = SURELY_UNDELIVERED_STATUSES.has(status) ? "no" : "unknown";
    return unreachable(
      delivered,
      `Cloudflare answered ${status} in the agent's place`,
      target,
      isGatewayStatus(status),
    );
  }
  if (target.container === "dead" && isGatewayStatus(status)) {
    return unreachable(isBusyStatus(status) ? "no" : "unknown", `agent answered HTTP ${status}`, target, true);
  }
  return isBusyStatus(status) ? busy(status, target) : answer(status, body, target);
}

/** Whether a container that is not there any more would explain what was observed: an agent itself answers in JSON. */
export function tellsOfDeath(observed: Observation): boolean {
  if (observed.kind === "answered")
    return isGatewayStatus(observed.status) && !isJsonObject(parseJsonText(observed.body)?.value);
  return observed.kind === "not_sent" || observed.kind === "fetch_threw";
}

/**
 * Whether Cloudflare wrote an answer itself: a status that only Cloudflare has, or one of its error pages. `server` is
 * the header of that name.
 */
export function isCloudflareMade(status: number, server: string | null, body: string): boolean {
  if ((status >= 520 && status <= 527) || status === 530) return true;
  if (status < 400 || server?.toLowerCase() !== "cloudflare") return false;
  return /^error code: \d+\s*$/.test(body) || /\bcf-(?:error|wrapper)|Cloudflare Ray ID/.test(body);
}

/** The 202 answer for a request that waits in the queue of a busy agent, or whose answer is still awaited. */
export function queuedEnvelope(queueId: string, queueDepth: number, why: "busy" | "working") {
  const message =
    why === "busy"
      ? "workspace agent busy — request queued, will dispatch when capacity available"
      : "workspace agent still working — its answer will be recorded under this queue_id";
  return { queued: true, queue_id: queueId, queue_depth: queueDepth, message } as const;
}

/** What the caller gets when the agent is busy and the request could not be queued either. */
export function busyRefusal(nativeSession: boolean): Refusal {
  const details = { busy: true, retry_after: BUSY_RETRY_S };
  if (!nativeSession) return new Refusal("a2a.busy", { details, retryAfter: BUSY_RETRY_S });
  return new Refusal("a2a.busy", {
    error: "workspace agent busy — adapter handles retry (native_session)",
    details: { ...details, native_session: true },
    retryAfter: BUSY_RETRY_S,
  });
}

const SURELY_UNDELIVERED_STATUSES: ReadonlySet<number> = new Set([521, 523, 530]);
const GATEWAY_STATUSES: ReadonlySet<number> = new Set([502, 503, 504, 521, 522, 523, 524]);
const BODILESS_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);

/** Statuses that a dead container's network answers in its place. */
function isGatewayStatus(status: number): boolean {
  return GATEWAY_STATUSES.has(status);
}

function isBusyStatus(status: number): boolean {
  return status === 429 || status === 503;
}

function answer(status: number, body: string, target: PushTarget): PushOutcome {
  const parsed = parseJsonText(body);
  const isError = status >= 400;
  return {
    delivered: "yes",
    reason: null,
    reply: {
      kind: "pass",
      status,
      contentType: status < 300 || parsed !== null ? "application/json" : "text/plain; charset=utf-8",
      body: BODILESS_STATUSES.has(status) ? null : body,
    },
    row: {
      status: isError ? "error" : "ok",
      summary: `${target.method} → ${target.name}`,
      errorDetail: isError ? reasonOf(errorTextOf(body) ?? "") || `agent answered HTTP ${status}` : null,
      responseBody: storedAnswer(body, parsed?.value),
      toolTrace: isStorableJson(body) ? toolTraceOf(body) : null,
    },
    containerDied: false,
  };
}

function storedAnswer(body: string, value: unknown): string {
  if (isJsonObject(value) && isStorableJson(body)) return body;
  return JSON.stringify({ text: storable(body) });
}

function failure(observed: Exclude<Observation, { kind: "answered" }>, target: PushTarget): PushOutcome {
  switch (observed.kind) {
    case "guard_refused":
      return failed("no", observed.reason, new Refusal("a2a.not_routable"), target);
    case "not_sent":
      return unreachable("no", observed.reason, target, true);
    case "fetch_threw":
      return unreachable("unknown", observed.reason, target, true);
    case "timed_out":
      return unreachable("unknown", "no answer in time", target, false);
    case "lost":
      return unreachable("unknown", "the platform lost sight of the call", target, false);
    case "answer_cut":
      return unread(`answer cut off (HTTP ${observed.status})`, target);
    case "too_large":
      return unread(`answer larger than 10 MiB (HTTP ${observed.status})`, target);
  }
}

function busy(status: number, target: PushTarget): PushOutcome {
  const outcome = failed("no", `agent busy (HTTP ${status})`, busyRefusal(target.nativeSession), target);
  return target.nativeSession ? outcome : { ...outcome, reply: { kind: "queue" } };
}

function unread(reason: string, target: PushTarget): PushOutcome {
  return failed("yes", reason, new Refusal("a2a.answer_unread", { details: { delivery_confirmed: true } }), target);
}

/** `tellsOfDeath` is a failure that a dead container explains. */
function unreachable(
  delivered: "yes" | "no" | "unknown",
  reason: string,
  target: PushTarget,
  tellsOfDeath: boolean,
): PushOutcome {
  const confirmation = delivered === "unknown" ? { delivery_confirmed: false } : {};
  if (!tellsOfDeath || target.container !== "dead") {
    return failed(delivered, reason, new Refusal("a2a.unreachable", { details: confirmation }), target);
  }
  const details = { restarting: true, retry_after: RESTART_RETRY_S, ...confirmation };
  const refusal = new Refusal("a2a.restarting", { details, retryAfter: RESTART_RETRY_S });
  return { ...failed(delivered, reason, refusal, target), containerDied: true };
}

function failed(delivered: PushOutcome["delivered"], why: string, refusal: Refusal, target: PushTarget): PushOutcome {
  const reason = reasonOf(why);
  return {
    delivered,
    reason,
    reply: { kind: "refuse", refusal },
    row: {
      status: "error",
      summary: `A2A request to ${target.name} failed: ${reason}`,
      errorDetail: reason,
      responseBody: null,
      toolTrace: null,
    },
    containerDied: false,
  };
}

function reasonOf(text: string): string {
  return cutCodePoints(storable(text), MAX_REASON_CODE_POINTS);
}

function storable(text: string): string {
  return text.toWellFormed().replaceAll("\u0000", "\ufffd");
}
