import { env, runInDurableObject } from "cloudflare:test";

interface KvPrototype {
  put(key: string, value: unknown): void;
  delete(key: string): boolean;
}

/** How many rows some work writes through the key-value methods of objects, which no SQL statement shows. */
export async function kvRowsOf(work: () => Promise<unknown>): Promise<string[]> {
  const lender = env.OUTBOUND_CALL.get(env.OUTBOUND_CALL.idFromName("lender"));
  const prototype = await runInDurableObject(
    lender,
    (_instance, { storage }) => Object.getPrototypeOf(storage.kv) as KvPrototype,
  );
  const { put, delete: remove } = prototype;
  const keys: string[] = [];
  prototype.put = function (this: unknown, key, value) {
    keys.push(key);
    put.call(this, key, value);
  };
  prototype.delete = function (this: unknown, key) {
    keys.push(key);
    return remove.call(this, key);
  };
  try {
    await work();
  } finally {
    prototype.put = put;
    prototype.delete = remove;
  }
  return keys;
}
