import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { PROJECT_ROOT } from "./project.ts";

const READY_LIMIT_MS = 90_000;
const READY = /^Posthouse is ready at (\S+)$/;

export type SpawnOptions = {
  command: readonly [string, ...string[]];
  dataDir: string;
  port: number;
  environment?: Record<string, string>;
};

export type SpawnedPlatform = {
  pid: number;
  /** Everything that it printed so far. */
  output(): string;
  /** Its address, once it says that it is ready; throws when it ends before. */
  ready: Promise<string>;
  exited: Promise<number | null>;
};

/** Starts the platform as a user would, in a process group of its own, so that Ctrl-C can be sent to the whole group. */
export function spawnPlatform({ command, dataDir, port, environment }: SpawnOptions): SpawnedPlatform {
  const [program, ...words] = command;
  const child = spawn(program, words, {
    cwd: PROJECT_ROOT,
    env: { ...withoutOurOwn(process.env), DATA_DIR: dataDir, PORT: String(port), ...environment },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const printed: string[] = [];
  const exited = new Promise<number | null>((resolve) => child.once("close", resolve));
  const ready = new Promise<string>((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`not ready in time:\n${printed.join("\n")}`)), READY_LIMIT_MS);
    const take = (line: string) => {
      printed.push(line);
      const url = READY.exec(line)?.[1];
      if (!url) return;
      clearTimeout(limit);
      resolve(url);
    };
    createInterface(child.stdout).on("line", take);
    createInterface(child.stderr).on("line", take);
    child.once("error", reject);
    void exited.then((code) => {
      clearTimeout(limit);
      reject(new Error(`ended with ${code}:\n${printed.join("\n")}`));
    });
  });
  ready.catch(() => {}); // whoever waits for it hears of it
  return { pid: child.pid ?? 0, output: () => printed.join("\n"), ready, exited };
}

/** What configures a platform must come from the caller, not from the shell that runs a test or a measurement. */
function withoutOurOwn(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { DATABASE_URL, ADMIN_TOKEN, MOLECULE_ENV, MOLECULE_ORG_ID, MINIFLARE_WORKERD_PATH, ...rest } = environment;
  return rest;
}
