import type { Usage } from "../../domain/a2a-answer.ts";
import type { PushOutcome, PushTarget } from "../../domain/a2a-outcome.ts";
import { Refusal, type RefusalCode, type RefusalOptions } from "../../domain/refusal.ts";

/** One call to an agent, as the workspace that decided on it hands it over. */
export interface CallIntent {
  /** The name of the call's object: one message of one sender has one, however often it is sent. */
  readonly callId: string;
  /** The workspace's number of this attempt; a later one is higher. */
  readonly attempt: number;
  /** Id of the workspace that hears of the outcome. */
  readonly reportTo: string;
  readonly url: string;
  readonly target: PushTarget;
  /** The machine in which the agent runs; left out where the platform runs none. */
  readonly instanceId?: string;
  /** The URL is that of this machine, from the backend itself. */
  readonly isMachineUrl?: boolean;
  /** The JSON-RPC request; null when it lies in R2 under `bodyKey`. */
  readonly body: string | null;
  readonly bodyKey: string | null;
}

/** A text, or where in R2 it lies when it is too large for a row. */
export type KeptText = { readonly text: string; readonly key: null } | { readonly text: null; readonly key: string };

/** What became of a call, as plain data. */
export interface CallOutcome {
  readonly delivered: PushOutcome["delivered"];
  readonly reason: string | null;
  readonly reply:
    | { readonly kind: "pass"; readonly status: number; readonly contentType: string }
    | { readonly kind: "refuse"; readonly code: RefusalCode; readonly options: RefusalOptions }
    | { readonly kind: "queue" };
  readonly row: Omit<PushOutcome["row"], "responseBody">;
  /** The answer as JSON, for rows. */
  readonly recorded: KeptText | null;
  readonly usage: Usage | null;
  readonly durationMs: number;
  /** The backend was asked after the call failed, and this machine does not run any more. */
  readonly deadInstanceId?: string;
}

/** A call's report to its workspace; the same report may come more than once. */
export interface CallReport {
  readonly callId: string;
  readonly attempt: number;
  readonly outcome: CallOutcome;
  /** The outcome is that of an earlier attempt; nobody was called again. */
  readonly repeated: boolean;
}

/** A place in the queue of a busy agent. */
export interface QueuePlace {
  readonly queueId: string;
  readonly queueDepth: number;
}

/** What whoever waits for a call is told. */
export type CallAnswer =
  | { readonly state: "working" }
  | {
      readonly state: "answered";
      readonly status: number;
      readonly contentType: string;
      readonly body: KeptText | null;
    }
  | { readonly state: "refused"; readonly code: RefusalCode; readonly options: RefusalOptions }
  | ({ readonly state: "queued" } & QueuePlace);

/** The outcome in the words of the law, for what it makes of a queue item. */
export function asPushOutcome({ delivered, reason, reply, row, recorded }: CallOutcome): PushOutcome {
  return {
    delivered,
    reason,
    reply:
      reply.kind === "pass"
        ? { ...reply, body: null }
        : reply.kind === "refuse"
          ? { kind: "refuse", refusal: new Refusal(reply.code, reply.options) }
          : reply,
    row: { ...row, responseBody: recorded?.text ?? null },
    containerDied: false,
  };
}
