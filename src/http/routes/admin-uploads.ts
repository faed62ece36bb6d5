import { Hono } from "hono";
import { microsToTimestamp } from "../../domain/activity.ts";
import { Refusal, type RefusalCode } from "../../domain/refusal.ts";
import { UPLOAD_FILE_STATES } from "../../domain/upload.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { openDatabase } from "../../ledgers/database.ts";
import { listUploads, type UploadView, uploadStats } from "../../ledgers/upload-ledger.ts";
import { json } from "../answers.ts";
import { adminOnly } from "../caller.ts";
import type { AppContext, AppEnv } from "../context.ts";

const LIMIT_DEFAULT = 100;
const LIMIT_MAX = 1_000;

/** Staged files as operators see them: state, age and size, never content. */
export const adminUploadRoutes = new Hono<AppEnv>()
  .use("/*", adminOnly)
  .get("/", async (c) => {
    const limit = limitOf(c.req.query("limit"));
    const uploads = await listUploads(openDatabase(c.env), {
      state: stateOf(c),
      workspaceId: uuidOf(c.req.query("workspace_id"), "workspace.invalid_id"),
      after: uuidOf(c.req.query("cursor"), "upload.invalid_file_id"),
      limit,
    });
    const now = Date.now();
    const last = uploads.at(-1);
    return json({
      uploads: uploads.map((upload) => shown(upload, now)),
      count: uploads.length,
      limit,
      next_cursor: uploads.length === limit && last ? last.file_id : null,
    });
  })
  .get("/stats", async (c) => {
    const stats = await uploadStats(openDatabase(c.env));
    const states = Object.fromEntries(
      UPLOAD_FILE_STATES.map((state) => [state, stats.byState[state] ?? { files: 0, bytes: 0 }]),
    );
    return json({ ...states, oldest_waiting_seconds: stats.oldestWaitingSeconds });
  });

function shown(upload: UploadView, now: number) {
  const time = (micros: number | null) => (micros === null ? null : microsToTimestamp(micros));
  return {
    file_id: upload.file_id,
    workspace_id: upload.workspace_id,
    name: upload.filename,
    mime_type: upload.mimetype,
    size: upload.size_bytes,
    state: upload.state,
    age_seconds: Math.max(0, Math.floor(now / 1000 - upload.created_at / 1_000_000)),
    created_at: microsToTimestamp(upload.created_at),
    fetched_at: time(upload.fetched_at),
    acked_at: time(upload.acked_at),
    expires_at: time(upload.expires_at),
    swept_at: time(upload.swept_at),
  };
}

function stateOf(c: AppContext): string | null {
  const state = c.req.query("state");
  if (state === undefined || state === "") return null;
  if (UPLOAD_FILE_STATES.some((known) => known === state)) return state;
  throw new Refusal("admin.unknown_filter", { details: { allowed: [...UPLOAD_FILE_STATES], requested_status: state } });
}

function limitOf(text: string | undefined): number {
  if (text === undefined || text === "") return LIMIT_DEFAULT;
  const limit = /^\d+$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new Refusal("admin.invalid_limit", { details: { requested: text } });
}

function uuidOf(text: string | undefined, code: RefusalCode): string | null {
  if (text === undefined || text === "") return null;
  const id = canonicalWorkspaceId(text);
  if (id === null) throw new Refusal(code);
  return id;
}
