import { type Agent, type Answer, BASE, type CallOptions } from "./platform.ts";

/** Where a client sends its requests. */
export interface Platform {
  call(path: string, options?: CallOptions): Promise<Answer>;
}

const ZERO_UUID = "00000000-0000-0000-0000-000000000000";

interface Row {
  readonly id: string;
  readonly seq: number;
  readonly method: string | null;
  readonly source_id: string | null;
  readonly summary: string | null;
  readonly peer_name?: string;
  readonly request_body?: {
    readonly params?: { readonly message?: { readonly parts?: readonly Part[] } };
  };
}

interface Part {
  readonly kind?: string;
  readonly type?: string;
  readonly text?: string;
}

interface Item {
  readonly kind: "peer_agent" | "canvas_user";
  readonly text: string;
  readonly peer?: string;
}

/** The headers of every Python client: its bearer, and the platform's URL as Origin. */
function pythonHeaders(agent: Agent): Record<string, string> {
  return { Authorization: `Bearer ${agent.token}`, Origin: BASE };
}

/** `inbox.py`: polls every five seconds, keeps a cursor, drops its own words. */
export function pythonPoller(platform: Platform, agent: Agent, { later = false } = {}) {
  const headers = pythonHeaders(agent);
  const poller = {
    cursor: null as string | null,
    acked: 0,
    async tick(): Promise<Item[]> {
      const query = new URLSearchParams({ type: "a2a_receive" });
      if (poller.cursor === null) query.set("since_secs", "600");
      else query.set("since_id", poller.cursor);
      if (later) query.set("include", "peer_info");
      const { status, body } = await platform.call(`/workspaces/${agent.id}/activity?${query}`, { headers });
      if (status === 410) {
        poller.cursor = null;
        return [];
      }
      if (status >= 400 || !Array.isArray(body)) throw new Error(`poll answered ${status}`);
      const rows: Row[] = poller.cursor === null ? body.toReversed() : body;
      poller.cursor = rows.at(-1)?.id ?? poller.cursor;
      if (later && rows.length > 0) await poller.acknowledge(rows);
      return rows.filter((row) => !isEcho(row, agent, later)).map(item);
    },
    async acknowledge(rows: readonly Row[]): Promise<void> {
      const json = { acked_seq: Math.max(...rows.map(({ seq }) => seq)) };
      const { body } = await platform.call(`/workspaces/${agent.id}/activity/ack`, { headers, json });
      poller.acked = body.last_acked_seq;
    },
  };
  return poller;
}

function isEcho(row: Row, agent: Agent, later: boolean): boolean {
  if (row.method === "notify" && row.source_id === null) return true;
  return later && row.source_id === agent.id && row.method !== "delegate_result";
}

function item(row: Row): Item {
  const parts = row.request_body?.params?.message?.parts ?? [];
  const text = parts
    .filter((part) => (part.kind ?? part.type) === "text")
    .map((part) => part.text)
    .join("");
  return {
    kind: row.source_id === null ? "canvas_user" : "peer_agent",
    text: text || row.summary || "(empty A2A message)",
    ...(row.peer_name === undefined ? {} : { peer: row.peer_name }),
  };
}

/** `molecule-mcp`: registers once, beats every twenty seconds, offers the tools. */
export function molecule(platform: Platform, agent: Agent) {
  const { id } = agent;
  const headers = pythonHeaders(agent);
  const calling = { ...headers, "X-Workspace-ID": id };
  return {
    register: () =>
      platform.call("/registry/register", {
        headers,
        json: { id, url: "", agent_card: { name: "laptop", skills: [{ name: "chat" }] }, delivery_mode: "poll" },
      }),
    beat: () =>
      platform.call("/registry/heartbeat", {
        headers,
        json: { workspace_id: id, error_rate: 0.0, sample_error: "", active_tasks: 0, uptime_seconds: 20 },
      }),
    publicView: () => platform.call(`/workspaces/${id}`, { headers }),
    sendMessageToUser: (message: string) => platform.call(`/workspaces/${id}/notify`, { headers, json: { message } }),
    peers: () => platform.call(`/registry/${id}/peers`, { headers: calling }),
    discover: (peer: Agent) => platform.call(`/registry/discover/${peer.id}`, { headers: calling }),
    chatHistory: (peer: Agent) => platform.call(`/workspaces/${id}/activity?peer_id=${peer.id}&limit=500`, { headers }),
    sendTo: (peer: Agent, text: string) =>
      platform.call(`/workspaces/${peer.id}/a2a`, {
        headers: calling,
        json: {
          jsonrpc: "2.0",
          id: crypto.randomUUID(),
          method: "message/send",
          params: { message: { role: "user", messageId: crypto.randomUUID(), parts: [{ kind: "text", text }] } },
        },
      }),
    /** What it reports after a delegation, in this order: sent, received, and a beat that names the task. */
    async reportDelegation(peer: Agent, task: string, result: string): Promise<Answer> {
      const row = { source_id: id, target_id: peer.id, method: "message/send", status: "ok", error_detail: "" };
      const path = `/workspaces/${id}/activity`;
      const sent = { ...row, activity_type: "a2a_send", summary: task, request_body: { task } };
      await platform.call(path, { headers, json: sent });
      const received = { ...sent, activity_type: "a2a_receive", response_body: { result } };
      const answer = await platform.call(path, { headers, json: received });
      await platform.call("/registry/heartbeat", {
        headers,
        json: { workspace_id: id, current_task: task, active_tasks: 1 },
      });
      return answer;
    },
  };
}

/** The TypeScript Claude Code channel: probes at start, polls every five seconds, beats with its id alone. */
export function channel(platform: Platform, agent: Agent) {
  const { id } = agent;
  const headers = pythonHeaders(agent);
  let cursor: string | null = null;
  const activity = (query: Record<string, string>) =>
    platform.call(`/workspaces/${id}/activity?${new URLSearchParams({ type: "a2a_receive", ...query })}`, { headers });
  return {
    probe: () => activity({ since_id: ZERO_UUID, limit: "1" }),
    register: () =>
      platform.call("/registry/register", {
        headers,
        json: { id, delivery_mode: "poll", agent_card: { name: "claude", description: "a session" } },
      }),
    async poll(): Promise<Answer> {
      const answer = await activity({
        limit: "100",
        ...(cursor === null ? { since_secs: "30" } : { since_id: cursor }),
      });
      cursor = answer.body.at(-1)?.id ?? cursor;
      return answer;
    },
    beat: () => platform.call("/registry/heartbeat", { headers, json: { workspace_id: id } }),
    notify: (message: string) => platform.call(`/workspaces/${id}/notify`, { headers, json: { message } }),
    replyTo: (peer: Agent, text: string) =>
      platform.call(`/workspaces/${peer.id}/a2a`, {
        headers: { ...headers, "X-Source-Workspace-Id": id },
        json: {
          jsonrpc: "2.0",
          id: 7,
          method: "message/send",
          params: { message: { role: "user", messageId: crypto.randomUUID(), parts: [{ kind: "text", text }] } },
        },
      }),
  };
}

/** The Python runtime in a container, and its April ancestor: a URL but no delivery mode. */
export function runtime(platform: Platform, agent: Agent) {
  const { id } = agent;
  const headers = pythonHeaders(agent);
  const calling = { ...headers, "X-Workspace-ID": id };
  return {
    register: (url: string) =>
      platform.call("/registry/register", { headers, json: { id, url, agent_card: { name: "runtime", skills: [] } } }),
    beat: () =>
      platform.call("/registry/heartbeat", {
        headers,
        json: {
          workspace_id: id,
          error_rate: 0.1,
          sample_error: "",
          active_tasks: 1,
          current_task: "thinking",
          uptime_seconds: 30,
          monthly_spend: 12,
          runtime_state: "",
          runtime_metadata: { capabilities: { session: true, scheduler: false }, idle_timeout_seconds: 600 },
        },
      }),
    notifyTyped: (message: string) =>
      platform.call(`/workspaces/${id}/notify`, { headers, json: { message, type: "delegation_complete" } }),
    discover: (peer: Agent) => platform.call(`/registry/discover/${peer.id}`, { headers: calling }),
    selfMessage: (text: string) =>
      platform.call(`/workspaces/${id}/a2a`, {
        headers: calling,
        json: { method: "message/send", params: { message: { role: "user", parts: [{ kind: "text", text }] } } },
      }),
  };
}
