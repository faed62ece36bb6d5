import { execFile } from "node:child_process";
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { PROJECT_ROOT } from "./project.ts";
import { StartProblem } from "./start-problem.ts";

const OUTPUT_MAX_BYTES = 16 * 1024 * 1024;

/** Keeps wrangler from reaching for the network, from asking questions and from writing into the user's home. */
const QUIET = {
  WRANGLER_WRITE_LOGS: "false",
  WRANGLER_SEND_METRICS: "false",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  WRANGLER_HIDE_BANNER: "true",
  CI: "1",
};

/** Bundles the Worker exactly as `wrangler deploy` would, and returns the path of the bundle. */
export async function buildWorker(outDir: string): Promise<string> {
  mkdirSync(outDir, { recursive: true });
  const wrangler = join(dirname(createRequire(import.meta.url).resolve("wrangler/package.json")), "bin", "wrangler.js");
  const words = [wrangler, "deploy", "--dry-run", "--outdir", outDir];
  const options = { cwd: PROJECT_ROOT, env: { ...process.env, ...QUIET }, maxBuffer: OUTPUT_MAX_BYTES };
  try {
    await promisify(execFile)(process.execPath, words, options);
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    throw new StartProblem(`The Worker does not build:\n${stdout}${stderr}`.trim());
  }
  return join(outDir, "index.js");
}
