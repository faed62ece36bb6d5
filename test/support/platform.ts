import { exports } from "cloudflare:workers";

/** The platform's own address in tests. */
export const BASE = "http://posthouse.test";

/** An answer, read to its end: `body` is the parsed JSON where there is some. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly body: any;
}

export interface CallOptions {
  readonly method?: string;
  readonly token?: string;
  /** Sent as JSON. */
  readonly json?: unknown;
  readonly body?: BodyInit;
  readonly headers?: Record<string, string>;
}

/** One request to the platform, as any client makes it. */
export async function call(path: string, options: CallOptions = {}): Promise<Answer> {
  return answerOf(await send(path, options));
}

/** The same, for whoever reads the answer as bytes, a stream or a socket. */
export function send(path: string, options: CallOptions = {}): Promise<Response> {
  return exports.default.fetch(requestOf(path, options));
}

/** An answer, read to its end. */
export async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: parsed(text) };
}

/** The request that `call` and `send` make. */
export function requestOf(path: string, { method, token, json, body, headers }: CallOptions = {}): Request {
  const content = json === undefined ? (body ?? null) : JSON.stringify(json);
  const init: RequestInit = {
    method: method ?? (content === null ? "GET" : "POST"),
    body: content,
    redirect: "manual",
    headers: {
      ...(json === undefined ? {} : { "Content-Type": "application/json" }),
      ...(typeof content === "string" ? { "Content-Length": String(new TextEncoder().encode(content).length) } : {}),
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      ...headers,
    },
  };
  return new Request(BASE + path, init);
}

/** An agent that has registered, with its token. */
export interface Agent {
  readonly id: string;
  readonly token: string;
}

/** Registers a fresh agent that polls. */
export async function anAgent(overrides: Record<string, unknown> = {}): Promise<Agent> {
  const id = crypto.randomUUID();
  const body = { id, delivery_mode: "poll", agent_card: { name: "agent", skills: [] }, ...overrides };
  const { status, body: answer, text } = await call("/registry/register", { json: body });
  if (status !== 200) throw new Error(`register answered ${status}: ${text}`);
  return { id, token: answer.auth_token };
}

/** A message in the form in which the canvas sends it. */
export function aMessage(text: string, messageId: string = crypto.randomUUID()) {
  return { method: "message/send", params: { message: { role: "user", messageId, parts: [{ kind: "text", text }] } } };
}

/** Sends a message as the canvas (or as an agent with its token). */
export function tell(to: Agent, text: string, from?: Agent): Promise<Answer> {
  return call(`/workspaces/${to.id}/a2a`, { json: aMessage(text), ...(from ? { token: from.token } : {}) });
}

/** Reads an agent's inbox with its own token. */
export function poll(agent: Agent, query: Record<string, string> = {}): Promise<Answer> {
  return call(`/workspaces/${agent.id}/activity?${new URLSearchParams({ type: "a2a_receive", ...query })}`, {
    token: agent.token,
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
