import http from "node:http";
import type { DatabaseError, Pool, PoolClient, QueryArrayResult } from "pg";
import { pg } from "./pg.ts";

export interface NeonEndpointOptions {
  /** 0 picks a free one. */
  readonly port: number;
  /** Names the server; a request may ask for any of its databases, as with Neon. */
  readonly connectionString: string;
  /**
   * Asked before each request to /sql/<lane> ("" for /sql) with its number of statements; "drop" cuts the connection.
   * A promise that stays open is a database that does not answer.
   */
  readonly gate?: (lane: string, statements: number) => Promise<"answer" | "drop"> | "answer" | "drop";
}

export interface NeonEndpoint {
  /** What the driver's `fetchEndpoint` must return. */
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

interface Query {
  readonly query: string;
  readonly params?: readonly unknown[];
}
type SqlRequest = Query | { readonly queries: readonly Query[] };

const POOL_CONNECTIONS_MAX = 8;
const ISOLATION_LEVELS = new Set(["ReadUncommitted", "ReadCommitted", "RepeatableRead", "Serializable"]);
const ERROR_FIELDS = [
  "severity",
  "code",
  "detail",
  "hint",
  "position",
  "internalPosition",
  "internalQuery",
  "where",
  "schema",
  "table",
  "column",
  "dataType",
  "constraint",
  "file",
  "line",
  "routine",
] as const;

/** Speaks Neon's SQL over HTTP on 127.0.0.1 for any Postgres: single statements and batches, values as text. */
export async function startNeonEndpoint(options: NeonEndpointOptions): Promise<NeonEndpoint> {
  const pools = new Pools(options.connectionString);
  const server = http.createServer(async (request, response) => {
    const lane = laneOf(request);
    if (lane === null) return answer(response, 404, { message: "not found" });
    try {
      const body = await readBody(request);
      const statements = "queries" in body ? body.queries.length : 1;
      if (options.gate && (await options.gate(lane, statements)) === "drop") return void request.socket.destroy();
      const pool = pools.for(connectionString(request.headers));
      answer(response, 200, await execute(pool, body, beginStatement(request.headers)));
    } catch (error) {
      if (error instanceof pg.DatabaseError) answer(response, 400, describe(error));
      else answer(response, 503, { message: error instanceof Error ? error.message : "unknown failure" });
    }
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject).listen(options.port, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the endpoint got no port");
  return {
    url: `http://127.0.0.1:${address.port}/sql`,
    port: address.port,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
      await pools.end();
    },
  };
}

/** One pool a database. */
class Pools {
  readonly #host: string;
  readonly #pools = new Map<string, Pool>();

  constructor(connectionString: string) {
    this.#host = new URL(connectionString).host;
  }

  for(connectionString: string): Pool {
    const known = this.#pools.get(connectionString);
    if (known) return known;
    if (new URL(connectionString).host !== this.#host) throw new Error(`this endpoint serves ${this.#host} only`);
    const pool = new pg.Pool({ connectionString, max: POOL_CONNECTIONS_MAX, application_name: "neon-endpoint" });
    // A connection that the server ends, idle or in use: its query fails by itself, and the next one opens another.
    pool.on("error", () => {});
    pool.on("connect", (client) => client.on("error", () => {}));
    this.#pools.set(connectionString, pool);
    return pool;
  }

  async end(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.end()));
  }
}

async function execute(pool: Pool, body: SqlRequest, begin: string): Promise<object> {
  const client = await pool.connect();
  let broken = false;
  try {
    if (!("queries" in body)) return shape(await query(client, body));
    await client.query(begin);
    const results: object[] = [];
    for (const statement of body.queries) results.push(shape(await query(client, statement)));
    await client.query("COMMIT");
    return { results };
  } catch (error) {
    broken = !(error instanceof pg.DatabaseError) || error.severity === "FATAL";
    if ("queries" in body && !broken) {
      await client.query("ROLLBACK").catch(() => {
        broken = true;
      });
    }
    throw error;
  } finally {
    client.release(broken);
  }
}

function query(client: PoolClient, { query: text, params }: Query): Promise<QueryArrayResult> {
  return client.query({
    text,
    values: [...(params ?? [])],
    rowMode: "array",
    types: { getTypeParser: () => (value: string) => value },
  });
}

function shape(result: QueryArrayResult): object {
  return {
    command: result.command,
    rowCount: result.rowCount ?? 0,
    rowAsArray: true,
    rows: result.rows,
    fields: result.fields.map(({ name, tableID, columnID, dataTypeID, dataTypeSize, dataTypeModifier }) => {
      return { name, tableID, columnID, dataTypeID, dataTypeSize, dataTypeModifier, format: "text" };
    }),
  };
}

function describe(error: DatabaseError): object {
  const fields = ERROR_FIELDS.map((field) => [field, error[field] ?? null]);
  return { message: error.message, ...Object.fromEntries(fields) };
}

/** The lane of POST /sql/<lane>, null for any other request. */
function laneOf(request: http.IncomingMessage): string | null {
  const match = /^\/sql(?:\/([\w-]+))?$/.exec(request.url ?? "");
  return request.method === "POST" && match ? (match[1] ?? "") : null;
}

function connectionString(headers: http.IncomingHttpHeaders): string {
  const value = headers["neon-connection-string"];
  if (typeof value !== "string") throw new Error("the header Neon-Connection-String is missing");
  if (headers["neon-raw-text-output"] !== "true" || headers["neon-array-mode"] !== "true")
    throw new Error("only raw text output in array mode is spoken here");
  return value;
}

function beginStatement(headers: http.IncomingHttpHeaders): string {
  const modes: string[] = [];
  const isolation = headers["neon-batch-isolation-level"];
  if (typeof isolation === "string") {
    if (!ISOLATION_LEVELS.has(isolation)) throw new Error("unknown isolation level");
    modes.push(`ISOLATION LEVEL ${isolation.replace(/(?<=[a-z])(?=[A-Z])/, " ").toUpperCase()}`);
  }
  if (headers["neon-batch-read-only"] === "true") modes.push("READ ONLY");
  if (headers["neon-batch-deferrable"] === "true") modes.push("DEFERRABLE");
  return `BEGIN ${modes.join(" ")}`;
}

async function readBody(request: http.IncomingMessage): Promise<SqlRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

function answer(response: http.ServerResponse, status: number, value: object): void {
  const body = JSON.stringify(value);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}
