import { Hono } from "hono";
import { openDatabase } from "../../ledgers/database.ts";
import { blobStoreOf } from "../../storage/blob-store.ts";
import { json } from "../answers.ts";
import { settled } from "../ask.ts";
import { type AppContext, type AppEnv, directoryOf } from "../context.ts";
import { bounded, LOOK_TIMEOUT_MS, sharedLooks } from "../shared-look.ts";

interface Finding {
  readonly ok: boolean;
  readonly detail?: string;
}

interface DirectoryFinding extends Finding {
  readonly gauges?: Record<string, unknown>;
  readonly findings?: readonly string[];
}

/** What load balancers, operators and clients ask before anything else. */
export const probeRoutes = new Hono<AppEnv>()
  .get("/health", () => json({ status: "ok" }))
  .get("/buildinfo", (c) => json({ git_sha: c.var.config.gitSha }))
  .get("/uploads/limits", (c) => {
    const { UPLOAD_FILE_BYTES, UPLOAD_REQUEST_BYTES, UPLOAD_FILES } = c.var.config;
    return json({
      per_file_bytes: UPLOAD_FILE_BYTES,
      per_request_bytes: UPLOAD_REQUEST_BYTES,
      max_attachments_per_message: UPLOAD_FILES,
    });
  })
  .get("/readyz", async (c) => {
    const { body, ready } = await readiness(c.var.config).at(() => lookAround(c));
    return json(body, ready ? 200 : 503);
  });

const readiness = sharedLooks<{ readonly body: object; readonly ready: boolean }>();

async function lookAround(c: AppContext) {
  const [directory, database, blobs] = await Promise.all([probeDirectory(c), probeDatabase(c), probeBlobs(c)]);
  const ready = directory.ok && blobs.ok;
  const body = {
    status: ready ? (database.ok ? "ready" : "degraded") : "unavailable",
    dependencies: { directory: withoutGauges(directory), database, blobs },
    findings: [...c.var.config.findings, ...(directory.findings ?? [])],
    ...directory.gauges,
  };
  return { body, ready };
}

async function probeDirectory(c: AppContext): Promise<DirectoryFinding> {
  try {
    const { workspaces, setAside, flushLag, unflushedSince, blockedReason, lockedSecrets } = await bounded(
      settled(directoryOf(c).gauges()),
    );
    const since = unflushedSince === null ? null : new Date(unflushedSince).toISOString();
    return {
      ok: true,
      findings: lockedSecrets > 0 ? [lockedFinding(lockedSecrets)] : [],
      gauges: {
        workspaces,
        set_aside: setAside,
        flush: { directory_lag: flushLag, failing_since: since, blocked_reason: blockedReason },
      },
    };
  } catch {
    return { ok: false, detail: "the directory object does not answer" };
  }
}

function lockedFinding(count: number): string {
  return `${count} stored secrets open with neither SECRETS_KEY nor SECRETS_KEY_PREVIOUS`;
}

async function probeDatabase(c: AppContext): Promise<Finding> {
  if (c.var.config.databaseUrl === "") return { ok: false, detail: "DATABASE_URL is not set" };
  try {
    const [identity] = await openDatabase(c.env, LOOK_TIMEOUT_MS).query(
      "SELECT deployment_id FROM ledger_identity",
      [],
    );
    const owner = identity?.deployment_id ?? null;
    if (owner !== null && owner !== c.var.config.deploymentId) {
      return { ok: false, detail: "the database belongs to another deployment: nothing is flushed" };
    }
    return { ok: true };
  } catch (error) {
    const behind = error instanceof Error && "schemaBehind" in error && error.schemaBehind === true;
    return {
      ok: false,
      detail: behind ? "migrations are missing: run npm run db:migrate" : "the database does not answer",
    };
  }
}

async function probeBlobs(c: AppContext): Promise<Finding> {
  if (!blobStoreOf(c.env)) return { ok: true, detail: "no bucket is bound: chat uploads answer 422" };
  return { ok: true };
}

function withoutGauges({ ok, detail }: Finding): Finding {
  return detail === undefined ? { ok } : { ok, detail };
}
