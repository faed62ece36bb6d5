import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";

export const PROJECT_ROOT = resolve(import.meta.dirname, "../..");
export const WRANGLER_CONFIG = join(PROJECT_ROOT, "wrangler.toml");

/** The commit that runs, when this is a checkout. */
export function gitSha(): string | undefined {
  if (!existsSync(join(PROJECT_ROOT, ".git"))) return undefined;
  try {
    const stdio = ["ignore", "pipe", "ignore"] as ["ignore", "pipe", "ignore"];
    return execFileSync("git", ["rev-parse", "HEAD"], { cwd: PROJECT_ROOT, encoding: "utf8", stdio }).trim();
  } catch {
    return undefined;
  }
}
