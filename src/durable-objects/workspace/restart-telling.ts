import { restartMessage } from "../../domain/restart-context.ts";
import type { Core } from "./core.ts";
import { deliveryModeOf } from "./profile-store.ts";
import type { Push } from "./push.ts";

/**
 * Tells an agent that is up why its machine was started anew, once the machine's start is known: a row of its feed, and
 * a call to one that is pushed to. Part of a turn; there is nothing to tell a second time.
 */
export function tellRestart(core: Core, push: Push, now: number): void {
  const { inbox, profile, machines } = core;
  const { wish, facts } = machines.get();
  const { workspaceId, name, status, url } = profile.get();
  if (facts.context?.secretKeys == null || (status !== "online" && status !== "degraded")) return;
  // One that is pushed to and only beats so far can be called once it has registered.
  if (url === null && deliveryModeOf(profile.get()) === "push") return;
  machines.wish(wish, { ...facts, context: null });
  const messageId = crypto.randomUUID();
  const seq = inbox.append(
    {
      activityType: "a2a_receive",
      method: "message/send",
      sourceId: workspaceId,
      targetId: workspaceId,
      summary: `restart context → ${name}`,
      requestBody: restartMessage(messageId, facts.context),
      messageId,
      event: "logged",
      own: true,
    },
    now * 1000,
  );
  push.tell(seq, workspaceId, now);
}
