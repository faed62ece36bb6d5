import { join } from "node:path";
import { migrateOnceThere } from "./migration.ts";
import { startNeonEndpoint } from "./neon-endpoint.ts";
import { keepPostgres } from "./postgres-keeper.ts";
import { StartProblem } from "./start-problem.ts";
import type { Variables } from "./variables.ts";

/** The ledger database of one run, and the variables by which the Worker reaches it. */
export type Database = { variables: Variables; description: string; stop(): Promise<void> };

type Server = { url: string; description: string; stop(): Promise<void> };

/**
 * Opens the database that DATABASE_URL names, or else a Postgres of our own under the data directory. It may be away,
 * now or later: `say` gets a line about it. The Worker speaks to anything but Neon itself through a local endpoint with
 * Neon's protocol.
 */
export async function openDatabase(
  dataDir: string,
  databaseUrl: string | undefined,
  say: (line: string) => void,
): Promise<Database> {
  const { url, description, stop } = databaseUrl ? theirs(databaseUrl) : await ours(dataDir, say);
  const parts = [{ stop }];
  const stopAll = async () => {
    for (const part of parts.toReversed()) await part.stop();
  };
  try {
    const migration = await migrateOnceThere(url, say);
    parts.push(migration);
    if (isNeon(url)) return { variables: { DATABASE_URL: url }, description, stop: stopAll };
    const endpoint = await startNeonEndpoint({ port: 0, connectionString: url });
    parts.push({ stop: endpoint.close });
    return { variables: { DATABASE_URL: url, NEON_FETCH_ENDPOINT: endpoint.url }, description, stop: stopAll };
  } catch (error) {
    await stopAll();
    throw error;
  }
}

function theirs(url: string): Server {
  if (!/^postgres(?:ql)?:\/\/[^/]+\/./.test(url) || !URL.canParse(url)) {
    throw new StartProblem("DATABASE_URL must look like postgres://user:password@host:5432/database.");
  }
  return { url, description: `Postgres at ${new URL(url).host}`, stop: async () => {} };
}

async function ours(dataDir: string, say: (line: string) => void): Promise<Server> {
  const server = await keepPostgres({ dataDir: join(dataDir, "postgres"), port: 0, durable: true }, say);
  return { url: server.url, description: `embedded Postgres under ${server.dataDir}`, stop: server.stop };
}

function isNeon(databaseUrl: string): boolean {
  return new URL(databaseUrl).hostname.endsWith(".neon.tech");
}
