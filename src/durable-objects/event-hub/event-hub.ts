import { DurableObject } from "cloudflare:workers";
import type { HubEvent } from "../../domain/hub-event.ts";

export class EventHub extends DurableObject<Env> {
  async publish(_message: { workspaceId: string; path: readonly string[]; events: HubEvent[] }): Promise<void> {}
}
