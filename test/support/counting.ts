import { env, runInDurableObject } from "cloudflare:test";

/** What one piece of work cost, told apart by what the budgets name. */
export interface Costs {
  /** Methods called on objects, in order, the hub's `publish` apart. */
  readonly objectRequests: string[];
  readonly hubRequests: string[];
  /** Rows written in objects by table; the flush's watermark and the hub's tables apart. */
  readonly rowsWritten: Record<string, number>;
  readonly flushRows: number;
  /** R2 operations that write or list, and that read. */
  readonly r2: { readonly a: number; readonly b: number };
}

const HUB_TABLES = /^hub_/;
const FLUSH_TABLES = /^flush_/;
const CLASS_A = ["put", "list", "createMultipartUpload"] as const;
const CLASS_B = ["get", "head"] as const;

/**
 * Counts what work costs, by wrapping what the runtime hands to Worker and objects alike (they share this isolate).
 * Work that goes on after its answer counts as long as `work` waits for it.
 */
export async function costsOf(work: () => Promise<unknown>): Promise<Costs> {
  const counts = {
    objectRequests: [] as string[],
    hubRequests: [] as string[],
    rows: new Map<string, number>(),
    a: 0,
    b: 0,
  };
  const sql = await sqlPrototype();
  const restore = [wrapObjects(counts), wrapSql(sql, counts.rows), wrapBucket(counts)];
  try {
    await work();
  } finally {
    for (const undo of restore) undo();
  }
  const rowsWritten = Object.fromEntries(
    [...counts.rows].filter(([table]) => !HUB_TABLES.test(table) && !FLUSH_TABLES.test(table)),
  );
  const flushRows = [...counts.rows]
    .filter(([table]) => FLUSH_TABLES.test(table))
    .reduce((sum, [, rows]) => sum + rows, 0);
  const { objectRequests, hubRequests, a, b } = counts;
  return { objectRequests, hubRequests, rowsWritten, flushRows, r2: { a, b } };
}

/** All rows of a cost together. */
export function totalRows(costs: Costs): number {
  return Object.values(costs.rowsWritten).reduce((sum, rows) => sum + rows, 0);
}

function wrapObjects(counts: { objectRequests: string[]; hubRequests: string[] }): () => void {
  const prototype = Object.getPrototypeOf(env.WORKSPACE) as { getByName(name: string): object };
  const original = prototype.getByName;
  prototype.getByName = function (this: unknown, name: string) {
    const stub = original.call(this, name);
    return new Proxy(stub, {
      get(target, property) {
        const member = Reflect.get(target, property, target) as unknown;
        if (typeof member !== "function" || typeof property !== "string") return member;
        return (...parameters: unknown[]) => {
          (property === "publish" ? counts.hubRequests : counts.objectRequests).push(property);
          return Reflect.apply(member, target, parameters);
        };
      },
    });
  };
  return () => {
    prototype.getByName = original;
  };
}

const WRITE = /^\s*(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|UPDATE|DELETE\s+FROM)\s+(\w+)/i;

interface SqlPrototype {
  exec(query: string, ...bound: unknown[]): { rowsWritten: number };
}

/** The runtime has no global for it: an object that stores nothing lends its own. */
function sqlPrototype(): Promise<SqlPrototype> {
  const lender = env.WORKSPACE.get(env.WORKSPACE.idFromName("lender"));
  return runInDurableObject(lender, (_instance, { storage }) => Object.getPrototypeOf(storage.sql) as SqlPrototype);
}

function wrapSql(prototype: SqlPrototype, rows: Map<string, number>): () => void {
  const original = prototype.exec;
  prototype.exec = function (this: unknown, query: string, ...bound: unknown[]) {
    const cursor = original.call(this, query, ...bound);
    const table = WRITE.exec(query)?.[1];
    if (table) rows.set(table, (rows.get(table) ?? 0) + cursor.rowsWritten);
    return cursor;
  };
  return () => {
    prototype.exec = original;
  };
}

function wrapBucket(counts: { a: number; b: number }): () => void {
  const prototype = Object.getPrototypeOf(env.BLOBS) as Record<string, (...parameters: unknown[]) => unknown>;
  const originals = new Map<string, (...parameters: unknown[]) => unknown>();
  const wrap = (name: string, count: () => void) => {
    const original = prototype[name];
    if (!original) return;
    originals.set(name, original);
    prototype[name] = function (this: unknown, ...parameters: unknown[]) {
      count();
      return original.apply(this, parameters);
    };
  };
  for (const name of CLASS_A) wrap(name, () => (counts.a += 1));
  for (const name of CLASS_B) wrap(name, () => (counts.b += 1));
  return () => {
    for (const [name, original] of originals) prototype[name] = original;
  };
}
