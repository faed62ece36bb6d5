import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { aPushAgent } from "../support/agent-server.ts";
import { aMessage, call, poll, tell } from "../support/platform.ts";
import { beat, itemOf, itemWhen } from "../support/queue-item.ts";

// Before anything has read its configuration.
env.A2A_ANSWER_WAIT_S = "1";

describe("an agent slower than its caller is patient", () => {
  it("is called once: the caller gets a queue id, the answer is recorded once and told to the canvas", async () => {
    const agent = await aPushAgent("hold");
    const answer = await tell(agent, "take your time");
    expect(answer).toMatchObject({
      status: 202,
      body: { queued: true, queue_id: expect.any(String), queue_depth: 0, message: expect.stringMatching(/working/) },
    });
    const queueId: string = answer.body.queue_id;
    expect((await itemOf(agent, queueId)).body).toMatchObject({ status: "dispatched", attempts: 1 });
    expect((await poll(agent)).body).toEqual([]);
    await agent.player.release();
    const { response_body } = await itemWhen(agent, queueId, "completed");
    expect(response_body).toMatchObject({ result: { parts: [{ kind: "text", text: "echo" }] } });
    expect((await poll(agent)).body).toMatchObject([{ status: "ok", source_id: null, response_body }]);
    const events = await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage }) =>
      storage.sql.exec("SELECT event FROM activity").toArray(),
    );
    expect(events).toEqual([{ event: "answer" }]);
    expect(await agent.player.received()).toHaveLength(1);
  });

  it("is not called again by a caller that asks again: it gets the same queue id, later the same answer", async () => {
    const agent = await aPushAgent("hold");
    const json = aMessage("take your time", "same-id");
    const first = await call(`/workspaces/${agent.id}/a2a`, { json });
    const second = await call(`/workspaces/${agent.id}/a2a`, { json });
    expect(second).toMatchObject({ status: 202, body: { queue_id: first.body.queue_id } });
    await agent.player.release();
    const { response_body } = await itemWhen(agent, first.body.queue_id, "completed");
    expect(await call(`/workspaces/${agent.id}/a2a`, { json })).toMatchObject({ status: 200, body: response_body });
    expect(await agent.player.received()).toHaveLength(1);
    expect((await poll(agent)).body).toHaveLength(1);
  });

  it("that turns out to be busy gets the same request later, under the same queue id", async () => {
    const agent = await aPushAgent("script");
    await agent.player.play("hold/status/503", "echo");
    const { body } = await tell(agent, "take your time");
    await agent.player.release();
    await itemWhen(agent, body.queue_id, "queued", 1);
    await beat(agent);
    await itemWhen(agent, body.queue_id, "completed", 2);
    const received = await agent.player.received();
    expect(received).toHaveLength(2);
    expect(received[1]?.body).toBe(received[0]?.body);
    expect((await poll(agent)).body).toHaveLength(1);
  });
});
