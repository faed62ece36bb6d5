import { env } from "cloudflare:workers";
import { inject } from "vitest";
import { type Database, openDatabase } from "../../src/ledgers/database.ts";
import type { LaneMode } from "./lanes.ts";

/** The line that everything in this test file takes to Postgres, objects included. */
export const FILE_LANE = String(env.NEON_FETCH_ENDPOINT).split("/").at(-1) ?? "";

/** A name for a line of one test. */
export function aLane(): string {
  return crypto.randomUUID();
}

/** The database over the lane; `url` where the test has a database of its own. */
export function laneDatabase(
  lane: string,
  more: { url?: string; deploymentId?: string; timeoutMs?: number } = {},
): Database {
  const variables = {
    DATABASE_URL: more.url ?? inject("databaseUrl"),
    NEON_FETCH_ENDPOINT: `${inject("neonFetchEndpoint")}/${lane}`,
    DEPLOYMENT_ID: more.deploymentId,
  };
  return openDatabase(variables, more.timeoutMs);
}

/** A statement straight to this run's Postgres, whatever became of the lanes; `url` for a database of the test's own. */
export async function query(
  text: string,
  parameters: readonly unknown[] = [],
  url?: string,
): Promise<Record<string, unknown>[]> {
  return laneDatabase("direct", url === undefined ? {} : { url }).query(text, parameters);
}

/** Cuts the lane, or lets it hang, until `back`. */
export function away(lane = FILE_LANE, mode: Exclude<LaneMode, "up"> = "away"): Promise<void> {
  return setMode(lane, mode);
}

export function back(lane = FILE_LANE): Promise<void> {
  return setMode(lane, "up");
}

/** How many statements the lane was asked to carry, answered or not. */
export async function statements(lane = FILE_LANE): Promise<number> {
  const response = await fetch(`${env.NEON_CONTROL}/${lane}`);
  const answer: { statements: number } = await response.json();
  return answer.statements;
}

/** A migrated database of the test's own, for what changes the whole of it. */
export async function aDatabase(): Promise<string> {
  const response = await fetch(`${env.NEON_CONTROL}/`, { method: "POST" });
  const answer: { url: string } = await response.json();
  return answer.url;
}

async function setMode(lane: string, mode: LaneMode): Promise<void> {
  await fetch(`${env.NEON_CONTROL}/${lane}`, { method: "POST", body: JSON.stringify({ mode }) });
}
