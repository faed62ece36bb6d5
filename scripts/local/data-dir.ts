import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const OWNER_ONLY = 0o700;
const OTHERS_PASS = 0o711;
/** What the platform writes; Postgres sees to its own directory. */
const SUBDIRECTORIES = ["state", "run"] as const;

/**
 * Makes the data directory where it is missing, and keeps what lies in it from other users. One that exists keeps its
 * mode, because it may be anybody's home; what is ours inside it is closed in either case.
 */
export function makePrivate(dataDir: string): void {
  // As root Postgres runs as another user, who has to pass to a directory of his own.
  mkdirSync(dataDir, { recursive: true, mode: process.getuid?.() === 0 ? OTHERS_PASS : OWNER_ONLY });
  for (const name of SUBDIRECTORIES) {
    const directory = join(dataDir, name);
    mkdirSync(directory, { recursive: true });
    chmodSync(directory, OWNER_ONLY);
  }
}
