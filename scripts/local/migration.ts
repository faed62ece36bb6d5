import { once } from "node:events";
import { connect } from "node:net";
import { migrate } from "../db-migrate.ts";
import { BackOff, pause } from "./back-off.ts";
import { pg } from "./pg.ts";
import { StartProblem } from "./start-problem.ts";

/** Of the system, and of a Postgres that starts, ends or has no room just now. */
const AWAY_CODE =
  /^(?:ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|EHOSTDOWN|ENETUNREACH|ENETDOWN|ENOTFOUND|EAI_AGAIN|080\d\d|53\d\d\d|57P0[123])$/;
const CUT_OFF = /^Connection terminated|^timeout expired/;
/** The question whether TLS is spoken, with which a conversation may begin: Postgres answers it by one letter. */
const TLS_QUESTION = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const ANSWER_LIMIT_MS = 5_000;

/**
 * Migrates a database that may be away: then it says so and goes on trying, until it is done or told to stop. Throws
 * when something answers and refuses.
 */
export async function migrateOnceThere(url: string, say: (line: string) => void): Promise<{ stop(): Promise<void> }> {
  const ending = new AbortController();
  try {
    await migrate(url, "up");
  } catch (error) {
    const refusal = await refusalOf(url, error);
    if (refusal !== null) throw new StartProblem(`The database at ${hostOf(url)} cannot be used: ${refusal}`);
    say(
      `The database at ${hostOf(url)} is away (${reasonOf(error)}): starting without it, the ledgers catch up later.`,
    );
    void keepTrying(url, ending.signal, say);
  }
  return { stop: async () => ending.abort() };
}

async function keepTrying(url: string, signal: AbortSignal, say: (line: string) => void): Promise<void> {
  const backOff = new BackOff();
  let known = "";
  while (await pause(backOff.nextMs(Date.now()), signal)) {
    try {
      await migrate(url, "up");
      say(`The database at ${hostOf(url)} is there, and migrated.`);
      return;
    } catch (error) {
      const reason = reasonOf(error);
      if (known !== "" && reason !== known) say(`The database at ${hostOf(url)} cannot be used yet: ${reason}`);
      known = reason;
    }
  }
}

/** What was refused, or null when the database is only away. */
async function refusalOf(url: string, error: unknown): Promise<string | null> {
  const reason = reasonOf(error);
  if (CUT_OFF.test(reason)) return (await isSomethingElse(url)) ? "what answers there is not Postgres" : null;
  const cause = causeOf(error);
  const isAway = cause instanceof Error && "code" in cause && AWAY_CODE.test(String(cause.code));
  return isAway ? null : reason;
}

/** Whether what listens there speaks, but not as a Postgres does. */
async function isSomethingElse(url: string): Promise<boolean> {
  const { host, port } = new pg.Client({ connectionString: url });
  const socket = connect({ host, port });
  try {
    socket.write(TLS_QUESTION);
    const [answer] = await once(socket, "data", { signal: AbortSignal.timeout(ANSWER_LIMIT_MS) });
    return !/^[SN]$/.test(String(answer));
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

function reasonOf(error: unknown): string {
  const cause = causeOf(error);
  return cause instanceof Error ? cause.message : String(cause);
}

/** A refused connection to a name with two addresses is an AggregateError without words of its own. */
function causeOf(error: unknown): unknown {
  return error instanceof AggregateError ? error.errors[0] : error;
}

function hostOf(databaseUrl: string): string {
  return new URL(databaseUrl).host;
}
