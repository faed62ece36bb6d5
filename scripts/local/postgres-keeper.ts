import { BackOff, pause } from "./back-off.ts";
import { type LocalPostgres, type PostgresOptions, startPostgres } from "./postgres.ts";

export type KeptPostgres = Pick<LocalPostgres, "url" | "dataDir" | "stop">;

/** A Postgres that is started again, on the same port, whenever it ends by itself; `say` gets a line each time. */
export async function keepPostgres(options: PostgresOptions, say: (line: string) => void): Promise<KeptPostgres> {
  const ending = new AbortController();
  const { signal } = ending;
  const first = await startPostgres({ ...options, signal });
  const kept = keep(first, { ...options, port: first.port, signal }, say);
  return {
    url: first.url,
    dataDir: first.dataDir,
    async stop() {
      ending.abort();
      await kept;
    },
  };
}

async function keep(
  first: LocalPostgres,
  options: PostgresOptions & { readonly signal: AbortSignal },
  say: (line: string) => void,
): Promise<void> {
  const backOff = new BackOff();
  let what = await ended(first);
  while (!options.signal.aborted) {
    const delayMs = backOff.nextMs(Date.now());
    say(`${what}: starting it again in ${delayMs / 1_000} s. Everything else goes on.`);
    if (!(await pause(delayMs, options.signal))) return;
    try {
      const server = await startPostgres(options);
      say("Postgres is back.");
      what = await ended(server);
    } catch (error) {
      what = `Postgres does not start (${lastLine(error)})`;
    }
  }
}

async function ended(server: LocalPostgres): Promise<string> {
  await server.exited;
  return "Postgres ended unexpectedly";
}

/** Where Postgres says why it gives up. */
function lastLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split("\n").at(-1) ?? text;
}
