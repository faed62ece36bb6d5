import { type Attachment, notifyResponse, notifySummary } from "../../domain/activity.ts";
import type { ActivityQuery } from "../../domain/activity-query.ts";
import { canCommunicate, type Path } from "../../domain/hierarchy.ts";
import { Refusal } from "../../domain/refusal.ts";
import { dueAt, fileIdOfPendingUri } from "../../domain/upload.ts";
import type { Core } from "./core.ts";
import type { DelegationMessage } from "./delegations.ts";
import type { ActivityPage, NewActivity } from "./inbox-store.ts";
import { deliveryModeOf } from "./profile-store.ts";

/** Who sends: a person at the canvas (or an operator), or a workspace whose object has verified its token. */
export type Sender =
  | { readonly kind: "canvas" }
  | { readonly kind: "workspace"; readonly id: string; readonly path: Path };

/** A message on its way in, as the Worker has completed it. */
export interface IncomingMessage {
  /** JSON text; null when it is too large for a row and lies under `bodyKey`. */
  readonly body: string | null;
  readonly bodyKey: string | null;
  readonly method: string;
  readonly messageId: string | null;
  readonly digest: string;
  /** How long it is worth sending to an agent that is busy; for ever where this is left out. */
  readonly expiresInSeconds?: number | null;
  /** Left out where it speaks of no delegation. */
  readonly delegation?: DelegationMessage;
}

/** Messages in, words to the user out, and what readers have seen. All methods run inside a turn. */
export class Messages {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  /** Whether this sender may know of this workspace. */
  reaches(sender: Sender): boolean {
    const { path, removedAt } = this.#core.profile.get();
    return removedAt === null && (sender.kind === "canvas" || canCommunicate(sender.path, path));
  }

  /** May this sender know of this workspace: hierarchy first, so that nobody learns what exists. */
  reach(sender: Sender): void {
    if (this.reaches(sender)) return;
    const { workspaceId } = this.#core.profile.get();
    if (sender.kind === "workspace") throw new Refusal("a2a.access_denied");
    throw new Refusal("workspace.removed", { details: { id: workspaceId } });
  }

  /** May this sender send it something: that, and the budget. */
  admit(sender: Sender): void {
    this.reach(sender);
    const { budgetLimit, monthlySpend } = this.#core.profile.get();
    if (budgetLimit !== null && monthlySpend >= budgetLimit) throw new Refusal("a2a.budget_exceeded");
  }

  deliveryMode(): "push" | "poll" {
    return deliveryModeOf(this.#core.profile.get());
  }

  /** Puts a message into the inbox; a repetition finds the row that is there. Returns the row's id. */
  receive(sender: Sender, message: IncomingMessage, now: number): { activityId: string; repeated: boolean } {
    const { inbox, profile } = this.#core;
    const { name, workspaceId } = profile.get();
    const sourceId = sender.kind === "workspace" ? sender.id : null;
    const repeat =
      message.messageId === null ? null : inbox.findRepeat(sourceId, message.messageId, message.digest, now * 1000);
    if (repeat !== null) return { activityId: inbox.idOf(repeat), repeated: true };
    this.#core.requireRoom();
    const seq = inbox.append(
      {
        activityType: "a2a_receive",
        method: message.method,
        sourceId,
        targetId: workspaceId,
        summary: `${message.method} → ${name} (queued for poll)`,
        requestBody: message.body,
        requestBodyKey: message.bodyKey,
        messageId: message.messageId,
        messageDigest: message.messageId === null ? null : message.digest,
        event: "logged",
        own: sourceId === workspaceId,
      },
      now * 1000,
    );
    return { activityId: inbox.idOf(seq), repeated: false };
  }

  /** A row that the agent reports of itself. */
  report(row: Omit<NewActivity, "own" | "event">, now: number): void {
    this.#core.requireOwnRoom();
    this.#core.inbox.append({ ...row, own: true, event: "logged" }, now * 1000);
  }

  /** The agent's words to its user; files of its own that they name are the user's from now on. */
  notify(message: string, attachments: readonly Attachment[], now: number): void {
    const { inbox, uploads, profile } = this.#core;
    const { workspaceId } = profile.get();
    this.#core.requireOwnRoom();
    for (const { uri } of attachments) {
      const fileId = fileIdOfPendingUri(workspaceId, uri);
      const stored = fileId === null ? null : uploads.find(fileId);
      // One whose time is over ends as expired, and its sender hears of it.
      if (!stored || (dueAt(stored.file) ?? now + 1) <= now) continue;
      uploads.attached(stored, now);
      inbox.hide([stored.activitySeq]);
    }
    inbox.append(
      {
        activityType: "a2a_receive",
        method: "notify",
        summary: notifySummary(message),
        responseBody: notifyResponse(message, attachments),
        event: "message",
        own: true,
      },
      now * 1000,
    );
  }

  /**
   * One look at the feed. A cursor sent with the workspace's own token moves the read mark, `ack` the delivery
   * watermark; neither ever moves back. `after` is what a held poll goes on from.
   */
  read(query: ActivityQuery, own: boolean, now: number): { page: ActivityPage; after: number | null } {
    const { inbox, profile } = this.#core;
    const { readSeq, ackedSeq, lostSeq } = profile.get();
    const after = query.sinceId === null ? null : inbox.cursor(query.sinceId, lostSeq);
    if (own && after !== null && after > readSeq) profile.set({ readSeq: after });
    if (query.ackId !== null) this.acknowledge(query.ackId);
    const from = after ?? (query.fromAck ? Math.max(ackedSeq, profile.get().ackedSeq) : null);
    return { page: inbox.page(query, from, now * 1000), after: from };
  }

  /** Moves the delivery watermark; an unknown id moves nothing. Returns where it stands. */
  acknowledge(id: string | number): number {
    const { inbox, profile } = this.#core;
    const seq = typeof id === "number" ? Math.min(id, inbox.head()) : inbox.acknowledged(id);
    if (seq !== null && seq > profile.get().ackedSeq) profile.set({ ackedSeq: seq });
    return profile.get().ackedSeq;
  }
}
