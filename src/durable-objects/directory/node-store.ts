import type { BoardEntry } from "../../domain/board.ts";
import { MAX_KINSHIP_LEVELS, type Path } from "../../domain/hierarchy.ts";
import type { WorkspaceAccess } from "../../domain/workspace-creation.ts";
import type { WorkspaceStatus } from "../../domain/workspace-status.ts";
import type { MirroredTable } from "../shared/flush.ts";
import { mirroredTable, sizeOf } from "../shared/mirrored.ts";

/** One workspace as the directory knows it. */
export interface NodeRow extends Record<string, SqlStorageValue> {
  seq: number;
  version: number;
  id: string;
  name: string;
  role: string | null;
  tier: number;
  runtime: string;
  parent_id: string | null;
  workspace_dir: string | null;
  workspace_access: WorkspaceAccess;
  budget_limit: number | null;
  max_concurrent_tasks: number;
  x: number;
  y: number;
  collapsed: number;
  created_at: number;
  updated_at: number;
  removed_at: number | null;
  purged_at: number | null;
  paused_at: number | null;
  lifecycle_due: number | null;
  source_bundle_id: string | null;
  /** Raised before the object of this workspace is made anew or taken back in time. */
  epoch: number;
  board_version: number;
  status: WorkspaceStatus;
  url: string | null;
  delivery_mode: string | null;
  agent_card: string | null;
  card_in_object: number;
  active_tasks: number;
  current_task: string;
  error_rate: number;
  sample_error: string;
  started_at: number | null;
  monthly_spend: number;
  last_outbound_at: number | null;
  set_aside: number;
  unflushed_since: number | null;
  counters: string;
}

/** What creation decides of a row; the rest has its defaults. */
export type NewNode = Pick<
  NodeRow,
  | "id"
  | "name"
  | "role"
  | "tier"
  | "runtime"
  | "parent_id"
  | "workspace_dir"
  | "workspace_access"
  | "budget_limit"
  | "max_concurrent_tasks"
  | "x"
  | "y"
  | "created_at"
  | "status"
  | "url"
  | "delivery_mode"
  | "agent_card"
  | "card_in_object"
  | "source_bundle_id"
>;

/** What a change of a workspace may touch. */
export type NodeChange = Partial<
  Pick<
    NodeRow,
    "name" | "role" | "tier" | "runtime" | "parent_id" | "workspace_dir" | "workspace_access" | "collapsed" | "x" | "y"
  >
>;

/** The tree and the board, one row a workspace. */
export class NodeStore {
  readonly #sql: SqlStorage;
  readonly #nextVersion: () => number;

  constructor(sql: SqlStorage, nextVersion: () => number) {
    this.#sql = sql;
    this.#nextVersion = nextVersion;
  }

  /** The one place that inserts workspaces. */
  insert(node: NewNode): void {
    const seq = this.#nextVersion();
    const row = { ...node, seq, version: seq, updated_at: node.created_at };
    const names = Object.keys(row);
    this.#sql.exec(
      `INSERT INTO nodes (${names.join(", ")}) VALUES (${names.map(() => "?").join(", ")})`,
      ...Object.values(row),
    );
  }

  find(id: string): NodeRow | null {
    return this.#sql.exec<NodeRow>("SELECT * FROM nodes WHERE id = ?", id).toArray()[0] ?? null;
  }

  isNameTaken(parentId: string | null, name: string): boolean {
    return (
      this.#sql
        .exec(
          "SELECT 1 FROM nodes WHERE coalesce(parent_id, '') = ? AND name = ? AND removed_at IS NULL",
          parentId ?? "",
          name,
        )
        .toArray().length > 0
    );
  }

  /** Live workspaces, oldest first. */
  live(): NodeRow[] {
    return this.#sql.exec<NodeRow>("SELECT * FROM nodes WHERE removed_at IS NULL ORDER BY created_at, seq").toArray();
  }

  /** The live workspace that was made of a bundle; the first of several. */
  ofBundle(bundleId: string): NodeRow | null {
    const query = "SELECT * FROM nodes WHERE source_bundle_id = ? AND removed_at IS NULL ORDER BY seq LIMIT 1";
    return this.#sql.exec<NodeRow>(query, bundleId).toArray()[0] ?? null;
  }

  /** Ids from the root to this workspace; empty for an unknown one. */
  path(id: string): Path {
    const path: string[] = [];
    for (let at: string | null = id; at !== null && path.length <= MAX_KINSHIP_LEVELS + 1; ) {
      const node = this.find(at);
      if (!node) return [];
      path.unshift(node.id);
      at = node.parent_id;
    }
    return path;
  }

  /** Takes a workspace's word of itself, unless a later one is here already. */
  tell(id: string, entry: BoardEntry, now: number): void {
    this.#sql.exec(
      `UPDATE nodes SET version = ?, updated_at = ?, board_version = ?, status = ?, url = ?, delivery_mode = ?,
         agent_card = ?, card_in_object = ?, active_tasks = ?, current_task = ?, error_rate = ?, sample_error = ?,
         started_at = ?, monthly_spend = ?, last_outbound_at = ?, set_aside = ?,
         unflushed_since = CASE WHEN ? THEN coalesce(unflushed_since, ?) END, counters = ?, lifecycle_due = ?
       WHERE id = ? AND board_version < ? AND removed_at IS NULL`,
      this.#nextVersion(),
      now,
      entry.version,
      entry.status,
      entry.url,
      entry.deliveryMode,
      entry.agentCard,
      entry.cardInObject ? 1 : 0,
      entry.activeTasks,
      entry.currentTask,
      entry.errorRate,
      entry.sampleError,
      entry.startedAt,
      entry.monthlySpend,
      entry.lastOutboundAt,
      entry.setAside,
      entry.flushBlocked === null ? 0 : 1,
      now,
      JSON.stringify(entry.counters),
      entry.lifecycleDue ?? null,
      id,
      entry.version,
    );
  }

  /** Writes the changed columns of a live workspace. */
  change(id: string, change: NodeChange, now: number): void {
    const row = { ...change, version: this.#nextVersion(), updated_at: now };
    const columns = Object.keys(row).map((name) => `${name} = ?`);
    this.#sql.exec(
      `UPDATE nodes SET ${columns.join(", ")} WHERE id = ? AND removed_at IS NULL`,
      ...Object.values(row),
      id,
    );
  }

  /** Marks a workspace paused, or takes that mark away. */
  pause(id: string, pausedAt: number | null, now: number): void {
    this.#sql.exec(
      "UPDATE nodes SET version = ?, updated_at = ?, paused_at = ? WHERE id = ? AND removed_at IS NULL",
      this.#nextVersion(),
      now,
      pausedAt,
      id,
    );
  }

  /** Workspaces whose machines, or whose purge, have had something due before `before`; removed ones too. */
  lifecycleDue(before: number, limit: number): NodeRow[] {
    return this.#sql
      .exec<NodeRow>("SELECT * FROM nodes WHERE lifecycle_due < ? ORDER BY lifecycle_due LIMIT ?", before, limit)
      .toArray();
  }

  /** When the machines, or the purge, of a workspace should be looked after again; no word for the ledger. */
  lookAgain(id: string, due: number | null): void {
    this.#sql.exec("UPDATE nodes SET lifecycle_due = ? WHERE id = ?", due, id);
  }

  /** The next epoch of a workspace's object; no word for the ledger, which keeps epochs of its own. */
  raiseEpoch(id: string, above: number): number {
    return this.#sql
      .exec<{ epoch: number }>("UPDATE nodes SET epoch = max(epoch, ?) + 1 WHERE id = ? RETURNING epoch", above, id)
      .one().epoch;
  }

  /** Marks a workspace removed. */
  remove(id: string, now: number): void {
    this.#sql.exec(
      "UPDATE nodes SET version = ?, updated_at = ?, removed_at = ?, status = 'removed' WHERE id = ? AND removed_at IS NULL",
      this.#nextVersion(),
      now,
      now,
      id,
    );
  }

  /** Leaves of a workspace what nobody may forget: its id, its place, and when it went. */
  purge(id: string, now: number): void {
    this.#sql.exec(
      `UPDATE nodes SET version = ?1, updated_at = ?2, purged_at = ?2, removed_at = coalesce(removed_at, ?2),
         status = 'removed', name = '', role = NULL, tier = 0, runtime = '', workspace_dir = NULL,
         workspace_access = 'none', budget_limit = NULL, max_concurrent_tasks = 0, x = 0, y = 0, collapsed = 0, paused_at = NULL, url = NULL, delivery_mode = NULL,
         agent_card = NULL, card_in_object = 0, active_tasks = 0, current_task = '', error_rate = 0, sample_error = '',
         started_at = NULL, monthly_spend = 0, last_outbound_at = NULL, set_aside = 0, unflushed_since = NULL,
         counters = '{}'
       WHERE id = ?3 AND purged_at IS NULL`,
      this.#nextVersion(),
      now,
      id,
    );
  }

  /** Live descendants, nearest first. */
  descendants(id: string): NodeRow[] {
    return this.#below(id, "AND removed_at IS NULL");
  }

  /** Descendants of which anything is left: live ones, and those removed before. */
  unpurgedDescendants(id: string): NodeRow[] {
    return this.#below(id, "").filter(({ purged_at }) => purged_at === null);
  }

  #below(id: string, condition: string): NodeRow[] {
    const found: NodeRow[] = [];
    for (let parents = [id]; parents.length > 0; ) {
      const children = parents.flatMap((parent) =>
        this.#sql.exec<NodeRow>(`SELECT * FROM nodes WHERE parent_id = ? ${condition}`, parent).toArray(),
      );
      found.push(...children);
      parents = children.map((child) => child.id);
    }
    return found;
  }

  /** A slice of live ids after a cursor, for the daily scrub. */
  slice(after: number, limit: number): { seq: number; id: string }[] {
    return this.#sql
      .exec<{ seq: number; id: string }>(
        "SELECT seq, id FROM nodes WHERE seq > ? AND removed_at IS NULL ORDER BY seq LIMIT ?",
        after,
        limit,
      )
      .toArray();
  }

  mirror(): MirroredTable {
    return mirroredTable<NodeRow>(this.#sql, {
      ledger: "workspaces",
      table: "nodes",
      size: sizeOf("agent_card", "sample_error", "name", "role", "url", "current_task", "workspace_dir"),
      toLedger: (row) => ({
        id: row.id,
        name: row.name,
        role: row.role,
        tier: row.tier,
        parent_id: row.parent_id,
        runtime: row.runtime,
        status: shownStatus(row),
        url: row.url,
        delivery_mode: row.delivery_mode,
        agent_card: row.agent_card,
        active_tasks: row.active_tasks,
        max_concurrent_tasks: row.max_concurrent_tasks,
        current_task: row.current_task,
        last_error_rate: row.error_rate,
        last_sample_error: row.sample_error,
        uptime_started_at: micros(row.started_at),
        monthly_spend: row.monthly_spend,
        budget_limit: row.budget_limit,
        workspace_dir: row.workspace_dir,
        x: row.x,
        y: row.y,
        collapsed: row.collapsed === 1,
        last_outbound_at: micros(row.last_outbound_at),
        created_at: row.created_at * 1000,
        updated_at: row.updated_at * 1000,
        removed_at: micros(row.removed_at),
        purged: row.purged_at !== null,
        version: row.version,
      }),
    });
  }
}

/** An operator's mark is shown whatever the workspace says of itself. */
export function shownStatus({ removed_at, paused_at, status }: NodeRow): WorkspaceStatus {
  if (removed_at !== null) return "removed";
  return paused_at === null ? status : "paused";
}

function micros(ms: number | null): number | null {
  return ms === null ? null : ms * 1000;
}
