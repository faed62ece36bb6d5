import { Hono } from "hono";
import { microsToTimestamp } from "../../domain/activity.ts";
import { QUEUE_STATUSES, type QueueStatus } from "../../domain/queue-item.ts";
import { Refusal } from "../../domain/refusal.ts";
import { looksLikeRowId } from "../../domain/row-id.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import type { QueueReader } from "../../durable-objects/workspace/queue.ts";
import { openDatabase } from "../../ledgers/database.ts";
import { listQueue, queueDepths, staleTargets } from "../../ledgers/queue-ledger.ts";
import { log } from "../../log.ts";
import { blobStoreOf } from "../../storage/blob-store.ts";
import { readLargeBody } from "../../storage/large-body.ts";
import { json, jsonText } from "../answers.ts";
import { ask } from "../ask.ts";
import { adminOnly, workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, workspaceOf } from "../context.ts";
import { senderOf } from "../sender.ts";
import { cannotTell } from "../session.ts";

const LIST_DEFAULT = 100;
const LIST_MAX = 1_000;
const MAX_AGE_DEFAULT_MINUTES = 60;
const MAX_AGE_MAX_MINUTES = 365 * 24 * 60;
/** Targets asked to drop their stale items by one call, and how many of them at a time. */
const DROP_TARGETS_MAX = 500;
const DROP_CONCURRENCY = 6;

/** One queued request, for its caller, its target and operators; to anybody else it does not exist. */
export const queueRoutes = new Hono<AppEnv>().get("/a2a/queue/:queueId", async (c) => {
  const id = workspaceIdParam(c);
  const queueId = c.req.param("queueId").toLowerCase();
  if (!looksLikeRowId(queueId)) throw new Refusal("a2a.queue_item_not_found");
  const { json: item, responseKey } = await ask(c, workspaceOf(c, id).queueItem({ ...(await reader(c, id)), queueId }));
  const blobs = blobStoreOf(c.env);
  const response = responseKey !== null && blobs ? await readLargeBody(blobs, responseKey) : null;
  return response ? withResponse(c, item, response) : jsonText(item);
});

/** What operators see of all queues, and the broom. */
export const adminQueueRoutes = new Hono<AppEnv>()
  .use("/admin/queue", adminOnly)
  .use("/admin/a2a-queue/*", adminOnly)
  .get("/admin/queue", async (c) => {
    const status = statusQuery(c.req.query("status"));
    const workspaceId = workspaceQuery(c);
    const limit = wholeQuery(c.req.query("limit"), 1, LIST_MAX, LIST_DEFAULT);
    if (limit === null) throw new Refusal("queue.invalid_limit");
    const database = openDatabase(c.env);
    const [items, depths] = await Promise.all([
      listQueue(database, { status, workspaceId, limit }),
      queueDepths(database, workspaceId),
    ]);
    const targets = depths.map(({ workspaceId: id, queued, dispatched, oldestEnqueuedAt }) => ({
      workspace_id: id,
      queued,
      dispatched,
      oldest_enqueued_at: oldestEnqueuedAt === null ? null : microsToTimestamp(oldestEnqueuedAt),
    }));
    return jsonText(`{"items":[${items.join(",")}],"targets":${JSON.stringify(targets)},"count":${items.length}}`);
  })
  .post("/admin/a2a-queue/drop-stale", async (c) => {
    const maxAgeMinutes = wholeQuery(c.req.query("max_age_minutes"), 0, MAX_AGE_MAX_MINUTES, MAX_AGE_DEFAULT_MINUTES);
    if (maxAgeMinutes === null) throw new Refusal("queue.invalid_max_age");
    const workspaceId = workspaceQuery(c);
    if (workspaceId !== null) return json(await ask(c, workspaceOf(c, workspaceId).dropStaleItems({ maxAgeMinutes })));
    const before = (Date.now() - maxAgeMinutes * 60_000) * 1000;
    const targets = await staleTargets(openDatabase(c.env), before, DROP_TARGETS_MAX);
    return json(await dropEverywhere(c, targets, maxAgeMinutes));
  });

/** The target under its own token, an operator, or the workspace of the bearer, whose object verifies it. */
async function reader(c: AppContext, id: string) {
  const { credential, config } = c.var;
  if (c.var.session === "unknown") throw cannotTell();
  if (credential.kind === "none" && !config.devMode) throw new Refusal("a2a.queue_item_not_found");
  if (credential.kind === "workspace" && credential.id !== id) {
    const caller = await senderOf(c);
    const other: QueueReader = { kind: "workspace", id: caller?.id ?? "" };
    return { access: null, reader: other };
  }
  const trusted: QueueReader = { kind: "trusted" };
  return { access: workspaceAccess(c, id), reader: trusted };
}

function withResponse(c: AppContext, item: string, response: ReadableStream<Uint8Array>): Response {
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
  const write = async (text: string) => {
    const writer = writable.getWriter();
    await writer.write(new TextEncoder().encode(text));
    writer.releaseLock();
  };
  const writeAll = async () => {
    await write(`${item.slice(0, -1)},"response_body":`);
    await response.pipeTo(writable, { preventClose: true });
    await write("}");
    await writable.close();
  };
  c.executionCtx.waitUntil(writeAll().catch(() => writable.abort().catch(() => undefined)));
  return new Response(readable, { headers: { "Content-Type": "application/json; charset=utf-8" } });
}

/** Asks each target in turn; one that cannot be asked is counted and keeps its items. */
async function dropEverywhere(c: AppContext, targets: readonly string[], maxAgeMinutes: number) {
  let dropped = 0;
  let failed = 0;
  for (let at = 0; at < targets.length; at += DROP_CONCURRENCY) {
    const slice = targets.slice(at, at + DROP_CONCURRENCY);
    const results = await Promise.allSettled(
      slice.map((id) => ask(c, workspaceOf(c, id).dropStaleItems({ maxAgeMinutes }))),
    );
    for (const result of results) {
      if (result.status === "fulfilled") dropped += result.value.dropped;
      else failed += 1;
    }
  }
  if (failed > 0) log.warn("queue.drop_incomplete", { targets: targets.length, failed });
  return { dropped, ...(failed > 0 ? { failed_targets: failed } : {}) };
}

function statusQuery(text: string | undefined): QueueStatus | null {
  if (text === undefined || text === "") return null;
  const status = QUEUE_STATUSES.find((known) => known === text);
  if (!status) throw new Refusal("queue.invalid_status");
  return status;
}

function workspaceQuery(c: AppContext): string | null {
  const text = c.req.query("workspace_id");
  if (text === undefined || text === "") return null;
  const id = canonicalWorkspaceId(text);
  if (id === null) throw new Refusal("workspace.invalid_id");
  return id;
}

/** Null for what is no whole number within the bounds. */
function wholeQuery(text: string | undefined, min: number, max: number, fallback: number): number | null {
  if (text === undefined || text === "") return fallback;
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return number >= min && number <= max ? number : null;
}
