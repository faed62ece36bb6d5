import type { RateState } from "../../domain/rate-limit.ts";
import { type Outcome, settle } from "../../domain/refusal.ts";

/** What an object answers: the outcome, and where the principal stands in its rate window (null: not limited). */
export interface Reply<T> {
  readonly outcome: Outcome<T>;
  readonly rate: RateState | null;
}

/** The answer of an object that counts no requests. */
export async function reply<T>(work: () => T | Promise<T>): Promise<Reply<T>> {
  return { outcome: await settle(work), rate: null };
}
