import { join, resolve } from "node:path";
import { type Config, parseConfig } from "../../src/config.ts";
import { buildWorker } from "./build-worker.ts";
import { makePrivate } from "./data-dir.ts";
import { lockDataDir } from "./data-dir-lock.ts";
import { type Database, openDatabase } from "./database.ts";
import { dockerService } from "./docker.ts";
import { keysOf } from "./keys.ts";
import { claimPort } from "./ports.ts";
import { gitSha } from "./project.ts";
import { endOrphans, type Runtime, startRuntime } from "./runtime.ts";
import { passedVariables } from "./variables.ts";

/** A crash and our own end look alike for a moment when Ctrl-C reaches the children first. */
const CRASH_GRACE_MS = 500;

export type PlatformOptions = {
  dataDir: string;
  port: number;
  environment: Record<string, string | undefined>;
  onCrash: (reason: string) => void;
};

export type Platform = { url: string; database: string; config: Config; stop(): Promise<void> };

/** Brings up the whole platform on 127.0.0.1 with its state under `dataDir`; what it started ends with `stop`. */
export async function startPlatform(options: PlatformOptions): Promise<Platform> {
  const dataDir = resolve(options.dataDir);
  makePrivate(dataDir);
  const running: { stop(): Promise<void> }[] = [];
  let stopping: Promise<void> | null = null;

  const stop = () => {
    stopping ??= (async () => {
      for (const part of running.reverse()) {
        await part.stop().catch((error: unknown) => console.error("Could not stop a part:", error));
      }
    })();
    return stopping;
  };
  const onCrash = (reason: string) => {
    setTimeout(() => stopping ?? options.onCrash(reason), CRASH_GRACE_MS);
  };
  const started = <Part extends { stop(): Promise<void> }>(part: Part): Part => {
    running.push(part);
    return part;
  };

  try {
    const lock = lockDataDir(dataDir);
    started({ stop: async () => lock.release() });
    await endOrphans(dataDir);
    const port = await claimPort(options.port);
    const building = buildWorker(join(dataDir, "run", "worker"));
    const opening = openDatabase(dataDir, options.environment.DATABASE_URL, console.error).then(started<Database>);
    // Both are awaited even when one fails: nothing may start after we gave up.
    await Promise.allSettled([building, opening]);
    const [bundle, database] = await Promise.all([building, opening]);
    const variables = {
      ...passedVariables(options.environment),
      ...keysOf(dataDir),
      ...database.variables,
      LOCAL_PLATFORM: "1",
      GIT_SHA: gitSha() ?? "unknown",
    };
    const docker = dockerService(options.environment);
    const runtime = started<Runtime>(await startRuntime({ dataDir, bundle, port, variables, docker, onCrash }));
    return { url: runtime.url, database: database.description, config: parseConfig(variables), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
