import { Hono } from "hono";
import * as z from "zod";
import { MAX_ID_CHARS } from "../../domain/a2a-envelope.ts";
import { actorOf } from "../../domain/access.ts";
import {
  adminEntry,
  type DelegationFilter,
  readFilter,
  readLimit,
  statusCounts,
  statusesOf,
} from "../../domain/delegation-view.ts";
import { Refusal } from "../../domain/refusal.ts";
import { isStorableText } from "../../domain/text.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { openDatabase } from "../../ledgers/database.ts";
import {
  callersOf,
  type DelegationCursor,
  type DelegationKey,
  type DelegationSearch,
  delegationStats,
  type FoundDelegation,
  listDelegations,
  type Percentiles,
} from "../../ledgers/delegation-ledger.ts";
import { log } from "../../log.ts";
import { eachAlone } from "../../sweeper/sweep.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { adminOnly, workspaceAccess } from "../caller.ts";
import { type AppContext, type AppEnv, workspaceOf } from "../context.ts";
import { REASON } from "../reason.ts";

/** Delegations that one bulk order is given to; the rest wait for the next one. */
export const BULK_MAX = 500;
const UNKNOWN_HINT =
  "The ledger has none of this id. If it is quite new, try again in a moment, or name the caller as ?caller_id=.";
const NOT_THE_CALLERS_HINT = "The workspace in ?caller_id= has sent none of this id.";

const ORDER = z.object({ force: z.boolean().default(false), reason: REASON });
const BULK = z.object({
  // Strict, and without a default for the status: neither a misspelt nor an empty filter may mean every delegation.
  filter: z.strictObject({
    status: z.string(),
    caller_id: z.string().min(1).optional(),
    callee_id: z.string().min(1).optional(),
    q: z.string().min(1).optional(),
    cursor: z.string().min(1).nullish(),
    limit: z.int().min(1).max(BULK_MAX).default(BULK_MAX),
  }),
  action: z.enum(["retry", "cancel"]),
  // Nothing is done unless somebody says so.
  dry_run: z.boolean().default(true),
  force: z.boolean().default(false),
  reason: REASON,
});

type Action = z.output<typeof BULK>["action"];
type Order = z.output<typeof ORDER>;

/** All delegations as operators see them, and what operators can do about them. */
export const adminDelegationRoutes = new Hono<AppEnv>()
  .use("/*", adminOnly)
  .get("/", async (c) => {
    const status = readFilter(c.req.query("status") ?? null);
    const limit = readLimit(c.req.query("limit") ?? null);
    const found = await listDelegations(openDatabase(c.env), searchOf(status, c.req.query(), limit));
    return json({
      delegations: found.map(({ row }) => adminEntry(row)),
      count: found.length,
      status,
      limit,
      next_cursor: nextCursor(found, limit),
    });
  })
  .get("/stats", async (c) => {
    const { counts, age, duration } = await delegationStats(openDatabase(c.env));
    return json({
      ...statusCounts(counts),
      percentiles: { age_seconds: shown(age), duration_seconds: shown(duration) },
    });
  })
  .post("/bulk", async (c) => {
    const { filter, action, dry_run: dryRun, force, reason } = await jsonBody(c, BULK);
    const { limit } = filter;
    const found = await listDelegations(openDatabase(c.env), searchOf(readFilter(filter.status), filter, limit));
    const results = dryRun ? found.map(({ row }) => listed(row)) : await orderAll(c, found, action, { force, reason });
    const count = (outcome: BulkOutcome) => results.filter((result) => result.outcome === outcome).length;
    const counts = { matched: found.length, done: count("done"), refused: count("refused"), unknown: count("unknown") };
    if (!dryRun) log.info("delegation.bulk_ordered", { action, ...counts });
    return json({ action, dry_run: dryRun, ...counts, delegations: results, next_cursor: nextCursor(found, limit) });
  })
  .post("/:id/retry", async (c) => {
    const order = await orderOf(c);
    const key = await keyOf(c);
    return json({ ...keyJson(key), status: "queued", ...(await give(c, key, "retry", order)) }, 202);
  })
  .post("/:id/cancel", async (c) => {
    const order = await orderOf(c);
    const key = await keyOf(c);
    return json({ ...keyJson(key), status: "cancelled", ...(await give(c, key, "cancel", order)) });
  });

type BulkOutcome = "done" | "refused" | "unknown";

interface BulkResult {
  readonly delegation_id: string;
  readonly caller_id: string;
  readonly callee_id: string;
  /** Before the order. */
  readonly status: string;
  /** `unknown`: its object did not answer, and may have followed the order. */
  readonly outcome?: BulkOutcome;
  readonly code?: string;
  readonly attempt_id?: string;
  readonly cancel_requested?: boolean;
}

/** Gives the order to the owner of each one; what one of them makes of it is no concern of the others. */
async function orderAll(
  c: AppContext,
  found: readonly FoundDelegation[],
  action: Action,
  order: Order,
): Promise<BulkResult[]> {
  const results = found.map(({ row }): BulkResult => ({ ...listed(row), outcome: "unknown" }));
  const orders = found.map(({ row }, index) => ({ row, index }));
  await eachAlone(orders, async ({ row, index }) => {
    const result = await give(c, row, action, order).then(
      (done) => ({ outcome: "done" as const, ...done }),
      (error: unknown) => {
        if (error instanceof Refusal) return { outcome: "refused" as const, code: error.code };
        throw error;
      },
    );
    results[index] = { ...listed(row), ...result };
  });
  return results;
}

/** One order to the object of the caller, which leaves the audit row. */
async function give(
  c: AppContext,
  { callerId, delegationId }: DelegationKey,
  action: Action,
  { force, reason }: Order,
): Promise<{ attempt_id: string } | { cancel_requested: boolean }> {
  const access = workspaceAccess(c, callerId);
  const owner = workspaceOf(c, callerId);
  const order = { access, delegationId, by: actorOf(access, callerId), reason };
  try {
    if (action === "cancel") {
      const { cancelRequested } = await ask(c, owner.cancelDelegation(order));
      return { cancel_requested: cancelRequested };
    }
    const { attemptId } = await ask(c, owner.retryDelegation({ ...order, force }));
    return { attempt_id: attemptId };
  } catch (error) {
    if (!(error instanceof Refusal) || error.code !== "delegation.not_found") throw error;
    throw new Refusal(error.code, { hint: NOT_THE_CALLERS_HINT });
  }
}

/** The delegation that the path means: by `?caller_id=`, else the only one of that id in the ledger. */
async function keyOf(c: AppContext): Promise<DelegationKey> {
  const delegationId = c.req.param("id") ?? "";
  if (delegationId.length > MAX_ID_CHARS) throw new Refusal("request.id_too_long");
  const named = workspaceOrNull(c.req.query("caller_id"));
  if (named !== null) return { callerId: named, delegationId };
  const candidates = await callersOf(openDatabase(c.env), storable(delegationId));
  const [callerId, another] = candidates;
  if (callerId === undefined) throw new Refusal("delegation.not_found", { hint: UNKNOWN_HINT });
  if (another === undefined) return { callerId, delegationId };
  throw new Refusal("delegation.ambiguous", { details: { delegation_id: delegationId, candidates } });
}

/** What to do and why; a body is optional. */
async function orderOf(c: AppContext): Promise<Order> {
  const isBare = c.req.raw.body === null || c.req.header("Content-Length") === "0";
  return isBare ? ORDER.parse({}) : jsonBody(c, ORDER);
}

type Filter = Readonly<Partial<Record<"caller_id" | "callee_id" | "q" | "cursor", string | null | undefined>>>;

function searchOf(status: DelegationFilter, filter: Filter, limit: number): DelegationSearch {
  return {
    statuses: statusesOf(status),
    callerId: workspaceOrNull(filter.caller_id),
    calleeId: workspaceOrNull(filter.callee_id),
    text: filter.q ? storable(filter.q) : null,
    after: filter.cursor ? readCursor(filter.cursor) : null,
    limit,
  };
}

function workspaceOrNull(text: string | null | undefined): string | null {
  if (!text) return null;
  const id = canonicalWorkspaceId(text);
  if (id === null) throw new Refusal("workspace.invalid_id");
  return id;
}

/** Postgres takes neither U+0000 nor half a character, not even to look for it. */
function storable(text: string): string {
  if (!isStorableText(text)) throw new Refusal("request.unstorable_text");
  return text;
}

const CURSOR = /^(\d{1,16})\.([0-9a-f-]{36})\.(.+)$/s;

function nextCursor(found: readonly FoundDelegation[], limit: number): string | null {
  const last = found.length === limit ? found.at(-1)?.cursor : undefined;
  if (!last) return null;
  return Buffer.from(`${last.createdAt}.${last.callerId}.${last.delegationId}`).toString("base64url");
}

function readCursor(text: string): DelegationCursor {
  const [, createdAt, callerId, delegationId] = CURSOR.exec(Buffer.from(text, "base64url").toString()) ?? [];
  const caller = canonicalWorkspaceId(callerId ?? "");
  if (caller === null || !isStorableText(delegationId ?? "")) throw new Refusal("admin.invalid_cursor");
  return { createdAt: Number(createdAt), callerId: caller, delegationId: delegationId ?? "" };
}

function listed({ delegationId, callerId, calleeId, status }: FoundDelegation["row"]): BulkResult {
  return { delegation_id: delegationId, caller_id: callerId, callee_id: calleeId, status };
}

function keyJson({ callerId, delegationId }: DelegationKey) {
  return { delegation_id: delegationId, caller_id: callerId };
}

function shown({ p50, p95, p99 }: Percentiles): Percentiles {
  const rounded = (seconds: number | null) => (seconds === null ? null : Math.round(seconds * 1000) / 1000);
  return { p50: rounded(p50), p95: rounded(p95), p99: rounded(p99) };
}
