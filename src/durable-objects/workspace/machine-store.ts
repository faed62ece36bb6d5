import { type Machine, servingMachine, type Wish } from "../../domain/lifecycle.ts";
import type { RestartContext } from "../../domain/restart-context.ts";

/** What else is known of the wish that stands. Times in ms since 1970. */
export interface WishFacts {
  readonly wishedAt: number;
  readonly platformUrl: string;
  readonly resetSession: boolean;
  /** When it was wished because the machine before had stopped by itself, within the last hour. */
  readonly restarts: readonly number[];
  /** What its agent is told once it is up; null when there is nothing to tell. */
  readonly context: RestartContext | null;
}

/** A machine with the operation that works on it, or worked last. */
export interface StoredMachine extends Machine {
  readonly operation: number;
  /** Where the agent in it is called, as the backend tells; null where the agent has to say it itself. */
  readonly url: string | null;
  /** When the operation was handed over last; it is handed over again until its outcome is known. */
  readonly handedAt: number;
}

/** Everything that is known of a workspace's machines. */
export interface StoredLifecycle {
  readonly wish: Wish;
  readonly facts: WishFacts;
  readonly machines: readonly StoredMachine[];
}

/** Of a workspace that never had a machine. */
export const NOTHING_WISHED: Wish = { number: 0, machine: "stopped", served: true };
const NO_FACTS: WishFacts = {
  wishedAt: 0,
  platformUrl: "",
  resetSession: false,
  restarts: [],
  context: null,
};

interface WishRow extends Record<string, SqlStorageValue> {
  wish: number;
  machine: Wish["machine"];
  served: number;
  wished_at: number;
  platform_url: string;
  reset_session: number;
  restarts: string;
  context: string | null;
}

interface MachineRow extends Record<string, SqlStorageValue> {
  start: number;
  wish: number;
  state: Machine["state"];
  instance_id: string | null;
  stopping: number;
  stop_failures: number;
  next_at: number;
  operation: number;
  handed_at: number;
  url: string | null;
}

/** The wish that stands and every machine whose stop has not been confirmed. */
export class MachineStore {
  readonly #sql: SqlStorage;
  #cache: StoredLifecycle | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  get(): StoredLifecycle {
    this.#cache ??= this.#read();
    return this.#cache;
  }

  /** The machine in which the workspace's agent should be; null while none is known to run. */
  serving(): StoredMachine | null {
    return servingMachine(this.get());
  }

  /** The machine whose own URL this is, as the backend told it; null for any other URL. */
  at(url: string | null): string | null {
    const serving = this.serving();
    return url !== null && serving?.url === url ? serving.instanceId : null;
  }

  /** Writes a wish, with what is known of it. */
  wish(wish: Wish, facts: WishFacts): void {
    this.#sql.exec(
      `INSERT INTO lifecycle (id, wish, machine, served, wished_at, platform_url, files, reset_session, restarts,
         context)
       VALUES (1, ?, ?, ?, ?, ?, '{}', ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET wish = excluded.wish, machine = excluded.machine, served = excluded.served,
         wished_at = excluded.wished_at, platform_url = excluded.platform_url,
         reset_session = excluded.reset_session, restarts = excluded.restarts, context = excluded.context`,
      wish.number,
      wish.machine,
      wish.served ? 1 : 0,
      facts.wishedAt,
      facts.platformUrl,
      facts.resetSession ? 1 : 0,
      JSON.stringify(facts.restarts),
      facts.context && JSON.stringify(facts.context),
    );
    this.#cache = null;
  }

  /** What a machine is brought, path to text; read when one starts and not before. */
  files(): Record<string, string> {
    const [row] = this.#sql.exec<{ files: string }>("SELECT files FROM machine_files").toArray();
    return row ? (JSON.parse(row.files) as Record<string, string>) : {};
  }

  putFiles(files: Readonly<Record<string, string>>): void {
    if (Object.keys(files).length === 0) this.#sql.exec("DELETE FROM machine_files");
    else this.#sql.exec("INSERT OR REPLACE INTO machine_files (id, files) VALUES (1, ?)", JSON.stringify(files));
  }

  put(machine: StoredMachine): void {
    this.#sql.exec(
      `INSERT OR REPLACE INTO machines
         (start, wish, state, instance_id, stopping, stop_failures, next_at, operation, handed_at, url)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      machine.start,
      machine.wish,
      machine.state,
      machine.instanceId,
      machine.stopping ? 1 : 0,
      machine.stopFailures,
      machine.nextAt,
      machine.operation,
      machine.handedAt,
      machine.url,
    );
    this.#cache = null;
  }

  drop(start: number): void {
    this.#sql.exec("DELETE FROM machines WHERE start = ?", start);
    this.#cache = null;
  }

  /** Drops what memory holds, after a turn that was rolled back. */
  forget(): void {
    this.#cache = null;
  }

  #read(): StoredLifecycle {
    const wish = this.#sql.exec<WishRow>("SELECT * FROM lifecycle").toArray()[0];
    const machines = this.#sql.exec<MachineRow>("SELECT * FROM machines ORDER BY start").toArray();
    return {
      wish: wish ? { number: wish.wish, machine: wish.machine, served: wish.served === 1 } : NOTHING_WISHED,
      facts: wish
        ? {
            wishedAt: wish.wished_at,
            platformUrl: wish.platform_url,
            resetSession: wish.reset_session === 1,
            restarts: JSON.parse(wish.restarts) as number[],
            context: wish.context === null ? null : (JSON.parse(wish.context) as RestartContext),
          }
        : NO_FACTS,
      machines: machines.map((row) => ({
        start: row.start,
        wish: row.wish,
        state: row.state,
        instanceId: row.instance_id,
        stopping: row.stopping === 1,
        stopFailures: row.stop_failures,
        nextAt: row.next_at,
        operation: row.operation,
        handedAt: row.handed_at,
        url: row.url,
      })),
    };
  }
}
