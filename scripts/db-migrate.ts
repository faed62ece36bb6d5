import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Client } from "pg";
import { pg } from "./local/pg.ts";

export type Direction = "up" | "down";

export interface MigrationStatus {
  readonly number: number;
  readonly name: string;
  readonly applied: boolean;
}

interface Migration {
  readonly number: number;
  readonly name: string;
  readonly up: string;
  readonly down: string;
  readonly checksum: string;
}

const MIGRATIONS_DIRECTORY = path.resolve(import.meta.dirname, "..", "migrations");
const LOCK_KEY = 7_105_113;
const CONNECT_LIMIT_MS = 10_000;
const USAGE = `usage: npm run db:migrate -- [up|down|status|restored] [--to N]
  up        applies what is missing, up to N (default: all); the default command
  down      takes the latest one back, or all above N
  status    lists what is applied
  restored  run it after the database came back from a backup: every object sends its ledger rows again
DATABASE_URL names the database.`;

/**
 * Applies migrations up to and including `to` (default: all), or takes back those above `to` (default: the latest).
 * Each is one transaction under one advisory lock, so concurrent runs share the work.
 * Returns the names of the migrations moved. Throws when an applied file was altered or is missing.
 */
export async function migrate(
  connectionString: string,
  direction: Direction,
  to?: number,
  directory = MIGRATIONS_DIRECTORY,
): Promise<string[]> {
  const migrations = readMigrations(directory);
  return connected(connectionString, async (client) => {
    const moved: string[] = [];
    let limit = to;
    for (;;) {
      const step = await inTransaction(client, async () => {
        const applied = await appliedNumbers(client, migrations);
        const latest = applied.at(-1) ?? 0;
        limit ??= direction === "up" ? Number.POSITIVE_INFINITY : latest - 1;
        return direction === "up"
          ? stepUp(client, migrations, latest, limit)
          : stepDown(client, migrations, latest, limit);
      });
      if (step === null) return moved;
      moved.push(step);
    }
  });
}

/** Every migration of the directory, and whether the database has it. */
export async function status(connectionString: string, directory = MIGRATIONS_DIRECTORY): Promise<MigrationStatus[]> {
  const migrations = readMigrations(directory);
  const applied = await connected(connectionString, (client) =>
    inTransaction(client, () => appliedNumbers(client, migrations)),
  );
  return migrations.map(({ number, name }) => ({ number, name, applied: applied.includes(number) }));
}

/** Gives the database a new generation, by which objects notice that rows may be missing. */
export async function announceRestore(connectionString: string): Promise<void> {
  await connected(connectionString, (client) =>
    client.query("UPDATE ledger_identity SET generation = gen_random_uuid()"),
  );
}

async function stepUp(
  client: Client,
  all: readonly Migration[],
  latest: number,
  limit: number,
): Promise<string | null> {
  const next = all.find(({ number }) => number > latest);
  if (next === undefined || next.number > limit) return null;
  await client.query(next.up);
  await client.query("INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)", [
    next.number,
    next.name,
    next.checksum,
  ]);
  return next.name;
}

async function stepDown(
  client: Client,
  all: readonly Migration[],
  latest: number,
  limit: number,
): Promise<string | null> {
  const last = all.find(({ number }) => number === latest);
  if (last === undefined || last.number <= limit) return null;
  await client.query(last.down);
  await client.query("DELETE FROM schema_migrations WHERE number = $1", [last.number]);
  return last.name;
}

/** Ascending; each checked against the file that it was applied from. */
async function appliedNumbers(client: Client, migrations: readonly Migration[]): Promise<number[]> {
  await client.query(`CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now()
  )`);
  const { rows } = await client.query<{ number: number; name: string; checksum: string }>(
    "SELECT number, name, checksum FROM schema_migrations ORDER BY number",
  );
  for (const { number, name, checksum } of rows) {
    const file = migrations.find((migration) => migration.number === number);
    if (!file) throw new Error(`migration ${name} is applied, but its file is missing: this checkout is older`);
    if (file.checksum !== checksum)
      throw new Error(`migration ${name} was altered after it was applied; add a new one instead`);
  }
  return rows.map(({ number }) => number);
}

function readMigrations(directory: string): Migration[] {
  const migrations = fs
    .readdirSync(directory)
    .filter((file) => file.endsWith(".up.sql"))
    .sort()
    .map((file) => {
      const name = file.slice(0, -".up.sql".length);
      if (!/^\d{4}_[a-z0-9_]+$/.test(name)) throw new Error(`${file} is not named NNNN_name.up.sql`);
      const up = readSql(path.join(directory, file));
      const checksum = createHash("sha256").update(up).digest("hex");
      const down = readSql(path.join(directory, `${name}.down.sql`));
      return { number: Number.parseInt(name, 10), name, up, down, checksum };
    });
  for (const [index, { number, name }] of migrations.entries())
    if (number !== index + 1) throw new Error(`migration ${name} leaves a gap or repeats a number`);
  return migrations;
}

/** Line ends as in the repository, so that a checkout on Windows has the same checksums. */
function readSql(file: string): string {
  return fs.readFileSync(file, "utf8").replaceAll("\r\n", "\n");
}

/** The lock belongs to the transaction, not to the session: it holds through a connection pooler too. */
async function inTransaction<T>(client: Client, work: () => Promise<T>): Promise<T> {
  await client.query("BEGIN");
  try {
    await client.query("SELECT pg_advisory_xact_lock($1)", [LOCK_KEY]);
    const result = await work();
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK").catch(() => {}); // what failed first is what matters
    throw error;
  }
}

async function connected<T>(connectionString: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: CONNECT_LIMIT_MS });
  client.on("error", () => {}); // a connection that is lost: the statement in work fails by itself
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

async function main(): Promise<void> {
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { to: { type: "string" } } });
  const [command = "up", ...rest] = positionals;
  const to = values.to === undefined ? undefined : Number(values.to);
  const connectionString = process.env.DATABASE_URL;
  if (!connectionString || rest.length > 0 || (to !== undefined && !Number.isInteger(to))) {
    console.error(USAGE);
    process.exitCode = 2;
  } else if (command === "up" || command === "down") {
    const moved = await migrate(connectionString, command, to);
    console.log(moved.length === 0 ? "nothing to do" : `${command}: ${moved.join(", ")}`);
  } else if (command === "status") {
    for (const { name, applied } of await status(connectionString))
      console.log(`${applied ? "applied" : "pending"} ${name}`);
  } else if (command === "restored") {
    await announceRestore(connectionString);
    console.log("a new generation is set; objects send their ledger rows again with their next flush");
  } else {
    console.error(USAGE);
    process.exitCode = 2;
  }
}

if (import.meta.filename === process.argv[1]) await main();
