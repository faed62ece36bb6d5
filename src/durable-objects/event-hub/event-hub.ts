import { DurableObject } from "cloudflare:workers";
import { configOf } from "../../config.ts";
import { digestOf } from "../../domain/credential.ts";
import type { Path } from "../../domain/hierarchy.ts";
import type { HubEvent, NumberedEvent } from "../../domain/hub-event.ts";
import { type EventFilter, HUB_LISTEN_HEADER, type ListenRequest } from "../../domain/hub-listener.ts";
import { type Outcome, Refusal, settle, unwrap } from "../../domain/refusal.ts";
import { AlarmScheduler } from "../shared/alarm.ts";
import { Schema } from "../shared/schema.ts";
import { directoryStub, workspaceStub } from "../shared/stubs.ts";
import { Audience } from "./audience.ts";
import { History } from "./history.ts";
import { EVENT_HUB_SCHEMA } from "./schema.ts";

/** After these it is looked at what a workspace's tokens may hear, without waiting for the next keep-alive. */
const CHANGES_HEARING: ReadonlySet<string> = new Set([
  "WORKSPACE_REMOVED",
  "WORKSPACE_UPDATED",
  "WORKSPACE_PAUSED",
  "WORKSPACE_PROVISIONING",
  "WORKSPACE_PROVISION_FAILED",
  "WORKSPACE_HIBERNATED",
  "EXTERNAL_CREDENTIALS_ROTATED",
  "WORKSPACE_TOKEN_REVOKED",
]);
const TOKEN_GONE: ReadonlySet<string> = new Set(["auth.invalid_token", "workspace.not_found", "workspace.removed"]);

/**
 * The organisation's live events: every workspace tells them here, the hub numbers them, keeps the last ones, and
 * sends them to the sockets that may hear them. All of an organisation go through one hub.
 */
export class EventHub extends DurableObject<Env> {
  readonly #schema: Schema;
  readonly #history: History;
  #audience: Audience;
  #alarm: AlarmScheduler;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    ctx.setWebSocketAutoResponse(new WebSocketRequestResponsePair("ping", "pong"));
    this.#schema = new Schema(ctx.storage, EVENT_HUB_SCHEMA);
    this.#history = new History(ctx.storage.sql);
    this.#audience = this.#audienceFrom(null);
    this.#alarm = new AlarmScheduler(ctx.storage, [this.#audience], null);
    void ctx.blockConcurrencyWhile(async () => {
      const alarmAt = await ctx.storage.getAlarm();
      this.#audience = this.#audienceFrom(alarmAt);
      this.#alarm = new AlarmScheduler(ctx.storage, [this.#audience], alarmAt);
    });
  }

  /**
   * Takes a workspace's events. Those with a version come at least once and are told once; those without are told
   * and forgotten. Returning means that the hub has them.
   */
  async publish(message: { workspaceId: string; path: Path; events: readonly HubEvent[] }): Promise<void> {
    const { workspaceId, path, events } = message;
    const now = Date.now();
    const told = this.#take(workspaceId, path, events, now);
    this.#audience.tell(workspaceId, path, told);
    if (told.some(({ event }) => CHANGES_HEARING.has(event))) this.ctx.waitUntil(this.#audience.recheck(workspaceId));
    this.#alarm.arm(now);
  }

  /** A purged workspace has told all that it will; what it told is not kept for those who come back. Repeatable. */
  async forget({ workspaceId }: { workspaceId: string }): Promise<void> {
    if (this.#schema.state === "ahead") throw new Error("schema ahead");
    if (this.#schema.state === "ready") this.#history.forgetWorkspace(workspaceId);
  }

  /** Opens a listening socket; who asks and what for stands in one header. A refusal is answered as JSON. */
  override async fetch(request: Request): Promise<Response> {
    const { listener, since, ticket } = JSON.parse(request.headers.get(HUB_LISTEN_HEADER) ?? "") as ListenRequest;
    const now = Date.now();
    const outcome: Outcome<null> = await settle(() => {
      if (this.#schema.state === "ahead") throw new Refusal("schema.ahead", { retryAfter: 10 });
      if (!this.#audience.hasRoom()) throw new Refusal("overloaded", { retryAfter: 30 });
      if (ticket) this.#spend(ticket, now);
      return null;
    });
    if (!outcome.ok) return Response.json(outcome);
    const response = this.#audience.accept(listener, this.#missed(listener.filter, since), now);
    this.#alarm.arm(now);
    return response;
  }

  /** Listeners only listen. */
  override webSocketMessage(): void {}

  override webSocketClose(socket: WebSocket, code: number): void {
    // 1005 and 1006 may not be sent; the peer has gone either way.
    socket.close(code === 1005 || code === 1006 ? 1000 : code);
  }

  override async alarm(): Promise<void> {
    await this.#alarm.run(Date.now());
  }

  #take(workspaceId: string, path: Path, events: readonly HubEvent[], now: number): NumberedEvent[] {
    // The sender keeps its events and tries again once the deployment has finished.
    if (this.#schema.state === "ahead") throw new Error("schema ahead");
    this.#schema.create();
    try {
      return this.ctx.storage.transactionSync(() => this.#history.take(workspaceId, path, events, now));
    } catch (error) {
      this.#history.forget();
      throw error;
    }
  }

  #missed(filter: EventFilter, since: number | null): NumberedEvent[] | null {
    if (since === null) return [];
    if (this.#schema.state === "absent") return since === 0 ? [] : null;
    return this.#history.after(since, filter);
  }

  #spend(ticket: NonNullable<ListenRequest["ticket"]>, now: number): void {
    this.#schema.create();
    if (!this.#history.spend(ticket, now)) throw new Refusal("hub.invalid_ticket");
  }

  #audienceFrom(nextAt: number | null): Audience {
    const { devMode, adminTokens } = configOf(this.env);
    return new Audience(
      this.ctx,
      {
        devMode,
        adminDigests: adminTokens.map(digestOf),
        head: () => (this.#schema.state === "ready" ? this.#history.head() : 0),
        verify: (id, digest) => this.#verify(id, digest),
        verifyOrganisation: async (id) =>
          unwrap((await directoryStub(this.env).verifyOrganisationToken({ id, digest: null })).outcome),
      },
      nextAt,
    );
  }

  async #verify(id: string, digest: string): Promise<Path | null> {
    const { outcome } = await workspaceStub(this.env, id).verify({ access: { kind: "token", digest }, passive: true });
    if (outcome.ok) return outcome.value.path;
    if (TOKEN_GONE.has(outcome.code)) return null;
    throw new Refusal(outcome.code);
  }
}
