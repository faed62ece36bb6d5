import type { SweepFinding } from "../durable-objects/workspace/delegations.ts";
import type { DueDelegations, SweepCursor } from "../ledgers/delegation-ledger.ts";
import { log } from "../log.ts";
import { eachAlone, SWEEP_LIMIT, WAKE_TIMEOUT_MS } from "./sweep.ts";

/** What the sweep of delegations needs: the ledger finds them, the object of each caller decides about its own. */
export interface DelegationSweepDeps {
  find(after: SweepCursor, limit: number): Promise<DueDelegations>;
  /** One finding for each id. */
  judge(callerId: string, delegationIds: string[]): Promise<readonly SweepFinding[]>;
  now(): number;
  readonly timeoutMs?: number;
}

/** `raced`: the ledger showed as due what its owner had settled. `woken` and `errors` count owners. */
export interface DelegationSweepSummary extends Record<SweepFinding, number> {
  readonly scanned: number;
  readonly woken: number;
  readonly errors: number;
  readonly duration_ms: number;
}

export interface DelegationSweep {
  readonly summary: DelegationSweepSummary;
  /** Whether anything is in flight; true where the ledger could not tell. */
  readonly anyOpen: boolean;
  readonly next: SweepCursor;
}

/** Has every owner judge what is due, each one failing alone, and says in one line how it went. Never throws. */
export async function sweepDelegations(after: SweepCursor, deps: DelegationSweepDeps): Promise<DelegationSweep> {
  const startedAt = deps.now();
  const counts = { failed: 0, stuck: 0, raced: 0 };
  const found = await deps.find(after, SWEEP_LIMIT).catch(() => null);
  const owners = Map.groupBy(found?.due ?? [], ({ callerId }) => callerId);
  const judge = async ([callerId, keys]: [string, DueDelegations["due"]]) => {
    const findings = await deps.judge(
      callerId,
      keys.map(({ delegationId }) => delegationId),
    );
    for (const finding of findings) counts[finding] += 1;
  };
  const failures = await eachAlone([...owners], judge, deps.timeoutMs ?? WAKE_TIMEOUT_MS);
  const summary = {
    scanned: found?.due.length ?? 0,
    woken: owners.size - failures,
    ...counts,
    errors: failures + (found === null ? 1 : 0),
    duration_ms: deps.now() - startedAt,
  };
  log.info("sweep.delegations", summary);
  return { summary, anyOpen: found?.anyOpen ?? true, next: found?.next ?? after };
}
