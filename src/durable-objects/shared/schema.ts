/** One step of an object's schema. Steps are only ever appended; a step that has run anywhere is never edited. */
export interface SchemaStep {
  readonly id: number;
  readonly sql: string;
}

/** Where the bookmark before a step is kept, for whoever wants to go back behind it. */
const BOOKMARK_KEY = "bookmark_before_step:";
/** A table of this name makes an object count as absent, though it has tables and rows. */
const UNFINISHED = "unfinished";

/** A place in the object's history to which its storage can be taken back. */
export interface StepBookmark {
  readonly step: number;
  readonly bookmark: string;
}

/**
 * An object's tables, made at its first write: an object that nobody created stores nothing.
 * `absent`: nothing stored, or not all of it yet; `ready`: as this code knows it; `ahead`: a newer version has written,
 * so this one must not.
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
    this.#storage.transactionSync(() => this.#make());
    this.#state = "ready";
  }

  /** Deletes everything that the object stores, its alarm too: it is absent again. */
  deleteAll(): Promise<void> {
    this.#state = "absent";
    return this.#storage.deleteAll();
  }

  /** Makes the tables of an object that counts as absent until `finish`; throws where there are some. */
  prepare(): void {
    this.#make();
    this.#storage.sql.exec(`CREATE TABLE ${UNFINISHED} (id INTEGER PRIMARY KEY) STRICT`);
  }

  /** All that belongs into a prepared object is there. */
  finish(): void {
    this.#storage.sql.exec(`DROP TABLE ${UNFINISHED}`);
    this.#state = "ready";
  }

  /** Looks again, after a transaction that was rolled back. */
  reload(): void {
    this.#state = this.#open();
  }

  /** Whether anything is stored at all. */
  get hasTables(): boolean {
    return this.#has("schema_steps");
  }

  /** Whether the object is prepared and not finished. */
  get isUnfinished(): boolean {
    return this.#has(UNFINISHED);
  }

  /** The bookmarks that were taken before steps, oldest first. */
  bookmarks(): StepBookmark[] {
    return [...this.#storage.kv.list<string>({ prefix: BOOKMARK_KEY })]
      .map(([key, bookmark]) => ({ step: Number(key.slice(BOOKMARK_KEY.length)), bookmark }))
      .sort((one, other) => one.step - other.step);
  }

  #open(): "absent" | "ready" | "ahead" {
    const { sql } = this.#storage;
    if (!this.hasTables || this.isUnfinished) return "absent";
    const { last } = sql.exec<{ last: number }>("SELECT max(id) AS last FROM schema_steps").one();
    const known = this.#steps.at(-1)?.id ?? 0;
    if (last > known) return "ahead";
    if (last < known) {
      this.#bookmark(last + 1);
      this.#storage.transactionSync(() => this.#apply(last));
    }
    return "ready";
  }

  #make(): void {
    this.#storage.sql.exec("CREATE TABLE schema_steps (id INTEGER PRIMARY KEY) STRICT");
    this.#apply(0);
  }

  #has(table: string): boolean {
    return this.#storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = ?", table).toArray().length > 0;
  }

  /** Asked for before the step runs; a runtime without bookmarks has none to keep. */
  #bookmark(step: number): void {
    const { kv } = this.#storage;
    void (async () => kv.put(`${BOOKMARK_KEY}${step}`, await this.#storage.getCurrentBookmark()))().catch(() => {});
  }

  /** The last step speaks for those before it: a row less for each of them in every object. */
  #apply(after: number): void {
    const missing = this.#steps.filter(({ id }) => id > after);
    for (const { sql } of missing) this.#storage.sql.exec(sql);
    this.#storage.sql.exec("INSERT INTO schema_steps (id) VALUES (?)", missing.at(-1)?.id ?? after);
  }
}
