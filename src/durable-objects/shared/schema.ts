/** One step of an object's schema. Steps are only ever appended; a step that has run anywhere is never edited. */
export interface SchemaStep {
  readonly id: number;
  readonly sql: string;
}

/**
 * An object's tables, made at its first write: an object that nobody created stores nothing.
 * `absent`: nothing stored; `ready`: as this code knows it; `ahead`: a newer version has written, so this one must not.
 */
export class Schema {
  readonly #storage: DurableObjectStorage;
  readonly #steps: readonly SchemaStep[];
  #state: "absent" | "ready" | "ahead";

  constructor(storage: DurableObjectStorage, steps: readonly SchemaStep[]) {
    this.#storage = storage;
    this.#steps = steps;
    this.#state = this.#open();
  }

  get state(): "absent" | "ready" | "ahead" {
    return this.#state;
  }

  /** Makes the tables of an absent object; nothing to do otherwise. */
  create(): void {
    if (this.#state !== "absent") return;
    this.#storage.transactionSync(() => {
      this.#storage.sql.exec("CREATE TABLE schema_steps (id INTEGER PRIMARY KEY) STRICT");
      this.#apply(0);
    });
    this.#state = "ready";
  }

  /** Deletes everything that the object stores, its alarm too: it is absent again. */
  deleteAll(): Promise<void> {
    this.#state = "absent";
    return this.#storage.deleteAll();
  }

  #open(): "absent" | "ready" | "ahead" {
    const { sql } = this.#storage;
    if (sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'schema_steps'").toArray().length === 0) return "absent";
    const { last } = sql.exec<{ last: number }>("SELECT max(id) AS last FROM schema_steps").one();
    const known = this.#steps.at(-1)?.id ?? 0;
    if (last > known) return "ahead";
    if (last < known) this.#storage.transactionSync(() => this.#apply(last));
    return "ready";
  }

  /** The last step speaks for those before it: a row less for each of them in every object. */
  #apply(after: number): void {
    const missing = this.#steps.filter(({ id }) => id > after);
    for (const { sql } of missing) this.#storage.sql.exec(sql);
    this.#storage.sql.exec("INSERT INTO schema_steps (id) VALUES (?)", missing.at(-1)?.id ?? after);
  }
}
