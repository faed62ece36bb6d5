import type { OpenDelegation } from "../domain/delegation.ts";
import type { Received } from "../domain/delegation-received.ts";
import { restoredDelegation, restoredReceived } from "../domain/delegation-restored.ts";
import type { DelegationRow } from "../domain/delegation-view.ts";
import { isJsonObject, parseJsonText } from "../domain/json-text.ts";
import type { RebuildSeed } from "../domain/workspace-seed.ts";
import type { Reply } from "../durable-objects/shared/reply.ts";
import type { RebuildOrder, RebuildPart, RestoredDelegation, Standing } from "../durable-objects/workspace/rebuild.ts";
import { type Database, openDatabase } from "../ledgers/database.ts";
import { raiseEpoch } from "../ledgers/ledger-write.ts";
import {
  type ActivitySlice,
  activityOf,
  attemptsOf,
  epochOf,
  keptFiles,
  liveTokens,
  openDelegations,
  openQueueItems,
  recentActivity,
  type SentRow,
  sentRows,
} from "../ledgers/rebuild-source.ts";
import { type BlobStore, blobStoreOf } from "../storage/blob-store.ts";
import { readLargeBody } from "../storage/large-body.ts";
import { ask, unwrapReply } from "./ask.ts";
import { type AppContext, directoryOf, workspaceOf } from "./context.ts";
import { mintInboundSecret } from "./mint.ts";

const DAY_US = 24 * 60 * 60 * 1_000_000;

/** What comes back, before anything is changed. */
export interface RebuildPlan {
  readonly slices: readonly ActivitySlice[];
  readonly sent: readonly DelegationRow[];
  readonly received: readonly DelegationRow[];
  readonly files: number;
}

/** How many rows of each kind came or would come back. */
export function countsOf({ slices, sent, received, files }: RebuildPlan) {
  const activity = slices.reduce((sum, { rows }) => sum + rows, 0);
  return { activity, delegations: sent.length, received: received.length, files };
}

/** Reads what the ledger has; throws a LedgerFailure while it is away. */
export async function planRebuild(c: AppContext, id: string): Promise<RebuildPlan> {
  const database = openDatabase(c.env);
  const since = Date.now() * 1000 - c.var.config.ACTIVITY_UNREAD_RETENTION_DAYS * DAY_US;
  const [slices, sent, received, files] = await Promise.all([
    recentActivity(database, id, since),
    openDelegations(database, { callerId: id, calleeId: null }),
    openDelegations(database, { callerId: null, calleeId: id }),
    keptFiles(database, id),
  ]);
  return { slices, sent, received: received.filter(({ status }) => status !== "queued"), files: files.length };
}

/** From here on no earlier object of the workspace counts, in the tree or in the ledger. */
export async function beginEpoch(c: AppContext, id: string): Promise<RebuildSeed> {
  const database = openDatabase(c.env);
  // A directory that was taken back in time itself may know a lower one than the ledger.
  const above = await epochOf(database, id);
  const seed = await ask(c, directoryOf(c).raiseEpoch({ id, above }));
  await raiseEpoch(database, id, seed.epoch);
  return seed;
}

/** Fills a fresh object from the ledger, part by part; it is there when all of it is. */
export async function rebuildFromLedger(
  c: AppContext,
  standing: Standing,
  seed: RebuildSeed,
  plan: RebuildPlan,
  order: RebuildOrder,
): Promise<void> {
  const { id, epoch } = seed;
  const database = openDatabase(c.env);
  const take = (part: RebuildPart) => ask(c, workspaceOf(c, id).takeRebuild({ epoch, part }));
  if (standing.state !== "empty") await brokenOff(c, workspaceOf(c, id).clearForRebuild({ epoch }));
  await ask(c, workspaceOf(c, id).beginRebuild({ seed, inboundSecret: mintInboundSecret() }));
  await take({
    tokens: await liveTokens(database, id),
    files: await keptFiles(database, id),
    queue: await openQueueItems(database, id),
  });
  for (const slice of plan.slices) await take({ activity: await activityOf(database, id, slice) });
  await take({ received: await receivedOf(database, plan.received) });
  const blobs = blobStoreOf(c.env);
  for (const row of plan.sent) await take({ delegations: [await restored(database, blobs, row)] });
  await ask(c, workspaceOf(c, id).finishRebuild(order));
}

/** Takes an object back to a bookmark and lets it go on from there. */
export async function restoreFromBookmark(
  c: AppContext,
  seed: RebuildSeed,
  bookmark: string,
  order: RebuildOrder,
): Promise<void> {
  await ask(c, workspaceOf(c, seed.id).expectRestore());
  await brokenOff(c, workspaceOf(c, seed.id).restoreBookmark({ bookmark }));
  await ask(c, workspaceOf(c, seed.id).adoptRestored({ seed, order }));
}

/** An object that ends itself breaks its call off; one that refuses says so. The next call meets what came of it. */
async function brokenOff(c: AppContext, call: Promise<Reply<never>>): Promise<void> {
  const answer = await call.catch(() => null);
  if (answer) await unwrapReply(c, answer);
}

async function receivedOf(database: Database, rows: readonly DelegationRow[]): Promise<Received[]> {
  const received: Received[] = [];
  for (const row of rows) {
    const attemptId = (await attemptsOf(database, row, row.retryCount)).at(-1) ?? row.delegationId;
    received.push(restoredReceived(row, attemptId));
  }
  return received;
}

async function restored(database: Database, blobs: BlobStore | null, row: DelegationRow): Promise<RestoredDelegation> {
  const attemptIds = await attemptsOf(database, row, row.retryCount);
  const sent = await sentRowOf(await sentRows(database, row), blobs, row.delegationId);
  const startedAt = sent ? Math.floor(sent.createdAt / 1000) : row.createdAt;
  const delegation: OpenDelegation = restoredDelegation(row, { attemptIds, startedAt }, Date.now());
  return { delegation, task: sent?.task ?? row.taskPreview, sentSeq: sent?.seq ?? null };
}

/** The newest of the rows that tells of this delegation, with the task in full. */
async function sentRowOf(
  rows: readonly SentRow[],
  blobs: BlobStore | null,
  delegationId: string,
): Promise<{ seq: number; createdAt: number; task: string } | null> {
  for (const { seq, createdAt, text, key } of rows) {
    const body = parseJsonText(text ?? (await largeText(blobs, key)))?.value;
    if (!isJsonObject(body) || !("task" in body) || !("delegation_id" in body)) continue;
    if (body.delegation_id === delegationId) return { seq, createdAt, task: String(body.task) };
  }
  return null;
}

async function largeText(blobs: BlobStore | null, key: string | null): Promise<string> {
  const stream = blobs && key !== null ? await readLargeBody(blobs, key) : null;
  return stream === null ? "" : new Response(stream).text();
}
