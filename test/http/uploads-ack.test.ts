import { afterEach, describe, expect, it, vi } from "vitest";
import { digestOf, randomBytes } from "../storage/blobs.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { query } from "../support/ledger.ts";
import { ack, aForm, keysOf, read, stage, stageOne, wait } from "../support/parcel-post.ts";
import { anAgent, call, poll, send } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const HOUR_MS = 60 * 60_000;
const GONE = { status: 404, body: { error: "pending upload not found, expired, or already acked" } };

afterEach(() => {
  vi.useRealTimers();
});

describe("the ack of a file", () => {
  it("is answered alike to everybody who sends it at once, and is one ack", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    const answers = await Promise.all(Array.from({ length: 8 }, () => ack(parcel, agent.token)));
    for (const answer of answers) expect(answer).toMatchObject({ status: 200, text: '{"acked":true}' });
    wait(HOUR_MS);
    expect((await ack(parcel, agent.token)).text).toBe('{"acked":true}');
    vi.useRealTimers();
    await quiet(agent.id);
    const ledger = await query(
      "SELECT state, acked_at < now() + interval '1 minute' AS first_counts FROM pending_uploads WHERE workspace_id = $1",
      [agent.id],
    );
    expect(ledger).toEqual([{ state: "acked", first_counts: true }]);
  });

  it("cuts no download short that is under way, and lets none begin after it", async () => {
    const agent = await anAgent();
    const bytes = randomBytes(4 * 1024 * 1024);
    const parcel = await stageOne(agent, bytes);
    const download = await send(parcel.content, { token: agent.token });
    expect((await ack(parcel, agent.token)).status).toBe(200);
    expect(await read(parcel, agent.token)).toMatchObject(GONE);
    expect(digestOf(new Uint8Array(await download.arrayBuffer()))).toBe(digestOf(bytes));
  });

  it("races with fetches to one of two ends: the bytes, or a 404; the ack is 200 either way", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    const [first, acked, second] = await Promise.all([
      read(parcel, agent.token),
      ack(parcel, agent.token),
      read(parcel, agent.token),
    ]);
    expect(acked).toMatchObject({ status: 200, body: { acked: true } });
    for (const { status, text } of [first, second]) expect(status === 404 || text === "alpha").toBe(true);
    expect((await read(parcel, agent.token)).status).toBe(404);
  });

  it("may come before any fetch, and ends the file all the same", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    expect((await ack(parcel, agent.token)).body).toEqual({ acked: true });
    expect(await read(parcel, agent.token)).toMatchObject(GONE);
    expect((await read(parcel)).text).toBe("alpha");
  });

  it("ends that file alone: its neighbours of the same upload stay", async () => {
    const agent = await anAgent();
    const [a, b] = await stage(agent, aForm(["a.txt", "a"], ["b.txt", "b"]));
    if (!a || !b) throw new Error("two files");
    await ack(a, agent.token);
    expect((await read(b, agent.token)).text).toBe("b");
    expect(await keysOf(agent)).toHaveLength(1);
  });

  it("of a file that expired since its fetch says that it raced, each time, and no sender is alarmed", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    await read(parcel, agent.token);
    wait(25 * HOUR_MS);
    for (const _ of [1, 2]) {
      expect(await ack(parcel, agent.token)).toMatchObject({ status: 200, body: { acked: true, raced: true } });
    }
    expect(await read(parcel, agent.token)).toMatchObject(GONE);
    expect((await poll(agent, { type: "error" })).body).toEqual([]);
  });

  it("of a file that expired and was never fetched is 404", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    wait(25 * HOUR_MS);
    for (const _ of [1, 2]) expect(await ack(parcel, agent.token)).toMatchObject(GONE);
  });

  it("of an id that was never given out is told apart from another workspace's", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const { id: foreign } = await stageOne(other);
    for (const [fileId, error] of [
      [crypto.randomUUID(), "pending upload not found, expired, or already acked"],
      [foreign, "pending upload not found"],
    ]) {
      const path = `/workspaces/${agent.id}/pending-uploads/${fileId}`;
      const answers = [await call(`${path}/ack`, { method: "POST" }), await call(`${path}/content`)];
      for (const answer of answers) expect(answer).toMatchObject({ status: 404, body: { error } });
    }
    expect((await poll(other)).body).toHaveLength(1);
  });

  it("wants a good bearer on a closed deployment, the operator's among them", async () => {
    const closed = aDeployment();
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    expect((await closed.call(parcel.ack, { method: "POST" })).status).toBe(401);
    expect((await read(parcel, agent.token)).status).toBe(200);
    expect((await closed.call(parcel.ack, { method: "POST", token: ADMIN_TOKEN })).body).toEqual({ acked: true });
    expect((await read(parcel, agent.token)).status).toBe(404);
  });

  it("is only a POST: no other method ends a file", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    for (const method of ["GET", "HEAD", "DELETE"]) {
      expect((await call(parcel.ack, { method, token: agent.token })).status).toBe(404);
    }
    expect((await read(parcel, agent.token)).status).toBe(200);
  });
});
