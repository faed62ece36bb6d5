import { Refusal, unwrap } from "../domain/refusal.ts";
import type { Reply } from "../durable-objects/shared/reply.ts";
import type { AppContext } from "./context.ts";
import { refuseToken } from "./refused-tokens.ts";

/** Waits for an object's answer; a refusal is thrown, the principal's rate goes to the answer's headers. */
export async function ask<T>(c: AppContext, reply: Promise<Reply<T>>): Promise<T> {
  return unwrapReply(c, await settled(reply));
}

/** What an object answered; a token that it did not know is counted. */
export async function unwrapReply<T>(c: AppContext, { outcome, rate }: Reply<T>): Promise<T> {
  if (rate) c.set("rate", rate);
  if (!outcome.ok && outcome.code === "auth.invalid_token") await refuseToken(c);
  return unwrap(outcome);
}

/** The same for objects that do not count requests. */
export async function settled<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (isOverloaded(error)) throw new Refusal("overloaded", { retryAfter: 2 });
    throw error;
  }
}

/** The runtime marks an object that cannot keep up; anything else that an object throws is a crash. */
function isOverloaded(error: unknown): boolean {
  return error instanceof Error && "overloaded" in error && error.overloaded === true;
}
