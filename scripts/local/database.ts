import { join } from "node:path";
import pg from "pg";
import { migrate } from "../db-migrate.ts";
import { startNeonEndpoint } from "./neon-endpoint.ts";
import { startPostgres } from "./postgres.ts";
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
  if (databaseUrl && isNeon(databaseUrl)) {
    await migrate(databaseUrl, "up");
    return { variables: { DATABASE_URL: databaseUrl }, description: hostOf(databaseUrl), stop: async () => {} };
  }
  const embedded = databaseUrl ? null : await startEmbedded(dataDir, onLoss);
  const url = databaseUrl || embedded?.url || "";
  try {
    await migrate(url, "up");
    const endpoint = await startNeonEndpoint({ port: 0, connectionString: url });
    return {
      variables: { DATABASE_URL: url, NEON_FETCH_ENDPOINT: endpoint.url },
      description: embedded ? `embedded Postgres under ${embedded.dataDir}` : hostOf(url),
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

function isNeon(databaseUrl: string): boolean {
  return new URL(databaseUrl).hostname.endsWith(".neon.tech");
}

function hostOf(databaseUrl: string): string {
  return `Postgres at ${new URL(databaseUrl).host}`;
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
