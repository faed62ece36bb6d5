import fs from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import type { TestProject } from "vitest/node";
import { migrate } from "../../scripts/db-migrate.ts";
import { startNeonEndpoint } from "../../scripts/local/neon-endpoint.ts";
import { pg } from "../../scripts/local/pg.ts";
import { startPostgres } from "../../scripts/local/postgres.ts";
import { Lanes } from "./lanes.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Connection string of this run's database, migrated. */
    databaseUrl: string;
    /** Neon's SQL over HTTP; a test appends `/<lane>` to have a line of its own. */
    neonFetchEndpoint: string;
    /** Cuts and counts lanes, and makes further databases. */
    neonControl: string;
  }
}

/** One Postgres for the whole run: a database of its own, migrated, behind Neon's endpoint. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startServer();
  const databases: string[] = [];
  const createDatabase = async () => {
    const name = `posthouse_test_${crypto.randomUUID().replaceAll("-", "")}`;
    await administer(server.url, `CREATE DATABASE ${name}`);
    databases.push(name);
    const url = new URL(server.url);
    url.pathname = `/${name}`;
    await migrate(url.href, "up");
    return url.href;
  };
  const lanes = new Lanes();
  const databaseUrl = await createDatabase();
  const endpoint = await startNeonEndpoint({
    port: 0,
    connectionString: server.url,
    gate: (lane, statements) => lanes.pass(lane, statements),
  });
  const control = await startControl(lanes, createDatabase);
  project.provide("databaseUrl", databaseUrl);
  project.provide("neonFetchEndpoint", endpoint.url);
  project.provide("neonControl", control.url);
  return async () => {
    await control.close();
    await endpoint.close();
    for (const name of databases) await administer(server.url, `DROP DATABASE ${name} WITH (FORCE)`);
    await server.stop();
  };
}

/** The embedded Postgres in a directory of its own, or the server that TEST_DATABASE_URL names. */
async function startServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const given = process.env.TEST_DATABASE_URL;
  if (given) return { url: given, stop: async () => {} };
  const parent = fs.mkdtempSync(path.join(os.tmpdir(), "posthouse-test-"));
  fs.chmodSync(parent, 0o755); // the server may run as another user
  const postgres = await startPostgres({ dataDir: path.join(parent, "cluster"), port: 0, durable: false });
  return {
    url: postgres.url,
    async stop() {
      await postgres.stop();
      fs.rmSync(parent, { recursive: true, force: true });
    },
  };
}

async function administer(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(statement);
  await client.end();
}

/** GET /control/<lane> counts, POST /control/<lane> {"mode"} cuts or mends, POST /control/ makes a database. */
async function startControl(
  lanes: Lanes,
  createDatabase: () => Promise<string>,
): Promise<{ url: string; close(): Promise<void> }> {
  const server = http.createServer(async (request, response) => {
    const lane = (request.url ?? "").slice("/control/".length);
    let answer: object = {};
    if (request.method === "GET") answer = { statements: lanes.statements(lane) };
    else if (lane === "") answer = { url: await createDatabase() };
    else lanes.set(lane, JSON.parse((await request.toArray()).join("")).mode);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the control server got no port");
  return {
    url: `http://127.0.0.1:${address.port}/control`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}
