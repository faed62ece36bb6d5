import type { EndMessage, ReceivedMessage } from "../../domain/delegation-effect.ts";
import type { Path } from "../../domain/hierarchy.ts";
import type { CallOutcome } from "../outbound-call/call.ts";

/** What became of a dispatch, as plain data; the law's `DispatchOutcome` is made of it. */
export type PlainOutcome =
  | { readonly kind: "poll_delivered" | "call_started" }
  | { readonly kind: "call_ended"; readonly outcome: CallOutcome }
  | { readonly kind: "drained"; readonly outcome: CallOutcome; readonly waitsAgain: boolean }
  | { readonly kind: "refused"; readonly error: string };

/** What a callee's object tells the owner of an attempt. */
export type CalleeWord =
  | { readonly kind: "outcome"; readonly attemptId: string; readonly dispatch: number; readonly outcome: PlainOutcome }
  | {
      readonly kind: "report";
      readonly attemptId: string;
      readonly status: "completed" | "failed";
      readonly text: string | null;
      readonly error: string | null;
    }
  | {
      readonly kind: "beat";
      readonly attemptId: string;
      readonly at: number;
      readonly progressSeq: number | null;
      readonly details: string | null;
    }
  | { readonly kind: "removed"; readonly attemptId: string };

/** A callee's word on its way to the object that owns the delegation. */
export interface WordToOwner {
  /** The callee. */
  readonly from: string;
  readonly delegationId: string;
  readonly word: CalleeWord;
}

/** A caller as its object hands it over, for the callee's object to judge the hierarchy. */
export interface HandedCaller {
  readonly id: string;
  readonly path: Path;
}

/** A task for the callee's object; the text is empty where the caller brings it by itself. */
export interface TaskHandOver {
  readonly caller: HandedCaller;
  readonly message: ReceivedMessage;
  readonly task: string;
}

/** An attempt's end for the callee's object. */
export interface TaskEnd {
  readonly caller: HandedCaller;
  readonly message: EndMessage;
}
