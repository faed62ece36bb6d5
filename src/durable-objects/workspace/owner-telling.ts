import { isUnderWay, type Received } from "../../domain/delegation-received.ts";
import type { CallOutcome } from "../outbound-call/call.ts";
import type { Core } from "./core.ts";
import type { DelegationPost } from "./delegation-post.ts";
import type { CalleeWord, PlainOutcome } from "./delegation-words.ts";

/** A request to this workspace's agent that may be a delegated task. */
export interface Carried {
  readonly callerId: string | null;
  readonly attemptId: string | null;
}

/** What this workspace, as a callee, lets the owners of its tasks know. All methods run inside a turn. */
export class OwnerTelling {
  readonly #core: Core;
  readonly #post: DelegationPost;

  constructor(core: Core, post: DelegationPost) {
    this.#core = core;
    this.#post = post;
  }

  tell({ callerId, delegationId }: Received, word: CalleeWord, now: number): void {
    const { workspaceId: from } = this.#core.profile.get();
    this.#post.tellOwner(callerId, { from, delegationId, word }, now);
  }

  /** What became of a request's way to the agent; nobody is told of one that is no delegated task. */
  outcome({ callerId, attemptId }: Carried, outcome: PlainOutcome, now: number): void {
    if (callerId === null || attemptId === null) return;
    const stored = this.#core.received.find(attemptId, callerId);
    if (!stored) return;
    const { received } = stored;
    this.tell(received, { kind: "outcome", attemptId, dispatch: received.dispatch, outcome: briefly(outcome) }, now);
  }

  /** Whether a request is still worth sending: a message always is, a task until its attempt has ended. */
  isWanted({ callerId, attemptId }: Carried): boolean {
    if (callerId === null || attemptId === null) return true;
    const stored = this.#core.received.find(attemptId, callerId);
    return stored === null || isUnderWay(stored.received);
  }

  /** A task that waited for the agent's call now stands in its inbox. */
  inInbox({ callerId, attemptId }: Carried, activitySeq: number, now: number): void {
    if (callerId === null || attemptId === null) return;
    const stored = this.#core.received.find(attemptId, callerId);
    if (!stored) return;
    this.#core.received.put({ ...stored, activitySeq });
    this.outcome({ callerId, attemptId }, { kind: "poll_delivered" }, now);
  }
}

/** The owner has no use for the agent's trace, which may be as long as its answer. */
function briefly(outcome: PlainOutcome): PlainOutcome {
  return "outcome" in outcome ? { ...outcome, outcome: withoutTrace(outcome.outcome) } : outcome;
}

function withoutTrace({ row, ...outcome }: CallOutcome): CallOutcome {
  return { ...outcome, row: { ...row, toolTrace: null } };
}
