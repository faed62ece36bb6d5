import { describe, expect, it } from "vitest";
import { EPOCH_SPAN, FLUSH_SCHEMA } from "../../src/durable-objects/shared/flush.ts";
import { BATCH_BYTES_MAX } from "../../src/durable-objects/shared/flush-batch.ts";
import { LedgerFailure } from "../../src/ledgers/failure.ts";
import type { LedgerBatch } from "../../src/ledgers/ledger-write.ts";
import { aDatabase, aLane, away, back, laneDatabase, query, statements } from "../support/ledger.ts";
import { inPost, type Post } from "../support/parcels.ts";

const NOW = Date.UTC(2026, 10, 20);

function mirrored(workspaceId: string, url?: string) {
  return query(
    "SELECT id, version::int, summary FROM activity_logs WHERE workspace_id = $1 ORDER BY version",
    [workspaceId],
    url,
  );
}

function versionsOf(batch: LedgerBatch): number[] {
  return Object.values(batch.rows)
    .flat()
    .map(({ version }) => version)
    .sort((one, other) => one - other);
}

describe("a flush", () => {
  it("sends 500 rows of all tables in one statement and writes one row for it", async () => {
    const lane = aLane();
    await inPost(laneDatabase(lane), async ({ storage, id, flush, post, events }) => {
      for (let row = 0; row < 250; row++) {
        post();
        events.put(flush.nextVersion(), { summary: "{}" });
      }
      expect(flush.status()).toMatchObject({ lag_versions: 500, blocked_reason: null });
      const written = rowsWritten(storage);
      await flush.run(NOW);
      expect(written()).toBe(1);
      expect(await statements(lane)).toBe(1);
      expect(await mirrored(id)).toHaveLength(250);
      const count = "SELECT count(*)::int AS rows FROM structure_events WHERE workspace_id = $1";
      expect(await query(count, [id])).toEqual([{ rows: 250 }]);
      expect(flush.flushedThrough).toBe(500);
      expect(flush.isDirty()).toBe(false);
      await flush.run(NOW);
      expect(await statements(lane)).toBe(1);
    });
  });

  it("merges the tables by version and cuts at 500 rows, at 4 MiB, and never between rows of one version", async () => {
    const batches: number[][] = [];
    const onWrite = (batch: LedgerBatch) => void batches.push(versionsOf(batch));
    const test = async ({ flush, post, parcels, events }: Post) => {
      for (let row = 1; row < 500; row++) post();
      const shared = flush.nextVersion();
      parcels.put(shared);
      events.put(shared);
      events.put(flush.nextVersion());
      const large = "x".repeat(BATCH_BYTES_MAX / 4);
      for (let row = 0; row < 5; row++) parcels.put(flush.nextVersion(), { summary: large });
      await flush.run(NOW);
    };
    await inPost(laneDatabase(aLane()), test, { onWrite });
    const [first = [], ...rest] = batches;
    expect(first).toHaveLength(501);
    expect(first.slice(-2)).toEqual([500, 500]);
    expect(rest).toEqual([
      [501, 502, 503, 504],
      [505, 506],
    ]);
  });

  it("sends again what changed while it was under way, and moves the watermark no further than it sent", async () => {
    let during: (() => void) | null = null;
    const onWrite = () => {
      during?.();
      during = null;
    };
    await inPost(
      laneDatabase(aLane()),
      async ({ id, flush, post, parcels }) => {
        const parcel = post({ summary: "first" });
        during = () => parcels.put(flush.nextVersion(), { id: parcel, summary: "second" });
        await flush.run(NOW);
        expect(await mirrored(id)).toEqual([{ id: parcel, version: 2, summary: "second" }]);
        expect(flush.flushedThrough).toBe(2);
      },
      { onWrite },
    );
  });

  it("leaves the watermark alone when it no longer stands where the flush began", async () => {
    const batches: number[][] = [];
    const onWrite = (batch: LedgerBatch, { storage }: Post) => {
      if (batches.push(versionsOf(batch)) === 2) storage.sql.exec("UPDATE flush_state SET flushed_through = 0");
    };
    await inPost(
      laneDatabase(aLane()),
      async ({ flush, post }) => {
        post();
        await flush.run(NOW);
        post();
        await flush.run(NOW);
        expect(batches).toEqual([[1], [2], [1, 2]]);
        expect(flush.flushedThrough).toBe(2);
      },
      { onWrite },
    );
  });

  it("runs once at a time, and who asks meanwhile waits until his own rows are there", async () => {
    const lane = aLane();
    await inPost(laneDatabase(lane), async ({ id, flush, post }) => {
      post();
      const first = flush.run(NOW);
      post();
      post();
      await Promise.all([first, flush.run(NOW), flush.run(NOW), flush.retrySetAside()]);
      expect(await mirrored(id)).toHaveLength(3);
      expect(await statements(lane)).toBe(2);
    });
  });

  it("has nothing to do in an object that nobody has written to, nor after a turn that was rolled back", async () => {
    const lane = aLane();
    await inPost(
      laneDatabase(lane),
      async ({ storage, flush, parcels, events }) => {
        expect(flush.isDirty()).toBe(false);
        expect(flush.dueAt(NOW)).toBeNull();
        await flush.run(NOW);
        await flush.retrySetAside();
        expect(flush.status()).toEqual({
          lag_versions: 0,
          failures: 0,
          retry_at: null,
          set_aside: 0,
          blocked_reason: null,
        });
        expect(flush.nextVersion()).toBe(1);
        storage.sql.exec(FLUSH_SCHEMA);
        parcels.create();
        events.create();
        await flush.run(NOW);
        expect(flush.isDirty()).toBe(false);
        expect(flush.nextVersion()).toBe(2);
      },
      { born: false },
    );
    expect(await statements(lane)).toBe(0);
  });

  it("is over for good once the object says so, whatever is pending", async () => {
    const lane = aLane();
    let hasEnded = false;
    await inPost(
      laneDatabase(lane),
      async ({ flush, post, id }) => {
        post();
        hasEnded = true;
        expect(flush.isDirty()).toBe(false);
        expect(flush.dueAt(NOW)).toBeNull();
        await flush.run(NOW);
        expect(await mirrored(id)).toEqual([]);
      },
      { hasEnded: () => hasEnded },
    );
    expect(await statements(lane)).toBe(0);
  });

  it("ends quietly when the object is purged under way", async () => {
    const onWrite = (_: LedgerBatch, { storage }: Post) => {
      storage.sql.exec("DROP TABLE flush_state");
      storage.sql.exec("DROP TABLE flush_set_aside");
    };
    await inPost(
      laneDatabase(aLane()),
      async ({ flush, post }) => {
        post();
        await expect(flush.run(NOW)).resolves.toBeUndefined();
      },
      { onWrite },
    );
  });
});

describe("versions", () => {
  it("rise strictly, also over a loss of memory and over a new epoch", async () => {
    await inPost(laneDatabase(aLane()), async ({ flush, post, reborn, parcels }) => {
      post();
      post();
      await flush.run(NOW);
      parcels.sql.exec("DELETE FROM activity_logs");
      expect(reborn().nextVersion()).toBe(3);
      expect(reborn().isDirty()).toBe(false);
    });
    const second = { epoch: 2 };
    await inPost(
      laneDatabase(aLane()),
      async ({ flush }) => expect(flush.nextVersion()).toBe(2 * EPOCH_SPAN + 1),
      second,
    );
  });

  it("are found pending again after a loss of memory", async () => {
    await inPost(laneDatabase(aLane()), async ({ id, post, reborn }) => {
      post();
      const flush = reborn();
      expect(flush.isDirty()).toBe(true);
      await flush.run(NOW);
      expect(await mirrored(id)).toHaveLength(1);
    });
  });
});

describe("the alarm", () => {
  it("is wanted as a net while rows are pending, at one time for all of them, and not when they are flushed", async () => {
    await inPost(laneDatabase(aLane()), async ({ flush, post }) => {
      expect(flush.dueAt(NOW)).toBeNull();
      post();
      expect(flush.dueAt(NOW)).toBe(NOW + 30_000);
      post();
      expect(flush.dueAt(NOW + 5_000)).toBe(NOW + 30_000);
      await flush.run(NOW);
      expect(flush.dueAt(NOW)).toBeNull();
      post();
      expect(flush.dueAt(NOW + 60_000)).toBe(NOW + 90_000);
    });
  });

  it("is not wanted at once for an attempt that is under way", async () => {
    const lane = aLane();
    await away(lane);
    await inPost(laneDatabase(lane), async ({ flush, post }) => {
      post();
      await flush.run(NOW);
      const later = Number(flush.status().retry_at);
      const attempt = flush.run(later);
      expect(flush.dueAt(later)).toBe(later + 30_000);
      await attempt;
      expect(flush.dueAt(later)).toBe(flush.status().retry_at);
    });
  });
});

describe("while Postgres is away", () => {
  it("nothing is dropped, and when it is back every row is there exactly once", async () => {
    const lane = aLane();
    await inPost(
      laneDatabase(lane),
      async ({ id, flush, post, reborn }) => {
        await away(lane);
        const ids = [post({ summary: "one" }), post({ summary: "two" })];
        await flush.run(NOW);
        const { retry_at } = flush.status();
        expect(flush.status()).toMatchObject({ lag_versions: 2, failures: 1, blocked_reason: "unavailable" });
        expect(flush.dueAt(NOW)).toBe(retry_at);
        expect(flush.blockedReason).toBe("unavailable");
        await back(lane);
        await flush.run(NOW);
        expect(await statements(lane)).toBe(1);
        await reborn().run(Number(retry_at));
        expect(reborn().blockedReason).toBeNull();
        expect((await mirrored(id)).map((row) => row.id)).toEqual(ids);
        expect(reborn().status()).toEqual({
          lag_versions: 0,
          failures: 0,
          retry_at: null,
          set_aside: 0,
          blocked_reason: null,
        });
        expect(await statements(lane)).toBe(2);
      },
      { random: () => 0 },
    );
  });

  it("a batch that arrived while its answer was lost is there once, in its latest version", async () => {
    const real = laneDatabase(aLane());
    let answersLost = 1;
    const database = {
      ...real,
      query: async (text: string, parameters: readonly unknown[]) => {
        const rows = await real.query(text, parameters);
        if (answersLost-- > 0) throw new LedgerFailure("unavailable", null);
        return rows;
      },
    };
    await inPost(database, async ({ id, flush, post, parcels }) => {
      const first = post({ summary: "one" });
      const second = post({ summary: "two" });
      await flush.run(NOW);
      expect(flush.flushedThrough).toBe(0);
      parcels.put(flush.nextVersion(), { id: first, summary: "three" });
      await flush.run(Number(flush.status().retry_at));
      expect(await mirrored(id)).toEqual([
        { id: second, version: 2, summary: "two" },
        { id: first, version: 3, summary: "three" },
      ]);
    });
  });

  it("whatever else fails counts as away", async () => {
    const database = { ...laneDatabase(aLane()), query: () => Promise.reject("not even an error") };
    await inPost(database, async ({ flush, post }) => {
      post();
      await flush.run(NOW);
      expect(flush.status()).toMatchObject({ lag_versions: 1, failures: 1, blocked_reason: "unavailable" });
    });
  });

  it("the pauses grow from 1 s to 5 min, spread by chance, and survive a loss of memory", async () => {
    const lane = aLane();
    await away(lane);
    let random = 0;
    await inPost(
      laneDatabase(lane),
      async ({ post, reborn }) => {
        post();
        const pauses: number[] = [];
        let now = NOW;
        for (let failure = 1; failure <= 12; failure++) {
          random = failure === 12 ? 0 : 0.999999;
          await reborn().run(now);
          const retryAt = Number(reborn().status().retry_at);
          pauses.push(Math.floor((retryAt - now) / 1000));
          now = retryAt;
        }
        expect(pauses.slice(0, 4)).toEqual([2, 4, 8, 16].map((seconds) => expect.toBeOneOf([seconds, seconds - 1])));
        expect(pauses.at(-2)).toBeOneOf([300, 299]);
        expect(pauses.at(-1)).toBe(1);
      },
      { random: () => random },
    );
  });

  it("a database that is behind the Worker counts as away, and says what to do about it", async () => {
    const url = await aDatabase();
    await query("ALTER TABLE activity_logs RENAME COLUMN message_id TO old_message_id", [], url);
    await inPost(laneDatabase(aLane(), { url }), async ({ id, flush, post }) => {
      post();
      await flush.run(NOW);
      expect(flush.status()).toMatchObject({ failures: 1, blocked_reason: "schema_behind", lag_versions: 1 });
      await query("ALTER TABLE activity_logs RENAME COLUMN old_message_id TO message_id", [], url);
      await flush.run(Number(flush.status().retry_at));
      expect(await mirrored(id, url)).toHaveLength(1);
    });
  });
});

describe("the fence", () => {
  it("sends everything again to a database of another generation, and gives no version out twice", async () => {
    const url = await aDatabase();
    const database = laneDatabase(aLane(), { url });
    await inPost(database, async ({ id, flush, post, parcels, reborn }) => {
      post();
      post();
      await flush.run(NOW);
      await query("DELETE FROM activity_logs", [], url);
      await query("UPDATE ledger_identity SET generation = gen_random_uuid()", [], url);
      post();
      await flush.run(NOW);
      expect((await mirrored(id, url)).map((row) => row.version)).toEqual([1, 2, 3]);
      expect(flush.flushedThrough).toBe(3);
      await query("UPDATE ledger_identity SET generation = gen_random_uuid()", [], url);
      const last = post();
      parcels.sql.exec("DELETE FROM activity_logs WHERE id <> ?", last);
      await flush.run(NOW);
      parcels.sql.exec("DELETE FROM activity_logs");
      expect(reborn().nextVersion()).toBe(5);
    });
  });

  it("stops an object of a lower epoch", async () => {
    await inPost(
      laneDatabase(aLane()),
      async ({ id, flush, post }) => {
        await query("INSERT INTO ledger_epochs VALUES ($1, 2)", [id]);
        post();
        await flush.run(NOW);
        expect(flush.status()).toMatchObject({ blocked_reason: "superseded", lag_versions: 1 });
        expect(await mirrored(id)).toEqual([]);
      },
      { epoch: 1 },
    );
  });

  it("stops a deployment that the database does not belong to", async () => {
    const url = await aDatabase();
    await query("UPDATE ledger_identity SET deployment_id = 'theirs'", [], url);
    await inPost(laneDatabase(aLane(), { url, deploymentId: "ours" }), async ({ id, flush, post }) => {
      post();
      await flush.run(NOW);
      expect(flush.status()).toMatchObject({ blocked_reason: "foreign_deployment", lag_versions: 1 });
      expect(await mirrored(id, url)).toEqual([]);
    });
  });
});

/** Counts the rows that the object's storage writes from now on. */
function rowsWritten(storage: DurableObjectStorage): () => number {
  const exec = storage.sql.exec.bind(storage.sql);
  const cursors: SqlStorageCursor<Record<string, SqlStorageValue>>[] = [];
  storage.sql.exec = ((...parameters: Parameters<typeof exec>) => {
    const cursor = exec(...parameters);
    cursors.push(cursor);
    return cursor;
  }) as typeof exec;
  return () => cursors.reduce((sum, cursor) => sum + cursor.rowsWritten, 0);
}
