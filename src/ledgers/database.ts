import { neon, neonConfig } from "@neondatabase/serverless";
import { drizzle, type NeonHttpDatabase } from "drizzle-orm/neon-http";
import { configOf } from "../config.ts";
import { withDeadline } from "../time-limit.ts";
import { LedgerFailure, ledgerFailure } from "./failure.ts";

export interface Database {
  /** Only the deployment that first flushed into a database may flush into it. */
  readonly deploymentId: string;
  /** One statement. Throws a LedgerFailure. */
  query(text: string, parameters: readonly unknown[]): Promise<Record<string, unknown>[]>;
  /** A typed read through drizzle. Throws a LedgerFailure. */
  read<T>(work: (tables: NeonHttpDatabase) => Promise<T>): Promise<T>;
}

export const DATABASE_TIMEOUT_MS = 10_000;

/** What `openDatabase` adds to the options of each fetch of the driver. */
interface DriverRequest extends RequestInit {
  readonly endpoint: string;
  readonly timeoutMs: number;
}

// The driver's settings are global, the databases are not: each call carries its own endpoint, and a limit, without
// which the driver waits for ever.
neonConfig.fetchFunction = (url: string, { endpoint, timeoutMs, ...request }: DriverRequest): Promise<Response> =>
  withDeadline(timeoutMs, async (signal) => {
    const response = await fetch(endpoint || url, { ...request, signal });
    return new Response(await response.text(), response);
  });

/** The ledger database over HTTP, one round trip a call. Without DATABASE_URL every call is `unavailable`. */
export function openDatabase(env: object, timeoutMs = DATABASE_TIMEOUT_MS): Database {
  const { databaseUrl, neonFetchEndpoint: endpoint, deploymentId } = configOf(env);
  if (databaseUrl === "") {
    const missing = () => Promise.reject(new LedgerFailure("unavailable", null, "DATABASE_URL"));
    return { deploymentId, query: missing, read: missing };
  }
  const sql = neon(databaseUrl, { fetchOptions: { endpoint, timeoutMs } satisfies DriverRequest });
  const tables = drizzle({ client: sql });
  return {
    deploymentId,
    query: (text, parameters) => failing(sql.query(text, [...parameters])),
    read: (work) => failing(work(tables)),
  };
}

async function failing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw ledgerFailure(error);
  }
}
