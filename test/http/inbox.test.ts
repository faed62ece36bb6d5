import { describe, expect, it } from "vitest";
import { anAgent, call, poll, tell } from "../support/platform.ts";

describe("an agent behind NAT", () => {
  it("registers, is sent a message by the canvas, polls it and answers", async () => {
    const agent = await anAgent();
    const queued = await tell(agent, "hello");
    expect(queued).toMatchObject({
      status: 200,
      body: { status: "queued", delivery_mode: "poll", method: "message/send" },
    });

    const { body: rows } = await poll(agent);
    expect(rows).toHaveLength(1);
    expect(rows[0]).toMatchObject({ method: "message/send", source_id: null, workspace_id: agent.id });
    expect(rows[0].request_body.params.message.parts).toEqual([{ kind: "text", text: "hello" }]);

    const notified = await call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "hi" } });
    expect(notified).toMatchObject({ status: 200, body: { status: "sent" } });
    const { body: after } = await poll(agent, { since_id: rows[0].id });
    expect(after).toMatchObject([{ method: "notify", response_body: { result: "hi" } }]);
  });
});
