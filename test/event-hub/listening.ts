import { env } from "cloudflare:workers";
import type { HubEvent } from "../../src/domain/hub-event.ts";
import { HUB_LISTEN_HEADER, type HubListener, type ListenRequest } from "../../src/domain/hub-listener.ts";

/** What arrives on a socket, in order. */
export class Listening {
  readonly #socket: WebSocket;
  readonly #received: string[] = [];
  readonly #waiting: (() => void)[] = [];
  #closed: number | null = null;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#wake(() => this.#received.push(String(data))));
    socket.addEventListener("close", ({ code }) => this.#wake(() => (this.#closed = code)));
    socket.accept();
  }

  /** The next message that is not read yet; a closed socket has none. */
  async text(): Promise<string> {
    for (;;) {
      const text = this.#received.shift();
      if (text !== undefined) return text;
      if (this.#closed !== null) throw new Error(`closed with ${this.#closed}`);
      await this.#change();
    }
  }

  // biome-ignore lint/suspicious/noExplicitAny: frames carry payloads of every shape
  async frame(): Promise<any> {
    return JSON.parse(await this.text());
  }

  /** The next `count` frames of one workspace; those of others are skipped. */
  // biome-ignore lint/suspicious/noExplicitAny: frames carry payloads of every shape
  async framesOf(workspaceId: string, count: number): Promise<any[]> {
    const frames = [];
    while (frames.length < count) {
      const frame = await this.frame();
      if (frame.workspace_id === workspaceId) frames.push(frame);
    }
    return frames;
  }

  /** The code with which the platform closed the socket; what came before is skipped. */
  async closed(): Promise<number> {
    while (this.#closed === null) await this.#change();
    return this.#closed;
  }

  send(text: string): void {
    this.#socket.send(text);
  }

  close(): void {
    this.#socket.close(1000, "done");
  }

  #wake(change: () => void): void {
    change();
    for (const wake of this.#waiting.splice(0)) wake();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }
}

/** A hub of the test's own. */
export function aHub() {
  return env.EVENT_HUB.getByName(crypto.randomUUID());
}

export const CANVAS: HubListener = {
  filter: { kind: "all" },
  format: "frame",
  credential: { kind: "open" },
  until: null,
};

/** The hub's answer to a request to listen. */
export function ask(hub: ReturnType<typeof aHub>, request: Partial<ListenRequest> = {}): Promise<Response> {
  const whole: ListenRequest = { listener: CANVAS, since: null, ticket: null, ...request };
  const headers = { Upgrade: "websocket", [HUB_LISTEN_HEADER]: JSON.stringify(whole) };
  return hub.fetch("http://event-hub/listen", { headers });
}

export async function listen(hub: ReturnType<typeof aHub>, request: Partial<ListenRequest> = {}): Promise<Listening> {
  return listeningTo(await ask(hub, request));
}

export async function listeningTo(answer: Response): Promise<Listening> {
  if (!answer.webSocket) throw new Error(`no socket, but ${answer.status}: ${await answer.text()}`);
  return new Listening(answer.webSocket);
}

/** An event of a workspace; without a version it is told once. */
export function anEvent(version: number | null, payload: object = {}, event = "ACTIVITY_LOGGED"): HubEvent {
  return { version, event, payload: JSON.stringify(payload), timestamp: "2026-11-23T09:00:00.5Z" };
}
