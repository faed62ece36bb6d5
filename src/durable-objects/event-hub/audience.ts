import type { Path } from "../../domain/hierarchy.ts";
import { type EventFormat, formatted, keepAlive, type NumberedEvent, resync } from "../../domain/hub-event.ts";
import { type HubListener, hears } from "../../domain/hub-listener.ts";
import { log } from "../../log.ts";
import type { Clock } from "../shared/alarm.ts";

/** Below the 30 s of silence after which the canvas takes a socket for dead. */
export const KEEP_ALIVE_MS = 25_000;
/** One hub serves this many; above it, events would reach the last one too late. */
export const SOCKETS_MAX = 2_000;
/**
 * What one socket may be sent between two keep-alives. The runtime does not say how much of it still waits in a
 * buffer, so that a listener who may be unable to follow is sent away and comes back with `since`.
 */
export const SOCKET_CHARS_MAX = 16 * 1024 * 1024;
const RECHECK_CONCURRENCY = 6;

export const CREDENTIAL_ENDED = 4401;
const TRY_AGAIN_LATER = 1013;
const OPERATOR_TAG = "operator";

/** Whether a workspace's token is still live: its path, null when it is not. Throws when nobody can say. */
export type VerifyToken = (workspaceId: string, digest: string) => Promise<Path | null>;

export interface AudienceOptions {
  readonly devMode: boolean;
  readonly adminDigests: readonly string[];
  readonly head: () => number;
  readonly verify: VerifyToken;
  /** Whether a token of the organisation is still live. Throws when nobody can say. */
  readonly verifyOrganisation: (id: string) => Promise<boolean>;
}

/** The sockets that listen: hibernatable, each with its filter and the credential that let it in. */
export class Audience implements Clock {
  readonly name = "keep_alive";
  readonly #ctx: DurableObjectState;
  readonly #options: AudienceOptions;
  #nextAt: number | null;
  #sent = new WeakMap<WebSocket, number>();

  /** `nextAt`: when the alarm of an earlier activation stands, null when there is none. */
  constructor(ctx: DurableObjectState, options: AudienceOptions, nextAt: number | null) {
    this.#ctx = ctx;
    this.#options = options;
    this.#nextAt = nextAt;
  }

  hasRoom(): boolean {
    return this.#listening().length < SOCKETS_MAX;
  }

  /** Accepts a listener and sends what it missed; null says that it must read anew. */
  accept(listener: HubListener, missed: readonly NumberedEvent[] | null, now: number): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    const { credential, format } = listener;
    this.#ctx.acceptWebSocket(server, [credential.kind === "workspace" ? credential.id : OPERATOR_TAG]);
    server.serializeAttachment(listener);
    this.#nextAt ??= now + KEEP_ALIVE_MS;
    if (missed === null) this.#send(server, resync(format, this.#options.head(), now));
    else for (const event of missed) this.#send(server, formatted(format, event));
    return new Response(null, { status: 101, webSocket: client });
  }

  /** Sends a workspace's events to everybody who may hear them. */
  tell(workspaceId: string, path: Path, events: readonly NumberedEvent[]): void {
    if (events.length === 0) return;
    this.#moved(workspaceId, path);
    const texts = new Map<EventFormat, string[]>();
    const textsOf = (format: EventFormat) => {
      const known = texts.get(format) ?? events.map((event) => formatted(format, event));
      texts.set(format, known);
      return known;
    };
    for (const { socket, listener } of this.#listening()) {
      if (!hears(listener.filter, workspaceId, path)) continue;
      for (const text of textsOf(listener.format)) this.#send(socket, text);
    }
  }

  dueAt(now: number): number | null {
    if (this.#listening().length > 0) return this.#nextAt ?? now;
    this.#nextAt = null;
    return null;
  }

  /** Ends what has expired, tells the others that all is well, and asks whether the agents' tokens still live. */
  async run(now: number): Promise<void> {
    this.#nextAt = now + KEEP_ALIVE_MS;
    this.#sent = new WeakMap();
    for (const { socket, listener } of this.#listening()) {
      if (this.#isAccepted(listener, now)) this.#send(socket, keepAlive(listener.format, this.#options.head(), now));
      else close(socket, CREDENTIAL_ENDED, "credential expired or revoked");
    }
    await this.recheck();
    await this.#recheckOrganisation();
  }

  /** Ends the sockets of tokens that their workspace no longer accepts; of one workspace where it is named. */
  async recheck(workspaceId?: string): Promise<void> {
    const tokens = new Map<string, { id: string; digest: string }>();
    for (const { listener } of this.#listening(workspaceId)) {
      const { credential } = listener;
      if (credential.kind === "workspace") tokens.set(`${credential.id} ${credential.digest}`, credential);
    }
    const waiting = [...tokens.values()];
    for (let start = 0; start < waiting.length; start += RECHECK_CONCURRENCY) {
      await Promise.all(waiting.slice(start, start + RECHECK_CONCURRENCY).map((token) => this.#recheckToken(token)));
    }
  }

  async #recheckToken({ id, digest }: { id: string; digest: string }): Promise<void> {
    let path: Path | null;
    try {
      path = await this.#options.verify(id, digest);
    } catch (error) {
      log.warn("hub.token_not_checked", { workspace_id: id, reason: error instanceof Error ? error.name : "unknown" });
      return;
    }
    if (path !== null) return this.#moved(id, path);
    for (const { socket, listener } of this.#listening(id)) {
      const { credential } = listener;
      if (credential.kind === "workspace" && credential.digest === digest) {
        close(socket, CREDENTIAL_ENDED, "token revoked");
      }
    }
  }

  /** Ends the sockets of the organisation's tokens that were revoked. */
  async #recheckOrganisation(): Promise<void> {
    const ids = this.#listening(OPERATOR_TAG).flatMap(({ listener: { credential } }) =>
      credential.kind === "organisation" ? [credential.id] : [],
    );
    for (const id of new Set(ids)) {
      if (await this.#isLiveOrganisation(id)) continue;
      for (const { socket, listener } of this.#listening(OPERATOR_TAG)) {
        const { credential } = listener;
        if (credential.kind === "organisation" && credential.id === id) {
          close(socket, CREDENTIAL_ENDED, "token revoked");
        }
      }
    }
  }

  /** Nobody is sent away because nobody could be asked. */
  async #isLiveOrganisation(id: string): Promise<boolean> {
    try {
      return await this.#options.verifyOrganisation(id);
    } catch (error) {
      log.warn("hub.token_not_checked", { token_id: id, reason: error instanceof Error ? error.name : "unknown" });
      return true;
    }
  }

  /** An agent's sockets follow its workspace through the tree. */
  #moved(workspaceId: string, path: Path): void {
    for (const { socket, listener } of this.#listening(workspaceId)) {
      if (listener.filter.kind !== "kin" || listener.filter.path.join() === path.join()) continue;
      socket.serializeAttachment({ ...listener, filter: { kind: "kin", path } } satisfies HubListener);
    }
  }

  #isAccepted({ credential, until }: HubListener, now: number): boolean {
    if (until !== null && until <= now) return false;
    switch (credential.kind) {
      case "open":
        return this.#options.devMode;
      case "admin":
        return this.#options.adminDigests.includes(credential.digest);
      case "session":
        return until !== null;
      case "organisation":
      case "workspace":
        return true;
    }
  }

  #listening(tag?: string): { socket: WebSocket; listener: HubListener }[] {
    return this.#ctx.getWebSockets(tag).flatMap((socket) => {
      const listener = socket.deserializeAttachment() as HubListener | null;
      return listener && socket.readyState === WebSocket.OPEN ? [{ socket, listener }] : [];
    });
  }

  #send(socket: WebSocket, text: string): void {
    const sent = (this.#sent.get(socket) ?? 0) + text.length;
    this.#sent.set(socket, sent);
    if (sent > SOCKET_CHARS_MAX) {
      close(socket, TRY_AGAIN_LATER, "too much at once: resume with since");
      return;
    }
    try {
      socket.send(text);
    } catch {
      close(socket, TRY_AGAIN_LATER, "cannot deliver");
    }
  }
}

/** Closes a socket that may be closed already. */
function close(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // The other side was faster.
  }
}
