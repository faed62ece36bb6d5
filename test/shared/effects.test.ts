import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { type Delivery, EFFECTS_SCHEMA, type Effect, Effects } from "../../src/durable-objects/shared/effects.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const START = 1_790_000_000_000;

/** Effects in the storage of a real object; `deliver` is what the receiver does. */
function withEffects(
  deliver: (effect: Effect) => Promise<Delivery>,
  work: (effects: Effects, sql: SqlStorage) => Promise<void>,
): Promise<void> {
  const object = env.WORKSPACE.getByName(crypto.randomUUID());
  return runInDurableObject(object, async (_instance, { storage: { sql } }) => {
    sql.exec(EFFECTS_SCHEMA);
    await work(new Effects(sql, deliver, () => 0), sql);
  });
}

describe("an effect", () => {
  it("is gone once its receiver has confirmed it, and once there is no receiver", async () => {
    for (const delivery of ["told", "gone"] as const) {
      await withEffects(
        async () => delivery,
        async (effects) => {
          const effect = effects.add("receiver", "created", { a: 1 }, START);
          expect(effects.dueAt()).toBeGreaterThan(START);
          expect(await effects.tell(effect, START)).toBe(true);
          expect(effects.dueAt()).toBeNull();
        },
      );
    }
  });

  it("is withdrawn with all others to its receiver, also while it is told", async () => {
    const telling = Promise.withResolvers<Delivery>();
    await withEffects(
      () => telling.promise,
      async (effects, sql) => {
        const effect = effects.add("receiver", "created", {}, START);
        effects.add("receiver", "placed", {}, START);
        effects.add("another", "created", {}, START);
        const told = effects.tell(effect, START);
        effects.withdraw("receiver");
        telling.reject(new Error("away"));
        expect(await told).toBe(false);
        expect(sql.exec("SELECT receiver FROM effects").toArray()).toEqual([{ receiver: "another" }]);
      },
    );
  });

  it("is owed to its receiver until that has confirmed it, told by its kind and a field", async () => {
    await withEffects(
      async () => "told",
      async (effects) => {
        const effect = effects.add("receiver", "placed", { workspaceDir: null }, START);
        effects.add("another", "placed", { name: "n" }, START);
        effects.add("third", "created", { workspaceDir: "/data" }, START);
        expect([...effects.owed("placed", "workspaceDir")]).toEqual(["receiver"]);
        await effects.tell(effect, START);
        expect([...effects.owed("placed", "workspaceDir")]).toEqual([]);
      },
    );
  });

  it("is repeated after a failure, later each time, and keeps its payload", async () => {
    const seen: string[] = [];
    await withEffects(
      async ({ payload }) => {
        seen.push(payload);
        if (seen.length < 3) throw new Error("away");
        return "told";
      },
      async (effects) => {
        const effect = effects.add("receiver", "created", { a: 1 }, START);
        expect(await effects.tell(effect, START)).toBe(false);
        const first = (effects.dueAt() ?? 0) - START;
        await effects.run(START + first);
        const second = (effects.dueAt() ?? 0) - START - first;
        expect(second).toBeGreaterThan(first);
        await effects.run(START + first + second);
        expect(effects.dueAt()).toBeNull();
        expect(seen).toEqual(['{"a":1}', '{"a":1}', '{"a":1}']);
      },
    );
  });

  it("is set aside after a day, counted, and never dropped", async () => {
    await withEffects(
      () => Promise.reject("no error at all"),
      async (effects, sql) => {
        effects.add("receiver", "created", {}, START);
        await effects.run(START + DAY_MS);
        expect(effects.dueAt()).toBeNull();
        expect(effects.setAside()).toBe(1);
        expect(sql.exec("SELECT error FROM effects").one()).toEqual({ error: "unknown" });
      },
    );
  });

  it("that was set aside is tried again when somebody asks, and set aside again while nobody hears it", async () => {
    let isAway = true;
    await withEffects(
      () => (isAway ? Promise.reject(new Error("away")) : Promise.resolve("told")),
      async (effects) => {
        effects.add("receiver", "removed", {}, START);
        await effects.run(START + DAY_MS);
        effects.retrySetAside(START + 2 * DAY_MS);
        expect(effects.dueAt()).toBe(START + 2 * DAY_MS);
        await effects.run(START + 2 * DAY_MS);
        expect([effects.dueAt(), effects.setAside()]).toEqual([null, 1]);
        isAway = false;
        effects.retrySetAside(START + 3 * DAY_MS);
        await effects.run(START + 3 * DAY_MS);
        expect([effects.dueAt(), effects.setAside()]).toEqual([null, 0]);
      },
    );
  });

  it("that was set aside waits for no other that is tried again and again", async () => {
    await withEffects(
      () => Promise.reject(new Error("away")),
      async (effects, sql) => {
        sql.exec(
          `WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 501)
           INSERT INTO effects (receiver, kind, payload, created_at, attempts)
           SELECT n, 'removed', '{}', 0, iif(n = 501, 1, 2) FROM numbers`,
        );
        effects.retrySetAside(START);
        expect(effects.setAside()).toBe(1);
        expect(sql.exec("SELECT receiver FROM effects WHERE next_at IS NULL").one()).toEqual({ receiver: "500" });
      },
    );
  });

  it("is told by one at a time, and a failure after its end leaves nothing behind", async () => {
    const answer = Promise.withResolvers<Delivery>();
    await withEffects(
      () => answer.promise,
      async (effects, sql) => {
        const effect = effects.add("receiver", "created", {}, START);
        const first = effects.tell(effect, START);
        expect(await effects.tell(effect, START)).toBe(false);
        sql.exec("DELETE FROM effects");
        answer.reject(new Error("away"));
        expect(await first).toBe(false);
        expect(sql.exec("SELECT 1 FROM effects").toArray()).toEqual([]);
      },
    );
  });
});
