import { runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { eq, gt } from "drizzle-orm";
import { describe, expect, it, onTestFinished } from "vitest";
import { openDatabase } from "../../src/ledgers/database.ts";
import { LedgerFailure, ledgerFailure } from "../../src/ledgers/failure.ts";
import { microsecondsOf } from "../../src/ledgers/moment.ts";
import { structureEvents } from "../../src/ledgers/schema.ts";
import { aLane, away, back, laneDatabase, query, statements } from "../support/ledger.ts";

const UNAVAILABLE = { kind: "unavailable", sqlstate: null };
const DAY_US = 86_400_000_000;

describe("the database", () => {
  it("reads typed rows, times to the microsecond", async () => {
    const id = crypto.randomUUID();
    await query(
      "INSERT INTO structure_events (id, created_at, version) VALUES ($1, '2026-11-20T10:11:12.123456+02:00', 1)",
      [id],
    );
    const created = Date.UTC(2026, 10, 20, 8, 11, 12) * 1000 + 123456;
    const database = laneDatabase(aLane());
    const rows = await database.read((tables) =>
      tables.select().from(structureEvents).where(eq(structureEvents.id, id)),
    );
    const empty = { workspace_id: null, event_type: null, payload: null };
    expect(rows).toEqual([{ id, ...empty, created_at: created, version: 1 }]);
    const same = await database.read((tables) =>
      tables.select().from(structureEvents).where(eq(structureEvents.created_at, created)),
    );
    expect(same.map((row) => row.id)).toContain(id);
  });

  it("is unavailable while Postgres is cut off, and answers again when it is back; each statement is counted", async () => {
    const lane = aLane();
    const database = laneDatabase(lane);
    await away(lane);
    await expect(database.query("SELECT 1", [])).rejects.toMatchObject(UNAVAILABLE);
    await expect(database.read((tables) => tables.select().from(structureEvents))).rejects.toMatchObject(UNAVAILABLE);
    await back(lane);
    expect(await database.query("SELECT 1 AS one", [])).toEqual([{ one: 1 }]);
    expect(await statements(lane)).toBe(3);
  });

  it("gives up on a database that does not answer within its limit", async () => {
    const lane = aLane();
    await away(lane, "hang");
    onTestFinished(() => back(lane));
    await expect(laneDatabase(lane, { timeoutMs: 50 }).query("SELECT 1", [])).rejects.toMatchObject(UNAVAILABLE);
  });

  it("is unavailable without DATABASE_URL, and at Neon's own address when no endpoint is named", async () => {
    const nowhere = openDatabase({});
    expect(nowhere.deploymentId).toBe("default");
    await expect(nowhere.query("SELECT 1", [])).rejects.toMatchObject(UNAVAILABLE);
    await expect(nowhere.read(() => Promise.resolve(1))).rejects.toMatchObject(UNAVAILABLE);
    const unreachable = openDatabase({ DATABASE_URL: "postgresql://nobody:none@localhost/none" });
    await expect(unreachable.query("SELECT 1", [])).rejects.toMatchObject(UNAVAILABLE);
  });

  it("is reached by objects through the test file's own lane", async () => {
    const before = await statements();
    await runInDurableObject(env.WORKSPACE.getByName(crypto.randomUUID()), async () => {
      await openDatabase(env).query("SELECT 1", []);
    });
    expect(await statements()).toBe(before + 1);
  });
});

describe("a failure", () => {
  it.each([
    ["SELECT 'many'::text::int", "refused", "22P02", false],
    ["INSERT INTO structure_events (id) VALUES (NULL)", "refused", "23502", false],
    ["SELECT * FROM not_migrated_yet", "unavailable", "42P01", true],
    ["SELECT not_migrated_yet FROM workspaces", "unavailable", "42703", true],
    ["SELECT pg_terminate_backend(pg_backend_pid())", "unavailable", null, false],
    ["DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", "unavailable", "40001", false],
    ["DO $$ BEGIN RAISE SQLSTATE '53300'; END $$", "unavailable", "53300", false],
    ["DO $$ BEGIN RAISE SQLSTATE '54000'; END $$", "refused", "54000", false],
  ])("of %s is %s", async (text, kind, sqlstate, schemaBehind) => {
    const failure = await query(text).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(LedgerFailure);
    expect(failure).toMatchObject({ kind, schemaBehind, ...(sqlstate === null ? {} : { sqlstate }) });
  });

  it("names the column, or else the constraint, and never a value", async () => {
    const id = crypto.randomUUID();
    const insert = "INSERT INTO ledger_epochs (object_id, epoch) VALUES ($1, 1), ($1, 2)";
    await expect(query(insert, [id])).rejects.toMatchObject({ sqlstate: "23505", subject: "ledger_epochs_pkey" });
    const failure = await query("INSERT INTO ledger_epochs (object_id) VALUES ('private words')").catch(String);
    expect(failure).toBe("LedgerFailure: ledger refused: SQLSTATE 23502");
    await expect(query("INSERT INTO ledger_epochs (object_id) VALUES ('x')")).rejects.toMatchObject({
      subject: "epoch",
    });
  });

  it("of anything but a database is unavailable", () => {
    expect(ledgerFailure("a string")).toMatchObject(UNAVAILABLE);
    expect(ledgerFailure(new Error("outer", { cause: new LedgerFailure("refused", "22003") }))).toMatchObject({
      kind: "refused",
    });
  });
});

describe("a time", () => {
  it("is read in any time zone of the session", () => {
    expect(microsecondsOf("1970-01-01 00:00:00+00")).toBe(0);
    expect(microsecondsOf("1970-01-01 05:30:00.5+05:30")).toBe(500_000);
    expect(microsecondsOf("1969-12-31 00:00:00.000001+00")).toBe(1 - DAY_US);
    expect(() => microsecondsOf("infinity")).toThrow(RangeError);
  });

  it("is compared to the microsecond before 1970 too", async () => {
    const id = crypto.randomUUID();
    await query(
      "INSERT INTO structure_events (id, created_at, version) VALUES ($1, '1969-12-31T00:00:00.000001Z', 1)",
      [id],
    );
    const later = (us: number) =>
      laneDatabase(aLane()).read((tables) =>
        tables.select({ id: structureEvents.id }).from(structureEvents).where(gt(structureEvents.created_at, us)),
      );
    expect(await later(-DAY_US)).toContainEqual({ id });
    expect(await later(1 - DAY_US)).not.toContainEqual({ id });
  });
});
