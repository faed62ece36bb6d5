import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { neon, neonConfig } from "@neondatabase/serverless";
import pg from "pg";
import { expect, it, onTestFinished } from "vitest";
import { startNeonEndpoint } from "../../scripts/local/neon-endpoint.ts";
import { type LocalPostgres, startPostgres } from "../../scripts/local/postgres.ts";

const MODULE = path.resolve(import.meta.dirname, "../../scripts/local/postgres.ts");

function aDataDirectory(): string {
  const parent = fs.mkdtempSync(path.join(os.tmpdir(), "posthouse-test-"));
  fs.chmodSync(parent, 0o755);
  onTestFinished(() => fs.rmSync(parent, { recursive: true, force: true }));
  return path.join(parent, "cluster");
}

async function aPostgres(dataDir: string, durable = false): Promise<LocalPostgres> {
  const postgres = await startPostgres({ dataDir, port: 0, durable });
  onTestFinished(() => postgres.stop());
  return postgres;
}

async function ask(url: string, text: string): Promise<unknown> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const { rows } = await client.query({ text, rowMode: "array" });
  await client.end();
  return rows[0]?.[0];
}

it("keeps its data over a stop and listens on the loopback address only", async () => {
  const dataDir = aDataDirectory();
  const first = await aPostgres(dataDir, true);
  expect(await ask(first.url, "SHOW listen_addresses")).toBe("127.0.0.1");
  expect(await ask(first.url, "SHOW fsync")).toBe("on");
  await ask(first.url, "CREATE TABLE parcel AS SELECT 7 AS weight");
  await first.stop();
  const second = await aPostgres(dataDir, true);
  expect(await ask(second.url, "SELECT weight FROM parcel")).toBe(7);
});

it("starts again after the process that owned it was killed, server still running", async () => {
  const dataDir = aDataDirectory();
  const program = `import { startPostgres } from ${JSON.stringify(MODULE)};
    const postgres = await startPostgres({ dataDir: ${JSON.stringify(dataDir)}, port: 0, durable: true });
    console.log(postgres.url); setInterval(() => {}, 60_000);`;
  const owner = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const url = await new Promise<string>((resolve) => owner.stdout.once("data", (line) => resolve(String(line).trim())));
  await ask(url, "CREATE TABLE parcel AS SELECT 7 AS weight");
  await expect(startPostgres({ dataDir, port: 0, durable: true })).rejects.toThrow(`in use by process ${owner.pid}`);
  owner.kill("SIGKILL");
  await new Promise((resolve) => owner.once("exit", resolve));
  const postgres = await aPostgres(dataDir, true);
  expect(await ask(postgres.url, "SELECT weight FROM parcel")).toBe(7);
});

it("starts again when the server itself was killed, and when its number belongs to somebody else", async () => {
  const dataDir = aDataDirectory();
  const first = await aPostgres(dataDir);
  const pid = Number.parseInt(fs.readFileSync(path.join(dataDir, "postmaster.pid"), "utf8"), 10);
  process.kill(pid, "SIGKILL");
  await first.stop();
  const second = await aPostgres(dataDir);
  await second.stop();
  fs.writeFileSync(path.join(dataDir, "postmaster.pid"), `${process.pid}\n${dataDir}\n`);
  const third = await aPostgres(dataDir);
  expect(await ask(third.url, "SELECT 1")).toBe(1);
});

it("begins anew where a first start was cut off half-way", async () => {
  const dataDir = aDataDirectory();
  fs.mkdirSync(`${dataDir}.draft`);
  fs.writeFileSync(path.join(`${dataDir}.draft`, "PG_VERSION"), "18\n");
  const postgres = await aPostgres(dataDir);
  expect(await ask(postgres.url, "SELECT 1")).toBe(1);
});

it("speaks Neon's HTTP protocol: values, arrays, batches, errors, isolation levels, ended connections", async () => {
  const postgres = await aPostgres(aDataDirectory());
  const endpoint = await startNeonEndpoint({ port: 0, connectionString: postgres.url });
  onTestFinished(() => endpoint.close());
  const sql = neon(postgres.url);
  neonConfig.fetchEndpoint = () => endpoint.url;

  expect(
    await sql.query("SELECT $1::int8 AS big, $2::jsonb AS json, ARRAY[1,2] AS list, NULL AS none", ["9", { a: 1 }]),
  ).toEqual([{ big: "9", json: { a: 1 }, list: [1, 2], none: null }]);
  await sql.query("CREATE TABLE parcel (id int PRIMARY KEY)");
  await expect(sql.query("SELECT pg_terminate_backend(pg_backend_pid())")).rejects.toThrow();
  await expect(
    sql.transaction([sql`INSERT INTO parcel VALUES (1)`, sql`INSERT INTO parcel VALUES (1)`]),
  ).rejects.toMatchObject({ code: "23505", constraint: "parcel_pkey" });
  expect(await sql`SELECT count(*)::int AS n FROM parcel`).toEqual([{ n: 0 }]);
  const [levels] = await sql.transaction([sql`SHOW transaction_isolation`], {
    isolationLevel: "RepeatableRead",
    readOnly: true,
  });
  expect(levels).toEqual([{ transaction_isolation: "repeatable read" }]);
});

it("answers 503, not a Postgres error, when the server is away", async () => {
  const postgres = await aPostgres(aDataDirectory());
  const endpoint = await startNeonEndpoint({ port: 0, connectionString: postgres.url });
  onTestFinished(() => endpoint.close());
  await postgres.stop();
  const response = await fetch(endpoint.url, {
    method: "POST",
    headers: { "neon-connection-string": postgres.url, "neon-raw-text-output": "true", "neon-array-mode": "true" },
    body: JSON.stringify({ query: "SELECT 1" }),
  });
  expect(response.status).toBe(503);
});
