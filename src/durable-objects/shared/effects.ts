import { log } from "../../log.ts";
import type { Clock } from "./alarm.ts";

/** Table of what other objects must still be told; part of the schema of every object that tells. */
export const EFFECTS_SCHEMA = `
CREATE TABLE effects (
  effect INTEGER PRIMARY KEY,
  receiver TEXT NOT NULL,
  kind TEXT NOT NULL,
  payload TEXT NOT NULL CHECK (json_valid(payload)),
  created_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  next_at INTEGER,
  error TEXT
) STRICT;
CREATE INDEX effects_waiting ON effects (next_at) WHERE next_at IS NOT NULL;
`;

/** What one object tells another. `id` with the sender's name makes a repetition recognisable. */
export interface Effect {
  readonly id: number;
  readonly receiver: string;
  readonly kind: string;
  readonly payload: string;
}

/** How a delivery ended: told, or there is nobody to tell any more. Anything thrown is tried again. */
export type Delivery = "told" | "gone";

const FIRST_RETRY_MS = 2_000;
const MAX_RETRY_MS = 5 * 60_000;
const GIVE_UP_AFTER_MS = 24 * 60 * 60_000;
const RETRY_MAX = 500;
const SLICE = 20;
const CONCURRENCY = 6;

/**
 * Effects are written in the turn of their cause, tried at once, and repeated by alarm until the receiver has
 * confirmed; after 24 h one is set aside, counted and shown, and tried once a day, never dropped.
 */
export class Effects implements Clock {
  readonly name = "effects";
  readonly #sql: SqlStorage;
  readonly #deliver: (effect: Effect) => Promise<Delivery>;
  readonly #random: () => number;
  readonly #running = new Set<number>();

  constructor(sql: SqlStorage, deliver: (effect: Effect) => Promise<Delivery>, random: () => number = Math.random) {
    this.#sql = sql;
    this.#deliver = deliver;
    this.#random = random;
  }

  /** Commits an effect with its cause; call inside the cause's turn. */
  add(receiver: string, kind: string, payload: unknown, now: number): Effect {
    const text = JSON.stringify(payload);
    const { effect } = this.#sql
      .exec<{ effect: number }>(
        "INSERT INTO effects (receiver, kind, payload, created_at, next_at) VALUES (?, ?, ?, ?, ?) RETURNING effect",
        receiver,
        kind,
        text,
        now,
        now + FIRST_RETRY_MS,
      )
      .one();
    return { id: effect, receiver, kind, payload: text };
  }

  /** Tries one effect now. True when it has been confirmed. */
  async tell(effect: Effect, now: number): Promise<boolean> {
    if (this.#running.has(effect.id)) return false;
    this.#running.add(effect.id);
    try {
      const delivery = await this.#deliver(effect);
      if (delivery === "gone") log.info("effect.receiver_gone", { kind: effect.kind, effect: effect.id });
      this.#sql.exec("DELETE FROM effects WHERE effect = ?", effect.id);
      return true;
    } catch (error) {
      this.#postpone(effect, now, error instanceof Error ? error.message : "unknown");
      return false;
    } finally {
      this.#running.delete(effect.id);
    }
  }

  dueAt(): number | null {
    return this.#sql
      .exec<{ due: number | null }>("SELECT min(next_at) AS due FROM effects WHERE next_at IS NOT NULL")
      .one().due;
  }

  async run(now: number): Promise<void> {
    const due = this.#sql
      .exec<{ effect: number; receiver: string; kind: string; payload: string }>(
        "SELECT effect, receiver, kind, payload FROM effects WHERE next_at <= ? ORDER BY next_at LIMIT ?",
        now,
        SLICE,
      )
      .toArray();
    for (let start = 0; start < due.length; start += CONCURRENCY) {
      const slice = due.slice(start, start + CONCURRENCY);
      await Promise.all(slice.map(({ effect, ...rest }) => this.tell({ id: effect, ...rest }, now)));
    }
  }

  /** Who has not yet confirmed an effect of this kind with this field in its payload. */
  owed(kind: string, field: string): ReadonlySet<string> {
    const rows = this.#sql.exec<{ receiver: string }>(
      "SELECT DISTINCT receiver FROM effects WHERE kind = ? AND json_type(payload, ?) IS NOT NULL",
      kind,
      `$.${field}`,
    );
    return new Set(rows.toArray().map(({ receiver }) => receiver));
  }

  /** Forgets what a receiver is not to hear any more; call inside the turn of whatever takes its place. */
  withdraw(receiver: string): void {
    this.#sql.exec("DELETE FROM effects WHERE receiver = ?", receiver);
  }

  /** Effects given up after 24 h; they stay for an operator to see. */
  setAside(): number {
    return this.#sql.exec<{ count: number }>("SELECT count(*) AS count FROM effects WHERE next_at IS NULL").one().count;
  }

  /**
   * Tries those again, the least tried first, so that each has its turn; the daily scrub calls it. What could not be
   * told for a day may be told now.
   */
  retrySetAside(now: number): void {
    this.#sql.exec(
      `UPDATE effects SET next_at = ? WHERE effect IN
         (SELECT effect FROM effects WHERE next_at IS NULL ORDER BY attempts, effect LIMIT ?)`,
      now,
      RETRY_MAX,
    );
  }

  #postpone(effect: Effect, now: number, error: string): void {
    const row = this.#sql
      .exec<{ attempts: number; created_at: number }>(
        "SELECT attempts, created_at FROM effects WHERE effect = ?",
        effect.id,
      )
      .toArray()[0];
    if (!row) return;
    const ceiling = Math.min(FIRST_RETRY_MS * 2 ** row.attempts, MAX_RETRY_MS);
    const next =
      now - row.created_at >= GIVE_UP_AFTER_MS ? null : now + Math.ceil(ceiling * (0.5 + this.#random() / 2));
    this.#sql.exec(
      "UPDATE effects SET attempts = attempts + 1, next_at = ?, error = ? WHERE effect = ?",
      next,
      error.slice(0, 200),
      effect.id,
    );
    if (next === null) log.error("effect.set_aside", { kind: effect.kind, effect: effect.id });
  }
}
