import { type Agent, type Answer, call } from "./platform.ts";
import { until } from "./until.ts";

/** A heartbeat, which sends on what waits for the agent. */
export function beat(agent: Agent, more: Record<string, unknown> = {}): Promise<Answer> {
  return call("/registry/heartbeat", { token: agent.token, json: { workspace_id: agent.id, ...more } });
}

/** A queue item as the target itself sees it. */
export function itemOf(agent: Agent, queueId: string): Promise<Answer> {
  return call(`/workspaces/${agent.id}/a2a/queue/${queueId}`, { token: agent.token });
}

/** Waits until an item has a status, and returns it. */
export function itemWhen(agent: Agent, queueId: string, status: string, attempts?: number): Promise<Answer["body"]> {
  return until(`the item is ${status}`, async () => {
    const { body } = await itemOf(agent, queueId);
    return body.status === status && (attempts === undefined || body.attempts === attempts) && body;
  });
}
