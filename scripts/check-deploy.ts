import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildWorker } from "./local/build-worker.ts";

/** Uncompressed. A larger Worker starts slower on every cold isolate, so growth must be somebody's decision. */
const BUNDLE_MAX_BYTES = 2 * 1024 * 1024;
const KIB = 1024;

const outDir = mkdtempSync(join(tmpdir(), "posthouse-deploy-"));
try {
  const bytes = statSync(await buildWorker(outDir)).size;
  console.log(`The Worker would deploy: ${(bytes / KIB).toFixed(0)} KiB of at most ${BUNDLE_MAX_BYTES / KIB} KiB.`);
  if (bytes > BUNDLE_MAX_BYTES) throw new Error("The bundle is over its budget.");
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(outDir, { recursive: true, force: true });
}
