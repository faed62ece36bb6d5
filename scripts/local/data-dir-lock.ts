import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { StartProblem } from "./start-problem.ts";

export type DataDirLock = { release(): void };

/**
 * Takes the data directory for this process. The lock is SQLite's lock on a file, so the operating system itself
 * lets it go when the process dies, however it dies.
 */
export function lockDataDir(dataDir: string): DataDirLock {
  const holderPath = join(dataDir, "lock.holder");
  const lock = new DatabaseSync(join(dataDir, "lock"), { timeout: 0 });
  try {
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
  } catch (error) {
    lock.close();
    if (!isLocked(error)) throw error;
    const user = `process ${holder(holderPath)}`;
    throw new StartProblem(
      `${dataDir} is in use by another start (${user}). End that one, or choose another DATA_DIR.`,
    );
  }
  writeFileSync(holderPath, String(process.pid));
  return { release: () => lock.close() };
}

function isLocked(error: unknown): boolean {
  return error instanceof Error && error.message.includes("locked");
}

function holder(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "unknown";
  }
}
