/** The sweeps of the minute cron, by the name that their log lines carry. */
export const SWEEPS = ["uploads", "delegations"] as const;
export type SweepName = (typeof SWEEPS)[number];

/** With nothing in flight nobody looks for this long, so that Postgres may sleep. */
export const IDLE_SWEEP_INTERVAL_MS = 6 * 60 * 60 * 1000;
/** Ticks come within seconds of their minute: what is due half a minute later is due now. */
const TICK_SLACK_MS = 30_000;

/** A sweep that a tick is to make; `cursor` is the text that its last run left. */
export interface BegunSweep {
  readonly name: SweepName;
  readonly cursor: string | null;
}

export interface SweepEnd {
  readonly name: SweepName;
  /** Nothing was in flight, as far as the ledger knew. */
  readonly idle: boolean;
  readonly cursor: string | null;
  readonly errors: number;
}

/** When each sweep should look at the ledger again. */
export class SweepPlan {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** The sweeps that are due, or with `all` every one that is asked about, each planned anew. */
  begin(againInMs: Partial<Record<SweepName, number>>, all: boolean, now: number): BegunSweep[] {
    return SWEEPS.flatMap((name) => {
      const interval = againInMs[name];
      if (interval === undefined) return [];
      const [sweep] = this.#sql
        .exec<{ due_at: number; cursor: string | null }>("SELECT due_at, cursor FROM sweeps WHERE name = ?", name)
        .toArray();
      if (!sweep || (!all && sweep.due_at > now + TICK_SLACK_MS)) return [];
      this.#sql.exec("UPDATE sweeps SET due_at = ?, opened = 0 WHERE name = ?", now + interval, name);
      return [{ name, cursor: sweep.cursor }];
    });
  }

  /** Something has come into flight: the next look is no later than an interval from now. */
  pull(name: SweepName, intervalMs: number, now: number): void {
    this.#sql.exec(
      "UPDATE sweeps SET opened = 1, due_at = min(due_at, ?1) WHERE name = ?2 AND (opened = 0 OR due_at > ?1)",
      now + intervalMs,
      name,
    );
  }

  /** An idle one is put off, unless something came into flight since it began. */
  end({ name, idle, cursor, errors }: SweepEnd, now: number): void {
    this.#sql.exec(
      "UPDATE sweeps SET due_at = iif(? AND opened = 0, ?, due_at), cursor = ?, errors = errors + ? WHERE name = ?",
      idle ? 1 : 0,
      now + IDLE_SWEEP_INTERVAL_MS,
      cursor,
      errors,
      name,
    );
  }

  /** What ever went wrong, by sweep. */
  errors(): Record<string, number> {
    const rows = this.#sql.exec<{ name: string; errors: number }>("SELECT name, errors FROM sweeps").toArray();
    return Object.fromEntries(rows.map(({ name, errors }) => [name, errors]));
  }
}
