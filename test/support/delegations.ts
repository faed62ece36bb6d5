import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { type Agent, type Answer, call } from "./platform.ts";
import { until } from "./until.ts";

// biome-ignore lint/suspicious/noExplicitAny: rows and entries have many shapes
type Entry = any;

/** Hands a task over and returns the delegation's id. */
export async function aDelegation(from: Agent, to: Agent, task = "do it", more: object = {}): Promise<string> {
  const { status, body, text } = await delegate(from, to.id, task, more);
  if (status !== 202) throw new Error(`delegate answered ${status}: ${text}`);
  return body.delegation_id;
}

export function delegate(from: Agent, targetId: string, task: string, more: object = {}): Promise<Answer> {
  return call(`/workspaces/${from.id}/delegate`, { token: from.token, json: { target_id: targetId, task, ...more } });
}

export function record(from: Agent, targetId: string, delegationId: string, more: object = {}): Promise<Answer> {
  return call(`/workspaces/${from.id}/delegations/record`, {
    token: from.token,
    json: { target_id: targetId, task: "do it", delegation_id: delegationId, ...more },
  });
}

/** `update`, `heartbeat` or `cancel` of a delegation, in the name of an agent. */
export function act(agent: Agent, id: string, action: string, json: object = {}): Promise<Answer> {
  const path = `/workspaces/${agent.id}/delegations/${encodeURIComponent(id)}/${action}`;
  return call(path, { token: agent.token, json });
}

export function complete(agent: Agent, id: string, text: string): Promise<Answer> {
  return act(agent, id, "update", { status: "completed", response_preview: text });
}

/** A message in which a callee speaks of a delegation. */
export function answer(from: Agent, to: Agent, id: string, text: string, metadata: object = {}): Promise<Answer> {
  const message = {
    role: "user",
    messageId: crypto.randomUUID(),
    parts: [{ kind: "text", text }],
    metadata: { delegation_id: id, ...metadata },
  };
  return call(`/workspaces/${to.id}/a2a`, { token: from.token, json: { method: "message/send", params: { message } } });
}

/** What an agent lists of one delegation. */
export async function entryOf(agent: Agent, id: string): Promise<Entry> {
  const { body } = await call(`/workspaces/${agent.id}/delegations`, { token: agent.token });
  return body.find((entry: Entry) => entry.delegation_id === id);
}

export function entryWhen(agent: Agent, id: string, status: string): Promise<Entry> {
  return until(`the delegation is ${status}`, async () => {
    const entry = await entryOf(agent, id);
    return entry?.status === status && entry;
  });
}

/** All rows of an agent's feed that match, oldest first. */
export async function rowsOf(agent: Agent, matching: object): Promise<Entry[]> {
  const { body } = await call(`/workspaces/${agent.id}/activity?limit=500`, { token: agent.token });
  const wanted = Object.entries(matching);
  return body.reverse().filter((row: Entry) => wanted.every(([key, value]) => row[key] === value));
}

/** The rows that tell a caller of ends: its mail, not its history. */
export function resultsOf(agent: Agent): Promise<Entry[]> {
  return rowsOf(agent, { activity_type: "a2a_receive", method: "delegate_result" });
}

/** The task as it stands in the inbox of an agent that polls. */
export function taskAt(agent: Agent, id: string): Promise<Entry> {
  return until("the task is there", async () =>
    (await rowsOf(agent, { method: "message/send" })).find((row) => row.request_body.params.message.messageId === id),
  );
}

/** The events of one delegation that a workspace recorded, in order. */
export function eventsOf(agent: Agent, id: string): Promise<{ event: string; [field: string]: unknown }[]> {
  return runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage: { sql } }) =>
    sql
      .exec<{ event_type: string; payload: string }>("SELECT event_type, payload FROM events ORDER BY seq")
      .toArray()
      .map(({ event_type, payload }) => ({ event: event_type, ...JSON.parse(payload) }))
      .filter(({ delegation_id }) => delegation_id === id),
  );
}

/** Any contact: what is due by now happens. */
export async function wake(...agents: Agent[]): Promise<void> {
  await Promise.all(agents.map(({ id }) => env.WORKSPACE.getByName(id).wake()));
}

/** Makes the open calls of a push agent now: under a moved clock their alarms lie in the runtime's future. */
export async function makeCalls(callee: Agent): Promise<void> {
  const callIds = await runInDurableObject(env.WORKSPACE.getByName(callee.id), (_instance, { storage: { sql } }) =>
    sql
      .exec<{ call_id: string }>("SELECT call_id FROM calls")
      .toArray()
      .map(({ call_id }) => call_id),
  );
  for (const callId of callIds) await runDurableObjectAlarm(env.OUTBOUND_CALL.getByName(callId));
}
