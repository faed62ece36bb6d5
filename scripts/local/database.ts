import { join } from "node:path";
import { migrate } from "../db-migrate.ts";
import { startNeonEndpoint } from "./neon-endpoint.ts";
import { pg } from "./pg.ts";
import { startPostgres } from "./postgres.ts";
import { StartProblem } from "./start-problem.ts";
import type { Variables } from "./variables.ts";

/** The ledger database of one run, migrated, and the variables by which the Worker reaches it. */
export type Database = { variables: Variables; description: string; stop(): Promise<void> };

/**
 * Opens the database that DATABASE_URL names, or else a Postgres of our own under the data directory. The Worker
 * speaks to anything but Neon itself through a local endpoint with Neon's protocol.
 */
export async function openDatabase(
  dataDir: string,
  databaseUrl: string | undefined,
  onLoss: (reason: string) => void,
): Promise<Database> {
  if (databaseUrl && !/^postgres(?:ql)?:\/\/[^/]+\/./.test(databaseUrl)) {
    throw new StartProblem("DATABASE_URL must look like postgres://user:password@host:5432/database.");
  }
  if (databaseUrl && isNeon(databaseUrl)) {
    await migrateUp(databaseUrl);
    return { variables: { DATABASE_URL: databaseUrl }, description: hostOf(databaseUrl), stop: async () => {} };
  }
  const embedded = databaseUrl ? null : await startEmbedded(dataDir, onLoss);
  const url = databaseUrl || embedded?.url || "";
  try {
    await migrateUp(url);
    const endpoint = await startNeonEndpoint({ port: 0, connectionString: url });
    return {
      variables: { DATABASE_URL: url, NEON_FETCH_ENDPOINT: endpoint.url },
      description: embedded ? `embedded Postgres under ${embedded.dataDir}` : `Postgres at ${hostOf(url)}`,
      async stop() {
        await endpoint.close();
        await embedded?.stop();
      },
    };
  } catch (error) {
    await embedded?.stop();
    throw error;
  }
}

async function migrateUp(url: string): Promise<void> {
  try {
    await migrate(url, "up");
  } catch (error) {
    throw new StartProblem(`The database at ${hostOf(url)} cannot be used: ${reasonOf(error)}`);
  }
}

/** A refused connection to a name with two addresses is an AggregateError without words of its own. */
function reasonOf(error: unknown): string {
  const first = error instanceof AggregateError ? error.errors[0] : error;
  return first instanceof Error ? first.message : String(first);
}

function isNeon(databaseUrl: string): boolean {
  return new URL(databaseUrl).hostname.endsWith(".neon.tech");
}

function hostOf(databaseUrl: string): string {
  return new URL(databaseUrl).host;
}

async function startEmbedded(dataDir: string, onLoss: (reason: string) => void) {
  const server = await startPostgres({ dataDir: join(dataDir, "postgres"), port: 0, durable: true });
  const endWatch = await watch(server.url, () => onLoss("Postgres ended"));
  return {
    url: server.url,
    dataDir: server.dataDir,
    async stop() {
      await endWatch();
      await server.stop();
    },
  };
}

/** Holds one idle connection, whose end tells of the end of the server. */
async function watch(url: string, onEnd: () => void): Promise<() => Promise<void>> {
  const connection = new pg.Client({ connectionString: url, application_name: "posthouse-watch" });
  let watching = true;
  connection.on("error", () => {});
  connection.once("end", () => {
    if (watching) onEnd();
  });
  await connection.connect();
  return async () => {
    watching = false;
    await connection.end();
  };
}
