import { env } from "cloudflare:test";

/** Loses calls of one method between objects while `work` runs: the first `times` of them throw, unheard. */
export async function losing<T>(method: string, times: number, work: () => Promise<T>): Promise<T> {
  const prototype = Object.getPrototypeOf(env.WORKSPACE) as { getByName(name: string): object };
  const original = prototype.getByName;
  let left = times;
  prototype.getByName = function (this: unknown, name: string) {
    return new Proxy(original.call(this, name), {
      get(target, property) {
        if (property === method && left > 0) {
          left -= 1;
          return () => Promise.reject(new Error("lost"));
        }
        const member = Reflect.get(target, property, target) as unknown;
        return typeof member === "function"
          ? (...parameters: unknown[]) => Reflect.apply(member, target, parameters)
          : member;
      },
    });
  };
  try {
    return await work();
  } finally {
    prototype.getByName = original;
  }
}
