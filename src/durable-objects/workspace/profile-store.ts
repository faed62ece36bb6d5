import type { Path } from "../../domain/hierarchy.ts";
import { isExternal } from "../../domain/runtime.ts";
import type { WorkspaceAccess } from "../../domain/workspace-creation.ts";
import type { WorkspaceStatus } from "../../domain/workspace-status.ts";

/** What a workspace is and how it is doing: the one row of its object. Times in ms since 1970. */
export interface Profile {
  workspaceId: string;
  epoch: number;
  name: string;
  role: string | null;
  runtime: string;
  tier: number;
  workspaceDir: string | null;
  workspaceAccess: WorkspaceAccess;
  /** Ids from the root of the tree to this workspace. */
  path: Path;
  treeVersion: number;
  /** Tree version of the last mark: paused, resumed, collapsed. */
  markVersion: number;
  maxConcurrentTasks: number;
  budgetLimit: number | null;
  /** Only what somebody asked for; see `deliveryModeOf`. */
  deliveryMode: "push" | "poll" | null;
  url: string | null;
  /** JSON text as registered. */
  agentCard: string | null;
  inboundSecret: string;
  status: WorkspaceStatus;
  lastSeen: number | null;
  absentSince: number | null;
  errorRate: number;
  sampleError: string;
  activeTasks: number;
  currentTask: string;
  startedAt: number | null;
  monthlySpend: number;
  runtimeState: string;
  capabilities: Readonly<Record<string, boolean>>;
  lastOutboundAt: number | null;
  /** Highest row that the agent has asked to read past: counts for retention and quota only. */
  readSeq: number;
  ackedSeq: number;
  /** Highest row that went undelivered: a cursor before it is 410. */
  lostSeq: number;
  hubThrough: number;
  boardVersion: number;
  /** When the directory should hear of this workspace again; null when it knows all. */
  boardDue: number | null;
  counters: Readonly<Record<string, number>>;
  createdAt: number;
  removedAt: number | null;
}

const COLUMNS = {
  workspaceId: "workspace_id",
  epoch: "epoch",
  name: "name",
  role: "role",
  runtime: "runtime",
  tier: "tier",
  workspaceDir: "workspace_dir",
  workspaceAccess: "workspace_access",
  path: "path",
  treeVersion: "tree_version",
  markVersion: "mark_version",
  maxConcurrentTasks: "max_concurrent_tasks",
  budgetLimit: "budget_limit",
  deliveryMode: "delivery_mode",
  url: "url",
  agentCard: "agent_card",
  inboundSecret: "inbound_secret",
  status: "status",
  lastSeen: "last_seen",
  absentSince: "absent_since",
  errorRate: "error_rate",
  sampleError: "sample_error",
  activeTasks: "active_tasks",
  currentTask: "current_task",
  startedAt: "started_at",
  monthlySpend: "monthly_spend",
  runtimeState: "runtime_state",
  capabilities: "capabilities",
  lastOutboundAt: "last_outbound_at",
  readSeq: "read_seq",
  ackedSeq: "acked_seq",
  lostSeq: "lost_seq",
  hubThrough: "hub_through",
  boardVersion: "board_version",
  boardDue: "board_due",
  counters: "counters",
  createdAt: "created_at",
  removedAt: "removed_at",
} as const satisfies Record<keyof Profile, string>;

const JSON_FIELDS: ReadonlySet<string> = new Set(["path", "capabilities", "counters"]);

/** Reads the row once and writes only what changed: a call that changes nothing costs no row. */
export class ProfileStore {
  readonly #sql: SqlStorage;
  #cache: Profile | null = null;
  #pending: Partial<Profile> = {};

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  get(): Profile {
    this.#cache ??= this.#read();
    return this.#cache;
  }

  insert(profile: Profile): void {
    const names = Object.keys(COLUMNS) as (keyof Profile)[];
    requireReason(profile);
    this.#sql.exec(
      `INSERT INTO workspace (id, ${names.map((name) => COLUMNS[name]).join(", ")}) VALUES (1, ${names.map(() => "?").join(", ")})`,
      ...names.map((name) => storedValue(name, profile[name])),
    );
    this.#cache = profile;
  }

  /** Changes fields in memory; `commit` writes them all as one row. */
  set(patch: Partial<Profile>): void {
    const profile = this.get();
    for (const [name, value] of Object.entries(patch) as [keyof Profile, Profile[keyof Profile]][]) {
      const before = profile[name];
      const same = JSON_FIELDS.has(name) ? JSON.stringify(before) === JSON.stringify(value) : before === value;
      if (!same) Object.assign(this.#pending, { [name]: value });
    }
    this.#cache = { ...profile, ...this.#pending };
  }

  /** Counts one more of something that `/metrics` shows; written with the next commit. */
  count(name: string, by = 1): void {
    const { counters } = this.get();
    this.set({ counters: { ...counters, [name]: (counters[name] ?? 0) + by } });
  }

  /** Writes what `set` gathered: the last step of every turn. */
  commit(): void {
    const names = Object.keys(this.#pending) as (keyof Profile)[];
    if (names.length === 0) return;
    if ("status" in this.#pending || "sampleError" in this.#pending) requireReason(this.get());
    const values = names.map((name) => storedValue(name, this.#pending[name]));
    this.#pending = {};
    this.#sql.exec(
      `UPDATE workspace SET ${names.map((name) => `${COLUMNS[name]} = ?`).join(", ")} WHERE id = 1`,
      ...values,
    );
  }

  /** Forgets what was not committed, after a turn that was rolled back. */
  forget(): void {
    this.#cache = null;
    this.#pending = {};
  }

  #read(): Profile {
    const row = this.#sql.exec("SELECT * FROM workspace WHERE id = 1").one();
    return Object.fromEntries(
      Object.entries(COLUMNS).map(([name, column]) => {
        const value = row[column];
        return [name, JSON_FIELDS.has(name) ? JSON.parse(String(value)) : value];
      }),
    ) as unknown as Profile;
  }
}

/** Whoever makes a workspace `failed` says why; what forgets it must not be committed. */
function requireReason({ status, sampleError }: Profile): void {
  if (status === "failed" && sampleError === "") throw new Error("failed without a message");
}

function storedValue(name: keyof Profile, value: unknown): SqlStorageValue {
  return (JSON_FIELDS.has(name) ? JSON.stringify(value) : value) as SqlStorageValue;
}

/**
 * How messages reach a workspace: what somebody asked for; else push for one that registered a URL or that the
 * platform runs, poll for an external one without a URL.
 */
export function deliveryModeOf(profile: Pick<Profile, "deliveryMode" | "url" | "runtime">): "push" | "poll" {
  if (profile.deliveryMode !== null) return profile.deliveryMode;
  return profile.url === null && isExternal(profile.runtime) ? "poll" : "push";
}
