import { type RestartContext, restartMessage } from "../../domain/restart-context.ts";
import type { Core } from "./core.ts";
import type { Push } from "./push.ts";

/** Puts what an agent should know of its restart into its feed, and calls one that is pushed to; part of a turn. */
export function tellRestart(core: Core, push: Push, context: RestartContext, now: number): void {
  const { inbox, profile } = core;
  const { workspaceId, name } = profile.get();
  const messageId = crypto.randomUUID();
  const seq = inbox.append(
    {
      activityType: "a2a_receive",
      method: "message/send",
      sourceId: workspaceId,
      targetId: workspaceId,
      summary: `restart context → ${name}`,
      requestBody: restartMessage(messageId, context),
      messageId,
      event: "logged",
      own: true,
    },
    now * 1000,
  );
  push.tell(seq, workspaceId, now);
}
