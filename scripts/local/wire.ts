const ANSWER_LIMIT_MS = 60_000;
const BODY_SHOWN_CHARS = 300;

export type Agent = { id: string; token: string };

/** What a poller sees of an inbox row; the rest is not read here. */
export type Row = {
  id: string;
  seq?: number;
  method: string | null;
  source_id: string | null;
  created_at: string;
  request_body?: unknown;
};

export type UploadedFile = { uri: string; name: string; mimeType: string; size: number };

type Call = { bearer?: string | undefined; json?: unknown; body?: FormData };

/** The platform said something else than was expected. */
export class UnexpectedAnswer extends Error {
  override readonly name = "UnexpectedAnswer";
  readonly status: number;

  constructor(request: string, status: number, body: string) {
    super(`${request} answered ${status}: ${body.slice(0, BODY_SHOWN_CHARS)}`);
    this.status = status;
  }
}

/** The main job over HTTP, as the canvas (`admin`, or nobody in open dev mode) and as a polling agent do it. */
export class Wire {
  readonly #url: string;
  readonly #admin: string | undefined;

  constructor(url: string, admin?: string) {
    this.#url = url.replace(/\/+$/, "");
    this.#admin = admin;
  }

  async createAgent(name: string): Promise<Agent> {
    const json = { name, runtime: "external", delivery_mode: "poll" };
    const created = await this.#json<{ id: string; connection: { auth_token: string } }>("POST", "/workspaces", {
      bearer: this.#admin,
      json,
    });
    return { id: created.id, token: created.connection.auth_token };
  }

  async removeWorkspace(id: string): Promise<void> {
    await this.#call("DELETE", `/workspaces/${id}?confirm=true`, { bearer: this.#admin });
  }

  async register({ id, token }: Agent): Promise<{ status: string; delivery_mode: string }> {
    const json = { id, url: "", agent_card: { name: id, skills: [] }, delivery_mode: "poll" };
    return this.#json("POST", "/registry/register", { bearer: token, json });
  }

  async heartbeat({ id, token }: Agent): Promise<{ status: string }> {
    const json = { workspace_id: id, error_rate: 0, sample_error: "", active_tasks: 0, uptime_seconds: 1 };
    return this.#json("POST", "/registry/heartbeat", { bearer: token, json });
  }

  async sendMessage(id: string, text: string): Promise<{ status: string; delivery_mode: string }> {
    const message = { role: "user", messageId: crypto.randomUUID(), parts: [{ kind: "text", text }] };
    const json = { method: "message/send", params: { message } };
    return this.#json("POST", `/workspaces/${id}/a2a`, { bearer: this.#admin, json });
  }

  async upload(id: string, files: readonly File[]): Promise<UploadedFile[]> {
    const body = new FormData();
    for (const file of files) body.append("files", file);
    const path = `/workspaces/${id}/chat/uploads`;
    return (await this.#json<{ files: UploadedFile[] }>("POST", path, { bearer: this.#admin, body })).files;
  }

  async poll({ id, token }: Agent, query: Record<string, string>): Promise<Row[]> {
    const words = new URLSearchParams({ type: "a2a_receive", ...query });
    return this.#json("GET", `/workspaces/${id}/activity?${words}`, { bearer: token });
  }

  async fetchFile({ id, token }: Agent, fileId: string): Promise<Uint8Array> {
    const answer = await this.#call("GET", `/workspaces/${id}/pending-uploads/${fileId}/content`, { bearer: token });
    return new Uint8Array(await answer.arrayBuffer());
  }

  async ackFile({ id, token }: Agent, fileId: string): Promise<{ acked: boolean }> {
    return this.#json("POST", `/workspaces/${id}/pending-uploads/${fileId}/ack`, { bearer: token });
  }

  async notify({ id, token }: Agent, message: string): Promise<{ status: string }> {
    return this.#json("POST", `/workspaces/${id}/notify`, { bearer: token, json: { message } });
  }

  async #json<Answer>(method: string, path: string, call: Call): Promise<Answer> {
    return (await (await this.#call(method, path, call)).json()) as Answer;
  }

  async #call(method: string, path: string, { bearer, json, body }: Call): Promise<Response> {
    const headers = new Headers();
    if (bearer) headers.set("Authorization", `Bearer ${bearer}`);
    if (json !== undefined) headers.set("Content-Type", "application/json");
    const answer = await fetch(this.#url + path, {
      method,
      headers,
      body: json === undefined ? (body ?? null) : JSON.stringify(json),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    if (!answer.ok) throw new UnexpectedAnswer(`${method} ${path}`, answer.status, await answer.text());
    return answer;
  }
}

/** The file's id, in the last part of its uri. */
export function fileIdOf(uri: string): string {
  return uri.split("/").at(-1) ?? "";
}

/** The text of a message row. */
export function textOf(row: Row): string {
  const body = row.request_body as { params?: { message?: { parts?: { text?: string }[] } } } | undefined;
  return (body?.params?.message?.parts ?? []).map(({ text = "" }) => text).join("");
}
