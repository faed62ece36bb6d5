import { encoded } from "./parcel-post.ts";
import { type Agent, type Answer, BASE, type CallOptions } from "./platform.ts";

/** Where a client sends its requests. */
export interface Platform {
  call(path: string, options?: CallOptions): Promise<Answer>;
  send(path: string, options?: CallOptions): Promise<Response>;
}

const ZERO_UUID = "00000000-0000-0000-0000-000000000000";

interface Row {
  readonly id: string;
  readonly seq: number;
  readonly method: string | null;
  readonly source_id: string | null;
  readonly summary: string | null;
  readonly peer_name?: string;
  readonly attachments?: readonly { readonly uri?: string }[];
  readonly request_body?: {
    readonly params?: { readonly message?: { readonly parts?: readonly Part[] } };
    readonly file_id?: string;
    readonly name?: string;
    readonly uri?: string;
  };
}

interface Part {
  readonly kind?: string;
  readonly type?: string;
  readonly text?: string;
  readonly file?: { readonly uri?: string };
}

interface Item {
  readonly kind: "peer_agent" | "canvas_user";
  readonly text: string;
  readonly peer?: string;
  /** Where its files are, as far as the client knows. */
  readonly files?: readonly string[];
}

/** What a client keeps of files: their content by where it wrote them, and that place by the platform's URI. */
export interface Downloads {
  readonly contents: Map<string, string>;
  readonly places: Map<string, string>;
}

const FETCHES_AT_ONCE = 4;
const isUpload = ({ method }: Row) => method === "chat_upload_receive";

/** Fetches and acks the files of a batch of rows; one that is gone, or that the platform fails on, is skipped. */
async function download(
  platform: Platform,
  { id }: Agent,
  headers: Record<string, string>,
  rows: readonly Row[],
  { contents, places }: Downloads,
  directory: string,
): Promise<void> {
  const waiting = rows.filter(isUpload);
  const worker = async () => {
    for (let row = waiting.shift(); row; row = waiting.shift()) {
      const { file_id = "", name = "file", uri = `platform-pending:${id}/${file_id}` } = row.request_body ?? {};
      const path = `/workspaces/${id}/pending-uploads/${file_id}`;
      const answer = await platform.send(`${path}/content`, { headers });
      if (!answer.ok) continue;
      const place = `${directory}/${crypto.randomUUID().replaceAll("-", "")}-${name}`;
      contents.set(place, await answer.text());
      places.set(uri, place);
      await platform.call(`${path}/ack`, { method: "POST", headers });
    }
  };
  await Promise.all(Array.from({ length: FETCHES_AT_ONCE }, worker));
}

/** The headers of every Python client: its bearer, and the platform's URL as Origin. */
function pythonHeaders(agent: Agent): Record<string, string> {
  return { Authorization: `Bearer ${agent.token}`, Origin: BASE };
}

const PYTHON_UPLOADS = "workspace:/workspace/.molecule/chat-uploads";

/**
 * `inbox.py` with `inbox_uploads.py`: polls every five seconds, keeps a cursor, drops its own words, and fetches the
 * files of a batch before it hands on the messages behind them.
 */
export function pythonPoller(platform: Platform, agent: Agent, { later = false } = {}) {
  const headers = pythonHeaders(agent);
  const downloads: Downloads = { contents: new Map(), places: new Map() };
  const poller = {
    cursor: null as string | null,
    acked: 0,
    contents: downloads.contents,
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
      await download(platform, agent, headers, rows, downloads, PYTHON_UPLOADS);
      if (later && rows.length > 0) await poller.acknowledge(rows);
      const messages = rows.filter((row) => !isEcho(row, agent, later) && (later || !isUpload(row)));
      return messages.map((row) => item(row, downloads));
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

function item(row: Row, { places }: Downloads): Item {
  const parts = row.request_body?.params?.message?.parts ?? [];
  const attached = isUpload(row) ? (row.attachments ?? []) : parts.flatMap(({ file }) => (file ? [file] : []));
  const files = attached.map(({ uri = "" }) => places.get(uri) ?? uri);
  const text = parts
    .filter((part) => (part.kind ?? part.type) === "text")
    .map((part) => part.text)
    .join("");
  return {
    kind: row.source_id === null ? "canvas_user" : "peer_agent",
    text: text || row.summary || "(empty A2A message)",
    ...(row.peer_name === undefined ? {} : { peer: row.peer_name }),
    ...(files.length === 0 ? {} : { files }),
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
    sendMessageToUser: (message: string, attachments: readonly object[] = []) =>
      platform.call(`/workspaces/${id}/notify`, { headers, json: { message, attachments } }),
    /** The files' objects as the platform answered them, which go unchanged into the message that follows. */
    async uploadForUser(form: FormData): Promise<{ uri: string }[]> {
      const { body, headers: types } = await encoded(form);
      const answer = await platform.call(`/workspaces/${id}/chat/uploads`, { body, headers: { ...headers, ...types } });
      const paths = form.getAll("files").length;
      if (answer.status !== 200 || answer.body.files.length !== paths) throw new Error(`upload: ${answer.text}`);
      return answer.body.files;
    },
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

const CHANNEL_INBOX = "file:///home/agent/.claude/channels/molecule/inbox";

/** The TypeScript Claude Code channel: probes at start, polls every five seconds, beats with its id alone. */
export function channel(platform: Platform, agent: Agent) {
  const { id } = agent;
  const headers = pythonHeaders(agent);
  const downloads: Downloads = { contents: new Map(), places: new Map() };
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
    /** What later versions make of a poll: files fetched and acked, their URIs replaced wherever they stand. */
    async emit(rows: readonly Row[]): Promise<Row[]> {
      await download(platform, agent, headers, rows, downloads, CHANNEL_INBOX);
      const text = JSON.stringify(rows.filter((row) => !isUpload(row) && row.method !== "notify"));
      return JSON.parse(text, (_key, value) => downloads.places.get(value) ?? value);
    },
    contents: downloads.contents,
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
