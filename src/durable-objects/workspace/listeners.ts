import type { Access } from "../../domain/access.ts";
import type { ActivityQuery } from "../../domain/activity-query.ts";
import { log } from "../../log.ts";
import type { BlobStore } from "../../storage/blob-store.ts";
import { readLargeBody } from "../../storage/large-body.ts";
import type { Core } from "./core.ts";
import type { ActivityPage, FeedRows } from "./inbox-store.ts";
import { SOCKET_REVOKED } from "./listen.ts";

/** What a listening socket carries through hibernation. */
interface Attachment {
  readonly query: ActivityQuery;
  readonly after: number | null;
  /** The token that it was opened with; null for an operator's. */
  readonly digest: string | null;
  /** The token of the organisation that it was opened with, by its id. */
  readonly organisation?: string;
}

/** A frame above this is not sent to a held poll: the Worker is told to read the page itself. */
const FRAME_CHARS_MAX = 256 * 1024;
const POLL = "poll";
const INBOX = "inbox";
/** Rows sent to an inbox socket between two looks at its state. */
const STREAM_PAGE_ROWS = 100;
/** More sockets than one workspace's pollers can need. */
const SOCKETS_MAX = 1_000;

/** What a held poll's socket delivers: the page, or the word to come and read it. */
export type PollFrame = { readonly page: ActivityPage } | { readonly read: true };

/** Held polls and inbox sockets: hibernatable, woken by a row. */
export class Listeners {
  readonly #ctx: DurableObjectState;
  readonly #core: Core;
  readonly #blobs: BlobStore | null;
  readonly #isLiveOrganisation: (tokenId: string) => Promise<boolean>;

  constructor(
    ctx: DurableObjectState,
    core: Core,
    blobs: BlobStore | null,
    isLiveOrganisation: (tokenId: string) => Promise<boolean>,
  ) {
    this.#isLiveOrganisation = isLiveOrganisation;
    this.#ctx = ctx;
    this.#core = core;
    this.#blobs = blobs;
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
  }

  /** Whether there is room for one more. */
  hasRoom(): boolean {
    return this.#ctx.getWebSockets().length < SOCKETS_MAX;
  }

  /** Holds a poll until a row fits its query. */
  hold(query: ActivityQuery, after: number | null, access: Access): Response {
    return this.#accept(POLL, { query, after, ...credentialOf(access) });
  }

  /** Opens a stream of rows after a cursor; what is there already follows at once. */
  stream(query: ActivityQuery, after: number, access: Access, now: number): Response {
    const response = this.#accept(INBOX, { query, after, ...credentialOf(access) });
    this.deliver(now);
    return response;
  }

  /** Whether the workspace's own agent listens right now. */
  connected(): boolean {
    return this.#ctx.getWebSockets().some((socket) => attachmentOf(socket)?.digest != null);
  }

  /** Under what a socket was let in. */
  accessOf(socket: WebSocket): Access {
    const { digest = null, organisation } = attachmentOf(socket) ?? {};
    if (organisation !== undefined) return { kind: "organisation", id: organisation };
    return digest === null ? { kind: "admin" } : { kind: "token", digest };
  }

  /** Whether a socket may go on; one of the organisation's tokens ends when that was revoked. */
  async isGood(socket: WebSocket): Promise<boolean> {
    const organisation = attachmentOf(socket)?.organisation;
    if (organisation === undefined || (await this.#isLiveOrganisation(organisation))) return true;
    close(socket, SOCKET_REVOKED, "token revoked");
    return false;
  }

  /** Sends new rows to whoever waits for them. */
  deliver(now: number): void {
    for (const socket of this.#ctx.getWebSockets(POLL)) this.#answerPoll(socket, now);
    for (const socket of this.#ctx.getWebSockets(INBOX)) {
      this.#ctx.waitUntil(this.#streamTo(socket, now));
    }
  }

  /** Ends the sockets of tokens that are no longer live. */
  closeRevoked(isLive: (digest: string) => boolean): void {
    for (const socket of this.#ctx.getWebSockets()) {
      const digest = attachmentOf(socket)?.digest;
      if (digest != null && !isLive(digest)) close(socket, SOCKET_REVOKED, "token revoked");
    }
  }

  /** Ends every socket: there is nothing to listen to any more. A poll comes once more and is told so. */
  closeAll(): void {
    for (const socket of this.#ctx.getWebSockets(POLL)) this.#endPoll(socket, { read: true });
    for (const socket of this.#ctx.getWebSockets(INBOX)) close(socket, SOCKET_REVOKED, "workspace purged");
  }

  #accept(tag: string, attachment: Attachment): Response {
    const { 0: client, 1: server } = new WebSocketPair();
    this.#ctx.acceptWebSocket(server, [tag]);
    server.serializeAttachment(attachment);
    return new Response(null, { status: 101, webSocket: client });
  }

  #answerPoll(socket: WebSocket, now: number): void {
    const attachment = attachmentOf(socket);
    if (!attachment || socket.readyState !== WebSocket.OPEN) return;
    const page = this.#core.inbox.page(attachment.query, attachment.after, now * 1000);
    if (sizeOf(page) === 0) return;
    this.#endPoll(socket, sizeOf(page) > FRAME_CHARS_MAX ? { read: true } : { page });
  }

  #endPoll(socket: WebSocket, frame: PollFrame): void {
    try {
      socket.send(JSON.stringify(frame));
    } catch (error) {
      log.info("poll.gone", { reason: String(error).slice(0, 80) });
    }
    close(socket, 1000, "delivered");
  }

  /** One streamer at a time per socket: each round reads what the attachment says is still to be sent. */
  readonly #streaming = new Set<WebSocket>();

  async #streamTo(socket: WebSocket, now: number): Promise<void> {
    if (this.#streaming.has(socket)) return;
    this.#streaming.add(socket);
    try {
      for (let more = true; more; ) more = await this.#sendPage(socket, now);
    } catch (error) {
      log.info("inbox_socket.gone", { reason: String(error).slice(0, 80) });
      close(socket, 1011, "cannot deliver");
    } finally {
      this.#streaming.delete(socket);
    }
  }

  async #sendPage(socket: WebSocket, now: number): Promise<boolean> {
    const attachment = attachmentOf(socket);
    if (!attachment || socket.readyState !== WebSocket.OPEN) return false;
    const query = { ...attachment.query, limit: STREAM_PAGE_ROWS };
    const page = this.#core.inbox.rows(query, attachment.after ?? 0, now * 1000);
    if (page.rows.length > 0 && !(await this.isGood(socket))) return false;
    for (const [index, row] of page.rows.entries()) {
      const text = await this.#withLargeBodies(row, page, index);
      socket.send(text);
      socket.serializeAttachment({ ...attachment, after: page.seqs[index] ?? attachment.after });
    }
    return page.rows.length > 0;
  }

  async #withLargeBodies(row: string, page: FeedRows, index: number): Promise<string> {
    let text = row;
    for (const { row: at, member, key } of page.large) {
      if (at !== index || !this.#blobs) continue;
      const body = await readLargeBody(this.#blobs, key);
      if (body) text = `${text.slice(0, -1)},"${member}":${await new Response(body).text()}}`;
    }
    return text;
  }
}

/** Characters of a page's rows; 0 for an empty page. */
function sizeOf(page: ActivityPage): number {
  if (page.kind === "whole") return page.count === 0 ? 0 : page.text.length;
  return page.rows.reduce((sum, row) => sum + row.length, 0);
}

function credentialOf(access: Access): Pick<Attachment, "digest" | "organisation"> {
  if (access.kind === "organisation") return { digest: null, organisation: access.id };
  return { digest: access.kind === "token" ? access.digest : null };
}

function attachmentOf(socket: WebSocket): Attachment | null {
  return socket.deserializeAttachment() as Attachment | null;
}

/** Closes a socket that may be closed already. */
function close(socket: WebSocket, code: number, reason: string): void {
  try {
    socket.close(code, reason);
  } catch {
    // The other side was faster.
  }
}
