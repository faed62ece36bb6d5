import { type Agent, call } from "./platform.ts";
import { until } from "./until.ts";

// biome-ignore lint/suspicious/noExplicitAny: the clients look at whatever comes
type Row = any;

/** The delegation tools of the Python runtime, as they read answers. */
export function pythonDelegator(agent: Agent) {
  const { id, token } = agent;
  const delegate = async (target: Agent, task: string) => {
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${id}:${target.id}:${task}`));
    const key = Buffer.from(digest).toString("hex").slice(0, 32);
    return call(`/workspaces/${id}/delegate`, {
      token,
      json: { target_id: target.id, task, idempotency_key: key },
    });
  };
  const rows = async (): Promise<Row[]> => (await call(`/workspaces/${id}/delegations`, { token })).body;
  return {
    /** Takes nothing but 202 for a success. */
    async delegateAsync(target: Agent, task: string): Promise<string> {
      const { status, body } = await delegate(target, task);
      if (status !== 202) throw new Error(`Error: delegation failed with status ${status}`);
      return body.delegation_id;
    },
    /** The fallback for peers that poll: delegate, then poll for the first row of it that has ended. */
    async delegateAndWait(target: Agent, task: string): Promise<{ status: string; text: string }> {
      const { body } = await delegate(target, task);
      const row = await until("the delegation has ended", async () =>
        (await rows()).find(
          ({ delegation_id, status }) =>
            delegation_id === body.delegation_id && (status === "completed" || status === "failed"),
        ),
      );
      const failure = row.error_detail ?? row.summary;
      return { status: row.status, text: row.status === "completed" ? row.response_preview : failure };
    },
    async checkTaskStatus(delegationId: string): Promise<Row> {
      return (await rows()).find(({ delegation_id }) => delegation_id === delegationId) ?? { status: "not_found" };
    },
  };
}
