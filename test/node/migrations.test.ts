import { execFileSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { getTableConfig } from "drizzle-orm/pg-core";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { announceRestore, migrate, status } from "../../scripts/db-migrate.ts";
import { type LocalPostgres, startPostgres } from "../../scripts/local/postgres.ts";
import { LEDGERS } from "../../src/ledgers/schema.ts";

const MIGRATIONS = path.resolve(import.meta.dirname, "../../migrations");
const SCRIPT = path.resolve(import.meta.dirname, "../../scripts/db-migrate.ts");
const NAMES = fs
  .readdirSync(MIGRATIONS)
  .filter((file) => file.endsWith(".up.sql"))
  .map((file) => file.slice(0, -7))
  .sort();

const given = process.env.TEST_DATABASE_URL;
const parent = fs.mkdtempSync(path.join(os.tmpdir(), "posthouse-migrations-"));
let postgres: LocalPostgres;

beforeAll(async () => {
  fs.chmodSync(parent, 0o755);
  postgres = await startPostgres({ dataDir: path.join(parent, "cluster"), port: 0, durable: false });
});
afterAll(async () => {
  await postgres.stop();
  fs.rmSync(parent, { recursive: true, force: true });
});

describe.each([
  { name: "the embedded Postgres", server: () => postgres.url },
  ...(given ? [{ name: "the Postgres of TEST_DATABASE_URL", server: () => given }] : []),
])("on $name", ({ server }) => {
  it("each migration goes up, down and up again to the same schema", async () => {
    const url = await aDatabase(server());
    const schemas = [await schemaOf(url)];
    for (const [index, name] of NAMES.entries()) {
      expect(await migrate(url, "up", index + 1)).toEqual([name]);
      schemas.push(await schemaOf(url));
      expect(await migrate(url, "down")).toEqual([name]);
      expect(await schemaOf(url)).toEqual(schemas[index]);
      expect(await migrate(url, "up", index + 1)).toEqual([name]);
      expect(await schemaOf(url)).toEqual(schemas[index + 1]);
    }
    expect(await migrate(url, "down", 0)).toEqual(NAMES.toReversed());
    expect(await schemaOf(url)).toEqual(schemas[0]);
  });

  it("ledgers have the columns that the code names, a primary key, and nothing else that could refuse a row", async () => {
    const url = await aDatabase(server());
    await migrate(url, "up");
    for (const [name, table] of Object.entries(LEDGERS)) {
      const columns = await rowsOf(
        url,
        `SELECT column_name, data_type, is_nullable = 'NO' FROM information_schema.columns
         WHERE table_name = '${name}' ORDER BY ordinal_position`,
      );
      expect(columns).toEqual(
        getTableConfig(table).columns.map((column) => [column.name, column.getSQLType(), column.notNull]),
      );
      const constraints = await rowsOf(
        url,
        `SELECT contype::text FROM pg_constraint WHERE conrelid = '${name}'::regclass AND contype <> 'n'`,
      );
      expect(constraints).toEqual([["p"]]);
    }
  });

  it("two runs at once apply each migration once", async () => {
    const url = await aDatabase(server());
    const moved = await Promise.all([migrate(url, "up"), migrate(url, "up")]);
    expect(moved.flat().sort()).toEqual(NAMES);
  });

  it("a migration that fails leaves nothing behind", async () => {
    const url = await aDatabase(server());
    const directory = aDirectory({ "0001_half.up.sql": "CREATE TABLE half (); SELECT 1/0;", "0001_half.down.sql": "" });
    await expect(migrate(url, "up", undefined, directory)).rejects.toThrow("division by zero");
    expect(await schemaOf(url)).toEqual([]);
  });

  it("an applied file that was altered, or that is gone, is an error", async () => {
    const url = await aDatabase(server());
    const first = { "0001_a.up.sql": "CREATE TABLE a ();\n", "0001_a.down.sql": "DROP TABLE a;\n" };
    const second = { "0002_b.up.sql": "CREATE TABLE b ();\n", "0002_b.down.sql": "DROP TABLE b;\n" };
    await migrate(url, "up", undefined, aDirectory({ ...first, ...second }));
    const otherLineEnds = { ...first, "0001_a.up.sql": "CREATE TABLE a ();\r\n" };
    expect(await migrate(url, "up", undefined, aDirectory({ ...otherLineEnds, ...second }))).toEqual([]);
    const altered = aDirectory({ ...first, ...second, "0001_a.up.sql": "CREATE TABLE a (b int);\n" });
    await expect(migrate(url, "down", undefined, altered)).rejects.toThrow("0001_a was altered");
    await expect(status(url, aDirectory(first))).rejects.toThrow("its file is missing");
  });
});

it("misnamed files, gaps and missing ways back are refused before anything runs", async () => {
  const nowhere = "postgresql://nobody@127.0.0.1:1/none";
  const misnamed = aDirectory({ "1_a.up.sql": "", "1_a.down.sql": "" });
  await expect(migrate(nowhere, "up", undefined, misnamed)).rejects.toThrow("NNNN_name");
  const gap = aDirectory({ "0002_a.up.sql": "", "0002_a.down.sql": "" });
  await expect(migrate(nowhere, "up", undefined, gap)).rejects.toThrow("gap");
  const oneWay = aDirectory({ "0001_a.up.sql": "" });
  await expect(migrate(nowhere, "up", undefined, oneWay)).rejects.toThrow("0001_a.down.sql");
});

it("the command applies, lists, takes back, and announces a restore", async () => {
  const url = await aDatabase(postgres.url);
  const run = (...args: string[]) =>
    execFileSync(process.execPath, [SCRIPT, ...args], {
      encoding: "utf8",
      env: { ...process.env, DATABASE_URL: url },
      stdio: ["ignore", "pipe", "pipe"],
    });
  expect(run()).toContain(NAMES[0]);
  expect(run("up")).toBe("nothing to do\n");
  expect(run("status")).toContain(`applied ${NAMES[0]}`);
  const generation = () => rowsOf(url, "SELECT generation FROM ledger_identity");
  const before = await generation();
  run("restored");
  expect(await generation()).not.toEqual(before);
  expect(run("down", "--to", "0")).toContain(NAMES[0]);
  expect(() => run("sideways")).toThrow("usage:");
  expect(() => run("up", "--to", "soon")).toThrow("usage:");
});

it("a restore gives the database a new generation", async () => {
  const url = await aDatabase(postgres.url);
  await migrate(url, "up");
  const before = await rowsOf(url, "SELECT generation FROM ledger_identity");
  await announceRestore(url);
  expect(await rowsOf(url, "SELECT generation FROM ledger_identity")).not.toEqual(before);
});

async function aDatabase(server: string): Promise<string> {
  const name = `posthouse_${crypto.randomUUID().replaceAll("-", "")}`;
  await rowsOf(server, `CREATE DATABASE ${name}`);
  onTestFinished(async () => void (await rowsOf(server, `DROP DATABASE ${name} WITH (FORCE)`)));
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

function aDirectory(files: Record<string, string>): string {
  const directory = fs.mkdtempSync(path.join(parent, "files-"));
  for (const [name, content] of Object.entries(files)) fs.writeFileSync(path.join(directory, name), content);
  return directory;
}

async function rowsOf(url: string, text: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query({ text, rowMode: "array" });
  await client.end();
  return rows;
}

/**
 * Columns in their order, indexes and constraints of everything but the migration table itself. A dropped column leaves
 * a gap in Postgres' own numbering, so they are counted anew.
 */
function schemaOf(url: string): Promise<unknown[][]> {
  return rowsOf(
    url,
    `SELECT table_name::text, (row_number() OVER (PARTITION BY table_name ORDER BY ordinal_position))::text,
         column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
       FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migrations'
     UNION ALL SELECT tablename, indexname, indexdef FROM pg_indexes
       WHERE schemaname = 'public' AND tablename <> 'schema_migrations'
     UNION ALL SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
       WHERE connamespace = 'public'::regnamespace AND conrelid <> coalesce(to_regclass('schema_migrations'), 0)
     ORDER BY 1, 2, 3`,
  );
}
