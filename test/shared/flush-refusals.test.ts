import { describe, expect, it } from "vitest";
import { aLane, away, back, laneDatabase, query, statements } from "../support/ledger.ts";
import { inPost } from "../support/parcels.ts";

const NOW = Date.UTC(2026, 10, 20);
/** More than activity_logs.duration_ms holds: SQLSTATE 22003. */
const TOO_HEAVY = 2 ** 31;

async function mirrored(workspaceId: string) {
  return query("SELECT id, version::int, summary FROM activity_logs WHERE workspace_id = $1 ORDER BY version, id", [
    workspaceId,
  ]);
}

describe("a row that the ledger refuses", () => {
  it("holds nothing up: it is set aside with its SQLSTATE, a row without texts stands for it, all others arrive", async () => {
    const lane = aLane();
    await inPost(laneDatabase(lane), async ({ id, flush, post }) => {
      const before = Array.from({ length: 5 }, () => post());
      const heavy = post({ summary: "private words", weight: TOO_HEAVY });
      const nul = post({ summary: "a\0b" });
      const after = Array.from({ length: 5 }, () => post());
      await flush.run(NOW);
      expect(flush.setAside()).toEqual([
        { ledger: "activity_logs", key: heavy, version: 6, sqlstate: "22003" },
        { ledger: "activity_logs", key: nul, version: 7, sqlstate: "22P05" },
      ]);
      expect(flush.status()).toMatchObject({ set_aside: 2, failures: 0, lag_versions: 0, blocked_reason: null });
      const rows = await mirrored(id);
      expect(rows.slice(0, 2).map((row) => row.id)).toEqual([heavy, nul].sort());
      expect(rows.slice(0, 2).map(({ version, summary }) => ({ version, summary }))).toEqual([
        { version: 0, summary: null },
        { version: 0, summary: null },
      ]);
      expect(rows.slice(2).map((row) => row.id)).toEqual([...before, ...after]);
      expect(await statements(lane)).toBeLessThan(20);
    });
  });

  it("is tried again by its next version, and kept with the newer error if that is refused too", async () => {
    await inPost(laneDatabase(aLane()), async ({ id, flush, post, parcels }) => {
      const parcel = post({ weight: TOO_HEAVY });
      post();
      await flush.run(NOW);
      parcels.put(flush.nextVersion(), { id: parcel, summary: "\0" });
      await flush.run(NOW);
      expect(flush.setAside()).toEqual([{ ledger: "activity_logs", key: parcel, version: 3, sqlstate: "22P05" }]);
      parcels.put(flush.nextVersion(), { id: parcel, summary: "mended" });
      await flush.run(NOW);
      expect(flush.setAside()).toEqual([]);
      expect(await mirrored(id)).toContainEqual({ id: parcel, version: 4, summary: "mended" });
    });
  });

  it("is tried again by the scrub: kept while it is refused or Postgres is away, taken when it can be held", async () => {
    const lane = aLane();
    await inPost(laneDatabase(lane), async ({ id, flush, post, parcels }) => {
      const heavy = post({ weight: TOO_HEAVY, summary: "heavy" });
      const gone = post({ weight: TOO_HEAVY });
      await flush.run(NOW);
      parcels.sql.exec("DELETE FROM activity_logs WHERE id = ?", gone);
      await flush.retrySetAside();
      expect(flush.status().set_aside).toBe(2);
      parcels.sql.exec("UPDATE activity_logs SET weight = 1 WHERE id = ?", heavy);
      await away(lane);
      await flush.retrySetAside();
      expect(flush.status()).toMatchObject({ set_aside: 2, failures: 0 });
      await back(lane);
      await flush.retrySetAside();
      expect(flush.setAside().map(({ key }) => key)).toEqual([gone]);
      expect(await mirrored(id)).toContainEqual({ id: heavy, version: 1, summary: "heavy" });
    });
  });

  it("is set aside even where nothing can stand for it", async () => {
    await inPost(laneDatabase(aLane()), async ({ id, flush, post }) => {
      const parcel = post({ created_at: 0.5 });
      const good = post();
      await flush.run(NOW);
      expect(flush.setAside()).toMatchObject([{ key: parcel, sqlstate: "22P02" }]);
      expect(await mirrored(id)).toEqual([{ id: good, version: 2, summary: null }]);
    });
  });

  it("is not the row's fault when eight different ones are refused alike: nothing is set aside, the flush backs off", async () => {
    await inPost(
      laneDatabase(aLane()),
      async ({ id, flush, post, parcels }) => {
        const ids = Array.from({ length: 8 }, () => post({ weight: TOO_HEAVY }));
        const good = post();
        await flush.run(NOW);
        expect(flush.status()).toMatchObject({ set_aside: 0, failures: 1, blocked_reason: "schema_refuses" });
        expect(flush.flushedThrough).toBe(0);
        expect(flush.dueAt(NOW)).toBe(flush.status().retry_at);
        parcels.sql.exec("UPDATE activity_logs SET weight = 1");
        await flush.run(Number(flush.status().retry_at));
        expect((await mirrored(id)).map((row) => row.id)).toEqual([...ids, good]);
        expect(flush.status()).toMatchObject({ failures: 0, blocked_reason: null });
      },
      { random: () => 0 },
    );
  });

  it("is the row's fault when seven are refused alike, whatever others are refused for another cause", async () => {
    await inPost(laneDatabase(aLane()), async ({ id, flush, post, events }) => {
      for (let row = 0; row < 7; row++) post({ weight: TOO_HEAVY });
      for (let row = 0; row < 7; row++) post({ summary: "\0" });
      for (let row = 0; row < 7; row++) events.put(flush.nextVersion(), { summary: "\0" });
      const good = post();
      await flush.run(NOW);
      expect(flush.status()).toMatchObject({ set_aside: 21, failures: 0, lag_versions: 0 });
      expect(await mirrored(id)).toContainEqual({ id: good, version: 22, summary: null });
    });
  });

  it("waits with the others when Postgres goes away while it is looked for", async () => {
    const lane = aLane();
    let writes = 0;
    let cut: Promise<void> = Promise.resolve();
    const real = laneDatabase(lane);
    const database = {
      ...real,
      query: async (text: string, parameters: readonly unknown[]) => {
        if (++writes === 3) cut = away(lane);
        await cut;
        return real.query(text, parameters);
      },
    };
    await inPost(
      database,
      async ({ id, flush, post }) => {
        const heavy = post({ weight: TOO_HEAVY });
        for (let row = 0; row < 3; row++) post();
        await flush.run(NOW);
        expect(flush.status()).toMatchObject({ set_aside: 0, lag_versions: 4, blocked_reason: "unavailable" });
        await back(lane);
        await flush.run(Number(flush.status().retry_at));
        expect(flush.setAside().map(({ key }) => key)).toEqual([heavy]);
        expect(await mirrored(id)).toHaveLength(4);
      },
      { random: () => 0 },
    );
  });
});
