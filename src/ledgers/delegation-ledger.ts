import { and, desc, eq, inArray, type SQL, sql } from "drizzle-orm";
import type { DelegationStatus } from "../domain/delegation.ts";
import type { DelegationEvent } from "../domain/delegation-effect.ts";
import type { DelegationRow } from "../domain/delegation-view.ts";
import type { Database } from "./database.ts";
import { delegations } from "./schema.ts";

/** A delegation by its whole key. */
export interface DelegationKey {
  readonly callerId: string;
  readonly delegationId: string;
}

/** The last delegation of a page, behind which the next one begins; `createdAt` in µs. */
export interface DelegationCursor extends DelegationKey {
  readonly createdAt: number;
}

export interface DelegationSearch {
  readonly statuses: readonly DelegationStatus[];
  readonly callerId: string | null;
  readonly calleeId: string | null;
  /** Found in the task, the result, the error or the id, without regard to case. */
  readonly text: string | null;
  readonly after: DelegationCursor | null;
  readonly limit: number;
}

export interface FoundDelegation {
  readonly row: DelegationRow;
  readonly cursor: DelegationCursor;
}

/** How many of those that the other filters leave are searched for a text, the newest first. */
export const TEXT_SEARCH_ROWS_MAX = 10_000;

/** Delegations, newest first. Throws a LedgerFailure. */
export async function listDelegations(database: Database, search: DelegationSearch): Promise<FoundDelegation[]> {
  const { text, limit } = search;
  const rows = await database.read((tables) => {
    const found = tables
      .select()
      .from(delegations)
      .where(and(...conditionsOf(search)))
      .orderBy(...NEWEST_FIRST)
      .limit(text === null ? limit : TEXT_SEARCH_ROWS_MAX)
      .as("delegations");
    const matches = text === null ? undefined : sql`strpos(lower(${WORDS}), lower(${text})) > 0`;
    return tables
      .select()
      .from(found)
      .where(matches)
      .orderBy(...NEWEST_FIRST)
      .limit(limit);
  });
  return rows.map((row) => ({
    row: {
      callerId: row.caller_id,
      delegationId: row.delegation_id,
      calleeId: row.callee_id ?? "",
      taskPreview: row.task_preview ?? "",
      status: row.status as DelegationStatus,
      lastHeartbeat: millis(row.last_heartbeat),
      deadline: millis(row.deadline ?? row.created_at),
      resultPreview: row.result_preview,
      errorDetail: row.error_detail,
      retryCount: row.retry_count ?? 0,
      createdAt: millis(row.created_at),
      updatedAt: millis(row.updated_at ?? row.created_at),
      endedAt: millis(row.ended_at),
      idempotencyKey: row.idempotency_key,
      deliveryConfirmed: row.delivery_confirmed === false ? false : null,
    },
    cursor: { callerId: row.caller_id, delegationId: row.delegation_id, createdAt: row.created_at },
  }));
}

const CALLERS_MAX = 20;

/** The callers that use this id, a few of them where there are many. Throws a LedgerFailure. */
export async function callersOf(database: Database, delegationId: string): Promise<string[]> {
  const { caller_id, delegation_id } = delegations;
  const rows = await database.read((tables) =>
    tables
      .select({ callerId: caller_id })
      .from(delegations)
      .where(eq(delegation_id, delegationId))
      .orderBy(caller_id)
      .limit(CALLERS_MAX),
  );
  return rows.map(({ callerId }) => callerId);
}

/** Seconds below which the given share of delegations lies; null where there are none. */
export interface Percentiles {
  readonly p50: number | null;
  readonly p95: number | null;
  readonly p99: number | null;
}

export interface DelegationStats {
  /** How many stand at each status. */
  readonly counts: ReadonlyMap<string, number>;
  readonly retries: number;
  /** How long the open ones have been open. */
  readonly age: Percentiles;
  /** How long those took that ended within the last day. */
  readonly duration: Percentiles;
}

/** Throws a LedgerFailure. */
export async function delegationStats(database: Database): Promise<DelegationStats> {
  const rows = await database.query(STATS, []);
  return {
    counts: countsOf(rows, "status"),
    retries: rows.reduce((sum, { retries }) => sum + Number(retries), 0),
    age: percentiles(rows[0]?.age),
    duration: percentiles(rows[0]?.duration),
  };
}

const PERCENTILES = "percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY seconds)";
const OPEN = "status IN ('queued', 'dispatched', 'in_progress', 'stuck')";
const IN_FLIGHT = "status IN ('queued', 'dispatched', 'in_progress')";

/** One row a status, with the percentiles in each; one without a status where there is nothing. */
const STATS = `
  WITH age AS (SELECT ${PERCENTILES} AS seconds FROM (
    SELECT extract(epoch FROM now() - created_at) AS seconds FROM delegations WHERE ${OPEN}
  ) AS open), duration AS (SELECT ${PERCENTILES} AS seconds FROM (
    SELECT extract(epoch FROM ended_at - created_at) AS seconds FROM delegations WHERE ended_at > now() - interval '1 day'
  ) AS ended)
  SELECT status, count(status) AS number, coalesce(sum(retry_count), 0) AS retries,
    (SELECT array_to_json(seconds)::text FROM age) AS age, (SELECT array_to_json(seconds)::text FROM duration) AS duration
  FROM delegations GROUP BY status
  UNION ALL SELECT NULL, 0, 0, NULL, NULL WHERE NOT EXISTS (SELECT FROM delegations)`;

const EVENTS = [
  "DELEGATION_SENT",
  "DELEGATION_STATUS",
  "DELEGATION_COMPLETE",
  "DELEGATION_FAILED",
] as const satisfies readonly DelegationEvent[];

/** How often delegations have changed their state, by the event that told of it. Throws a LedgerFailure. */
export async function delegationTransitions(database: Database): Promise<Record<DelegationEvent, number>> {
  const names = EVENTS.map((event) => `'${event}'`).join(", ");
  const rows = await database.query(
    `SELECT event_type, count(*) AS number FROM structure_events WHERE event_type IN (${names}) GROUP BY event_type`,
    [],
  );
  const counts = countsOf(rows, "event_type");
  return Object.fromEntries(EVENTS.map((event) => [event, counts.get(event) ?? 0])) as Record<DelegationEvent, number>;
}

/**
 * Where a sweep stopped that did not see all that was due; opaque: instant, caller and delegation of the last row of
 * each kind, as a JSON array, because many may be due at one instant. A null begins at the oldest.
 */
export interface SweepCursor {
  readonly deadline: string | null;
  readonly heartbeat: string | null;
}

export interface DueDelegations {
  readonly due: readonly DelegationKey[];
  /** Whether anything is open at all, due or not. */
  readonly anyOpen: boolean;
  readonly next: SweepCursor;
}

/**
 * Delegations past their deadline, and others that have been silent for longer than the threshold, each read through
 * a partial index, half of `limit` of each kind. The cursor keeps rows that no owner ever settles from filling every
 * sweep. Throws a LedgerFailure.
 */
export async function findDueDelegations(
  database: Database,
  { stuckThresholdMs, after, limit }: { stuckThresholdMs: number; after: SweepCursor; limit: number },
): Promise<DueDelegations> {
  const half = Math.ceil(limit / 2);
  const rows = await database.query(DUE_DELEGATIONS, [
    half,
    placeOf(after.deadline),
    stuckThresholdMs,
    placeOf(after.heartbeat),
  ]);
  const ofKind = (kind: string) => rows.filter((row) => row.kind === kind);
  const last = (kind: string) => {
    const found = ofKind(kind);
    return found.length === half ? String(found.at(-1)?.place) : null;
  };
  return {
    due: [...ofKind("overdue"), ...ofKind("silent")].map((row) => ({
      callerId: String(row.caller_id),
      delegationId: String(row.delegation_id),
    })),
    anyOpen: rows.length > 0,
    next: { deadline: last("overdue"), heartbeat: last("silent") },
  };
}

/** An instant alone is what an older version left: that sweep begins anew. */
function placeOf(place: string | null): string | null {
  return place?.startsWith("[") ? place : null;
}

const KEY = "caller_id, delegation_id";
/** The row that a cursor parameter names; one before the first for null. */
const rowAt = (parameter: string) =>
  `(coalesce(${parameter}::jsonb ->> 0, '-infinity')::timestamptz,
    coalesce(${parameter}::jsonb ->> 1, '00000000-0000-0000-0000-000000000000')::uuid,
    coalesce(${parameter}::jsonb ->> 2, ''))`;

/** Exported for the test that explains it. */
export const DUE_DELEGATIONS = `
  WITH overdue AS (
    SELECT caller_id, delegation_id, deadline AS at FROM delegations
    WHERE ${OPEN} AND deadline <= now() AND (deadline, ${KEY}) > ${rowAt("$2")}
    ORDER BY deadline, ${KEY} LIMIT $1
  ), silent AS (
    SELECT caller_id, delegation_id, last_heartbeat AS at FROM delegations
    WHERE ${IN_FLIGHT} AND last_heartbeat <= now() - $3::bigint * interval '1 millisecond'
      AND (last_heartbeat, ${KEY}) > ${rowAt("$4")} AND deadline > now()
    ORDER BY last_heartbeat, ${KEY} LIMIT $1
  )
  SELECT 'overdue' AS kind, caller_id, delegation_id, jsonb_build_array(at, ${KEY})::text AS place FROM overdue
  UNION ALL SELECT 'silent', caller_id, delegation_id, jsonb_build_array(at, ${KEY})::text FROM silent
  UNION ALL SELECT 'open', NULL, NULL, NULL
  WHERE EXISTS (SELECT FROM delegations WHERE ${OPEN} AND deadline > '-infinity')`;

const NEWEST_FIRST = [
  desc(delegations.created_at),
  desc(delegations.caller_id),
  desc(delegations.delegation_id),
] as const;
const WORDS = sql`concat_ws(' ', ${delegations.delegation_id}, ${delegations.task_preview}, ${delegations.result_preview}, ${delegations.error_detail})`;

function conditionsOf({ statuses, callerId, calleeId, after }: DelegationSearch): SQL[] {
  const conditions: SQL[] = [inArray(delegations.status, [...statuses])];
  if (callerId !== null) conditions.push(eq(delegations.caller_id, callerId));
  if (calleeId !== null) conditions.push(eq(delegations.callee_id, calleeId));
  if (after !== null) {
    const { created_at, caller_id, delegation_id } = delegations;
    const at = sql.param(after.createdAt, created_at);
    conditions.push(
      sql`(${created_at}, ${caller_id}, ${delegation_id}) < (${at}::timestamptz, ${after.callerId}::uuid, ${after.delegationId})`,
    );
  }
  return conditions;
}

function countsOf(rows: readonly Record<string, unknown>[], column: string): Map<string, number> {
  return new Map(rows.filter((row) => row[column] !== null).map((row) => [String(row[column]), Number(row.number)]));
}

function percentiles(text: unknown): Percentiles {
  const [p50 = null, p95 = null, p99 = null] = (JSON.parse(String(text ?? "null")) ?? []) as number[];
  return { p50, p95, p99 };
}

function millis(micros: number): number;
function millis(micros: number | null): number | null;
function millis(micros: number | null): number | null {
  return micros === null ? null : Math.floor(micros / 1000);
}
