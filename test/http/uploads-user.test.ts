import { afterEach, describe, expect, it, vi } from "vitest";
import { ack, aForm, keysOf, read, stage, stageOne, wait, waitForAlarm } from "../support/parcel-post.ts";
import { type Agent, anAgent, call, poll } from "../support/platform.ts";

const HOUR_MS = 60 * 60_000;
const RETENTION_MS = 168 * HOUR_MS;

afterEach(() => {
  vi.useRealTimers();
});

/** The agent tells its user of files. */
function notify(agent: Agent, ...uris: string[]) {
  const attachments = uris.map((uri) => ({ uri, name: "a file" }));
  return call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: "here", attachments } });
}

async function announced(agent: Agent, query: Record<string, string> = {}): Promise<string[]> {
  const { body } = await poll(agent, query);
  return body
    .filter(({ method }: { method: string }) => method === "chat_upload_receive")
    .map((row: { request_body: { file_id: string } }) => row.request_body.file_id);
}

describe("a file that the agent hands to its user", () => {
  it("is mail no more: its row is hidden from every poll, its neighbour's stays", async () => {
    const agent = await anAgent();
    const [forUser, forAgent] = await stage(agent, aForm(["a.txt", "a"], ["b.txt", "b"]), agent.token);
    if (!forUser || !forAgent) throw new Error("two files");
    const [newest] = (await poll(agent)).body;
    expect(await notify(agent, forUser.uri)).toMatchObject({ status: 200, body: { status: "sent" } });
    expect(await announced(agent)).toEqual([forAgent.id]);
    expect(await announced(agent, { direction: "in" })).toEqual([forAgent.id]);
    expect((await poll(agent, { since_id: newest.id })).body).toMatchObject([{ method: "notify" }]);
  });

  it("shows under the uri that the upload told, in the row and with everything else that was said of it", async () => {
    const agent = await anAgent();
    const { uri } = await stageOne(agent);
    const attachment = { uri, name: "alpha.txt", mimeType: "text/plain", size: 5 };
    await call(`/workspaces/${agent.id}/notify`, {
      token: agent.token,
      json: { message: "here", attachments: [{ ...attachment, extra: "ignored" }] },
    });
    const [row] = (await poll(agent)).body;
    expect(row.response_body).toEqual({ result: "here", parts: [{ kind: "file", file: attachment }] });
  });

  it("still answers its agent's fetch and ack, and the user reads on", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    await notify(agent, parcel.uri);
    expect((await read(parcel, agent.token)).text).toBe("alpha");
    expect((await ack(parcel, agent.token)).body).toEqual({ acked: true });
    expect((await read(parcel, agent.token)).status).toBe(404);
    expect((await read(parcel)).text).toBe("alpha");
  });

  it("stays for the user's 168 hours though nobody fetched it, and goes without alarming anybody", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    await notify(agent, parcel.uri);
    await waitForAlarm(agent, RETENTION_MS - HOUR_MS);
    expect((await read(parcel)).text).toBe("alpha");
    await waitForAlarm(agent, 2 * HOUR_MS);
    expect((await read(parcel)).status).toBe(404);
    expect((await poll(agent, { type: "error" })).body).toEqual([]);
    await waitForAlarm(agent, HOUR_MS);
    expect(await keysOf(agent)).toEqual([]);
  });

  it("that its agent acked long ago stays 168 hours from the day it was handed over", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    await ack(parcel, agent.token);
    wait(RETENTION_MS - HOUR_MS);
    await notify(agent, parcel.uri);
    await waitForAlarm(agent, RETENTION_MS - HOUR_MS);
    expect((await read(parcel)).text).toBe("alpha");
  });

  it("must be its own: naming another's, an invented or a mangled uri hides and keeps nothing", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const [own, foreign] = [await stageOne(agent), await stageOne(other)];
    const uris = [
      foreign.uri,
      `platform-pending:${agent.id}/${foreign.id}`,
      `platform-pending:${agent.id}/${crypto.randomUUID()}`,
      own.uri.replace(":", "://"),
      own.uri.toUpperCase(),
      `${own.uri}/content`,
    ];
    expect((await notify(agent, ...uris)).status).toBe(200);
    expect(await announced(agent)).toEqual([own.id]);
    expect(await announced(other)).toEqual([foreign.id]);
  });
});
