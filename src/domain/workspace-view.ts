import { microsToTimestamp } from "./activity.ts";
import { isExternal } from "./runtime.ts";
import type { WorkspaceStatus } from "./workspace-status.ts";

/** What lists and views are made from; times in ms since 1970, the card as JSON text. */
export interface WorkspaceFacts {
  readonly id: string;
  readonly name: string;
  readonly role: string | null;
  readonly tier: number;
  readonly runtime: string;
  readonly parent_id: string | null;
  readonly workspace_dir: string | null;
  readonly budget_limit: number | null;
  readonly max_concurrent_tasks: number;
  readonly x: number;
  readonly y: number;
  readonly collapsed: number;
  readonly status: WorkspaceStatus;
  readonly url: string | null;
  readonly agent_card: string | null;
  readonly active_tasks: number;
  readonly current_task: string;
  readonly error_rate: number;
  readonly sample_error: string;
  readonly started_at: number | null;
  readonly monthly_spend: number;
  readonly last_outbound_at: number | null;
}

/** How long the start of a machine may take, by runtime; an external workspace has none. */
export type ProvisionLimit = (runtime: string) => number;

/** An element of `GET /workspaces`: numbers never missing, "" where the contract has no null. */
export function listEntryJson(facts: WorkspaceFacts, now: number, limitMs: ProvisionLimit): string {
  return withCard(
    {
      ...publicKeys(facts, now, limitMs),
      budget_limit: facts.budget_limit,
      monthly_spend: facts.monthly_spend,
      current_task: facts.current_task,
      last_sample_error: facts.sample_error,
      workspace_dir: facts.workspace_dir,
    },
    facts.agent_card,
  );
}

/** The public view of one workspace: no money, no task, no error text, no path of a disk. */
export function publicViewJson(facts: WorkspaceFacts, now: number, limitMs: ProvisionLimit): string {
  const lastOutboundAt = facts.last_outbound_at === null ? null : microsToTimestamp(facts.last_outbound_at * 1000);
  return withCard({ ...publicKeys(facts, now, limitMs), last_outbound_at: lastOutboundAt }, facts.agent_card);
}

/** What a workspace sees of another one that it may talk to. */
export function peerJson(facts: WorkspaceFacts): string {
  const { id, name, role, tier, status, url, parent_id, active_tasks } = facts;
  return withCard({ id, name, role, tier, status, url: url ?? "", parent_id, active_tasks }, facts.agent_card);
}

function publicKeys(facts: WorkspaceFacts, now: number, limitMs: ProvisionLimit): Record<string, unknown> {
  return {
    id: facts.id,
    name: facts.name,
    role: facts.role,
    tier: facts.tier,
    status: facts.status,
    url: facts.url ?? "",
    parent_id: facts.parent_id,
    runtime: facts.runtime,
    active_tasks: facts.active_tasks,
    max_concurrent_tasks: facts.max_concurrent_tasks,
    uptime_seconds: facts.started_at === null ? 0 : Math.max(0, Math.floor((now - facts.started_at) / 1000)),
    last_error_rate: facts.error_rate,
    x: facts.x,
    y: facts.y,
    collapsed: facts.collapsed === 1,
    ...(isExternal(facts.runtime) ? {} : { provision_timeout_ms: limitMs(facts.runtime) }),
  };
}

/** The card stands as it was registered: big integers and the order of keys survive. */
function withCard(keys: Record<string, unknown>, card: string | null): string {
  return `${JSON.stringify(keys).slice(0, -1)},"agent_card":${card ?? "null"}}`;
}
