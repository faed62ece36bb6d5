import { describe, expect, it } from "vitest";
import { ack, aForm, aFormOf, heldBy, NOTHING_HELD, read, stage, stageOne, upload } from "../support/parcel-post.ts";
import { anAgent, call, poll } from "../support/platform.ts";

const MIB = 1024 * 1024;

// The checks are numbered as in section 11 of the contract.
describe("conformance of uploads", () => {
  it("2, 3: two text files are named in order, and the inbox has exactly their two rows", async () => {
    const agent = await anAgent();
    const { status, body } = await upload(agent.id, aForm(["alpha.txt", "alpha"], ["beta.txt", "beta"]), agent.token);
    expect(status).toBe(200);
    expect(body.files.map(({ name }: { name: string }) => name)).toEqual(["alpha.txt", "beta.txt"]);
    for (const { uri } of body.files) expect(uri).toMatch(new RegExp(`^platform-pending:${agent.id}/[0-9a-f-]{36}$`));
    const inbox = await poll(agent, { limit: "20" });
    expect(inbox.text.match(/"method":"chat_upload_receive"/g)).toHaveLength(2);
    expect(inbox.text).toContain('"mimeType":"text/plain"');
    for (const { uri } of body.files) expect(inbox.text).toContain(`"file_id":"${uri.split("/").at(-1)}"`);
  });

  it("4, 5, 6: each content is the same bytes under its type and name until its ack, which may be repeated", async () => {
    const agent = await anAgent();
    for (const parcel of await stage(agent, aForm(["alpha.txt", "alpha"], ["beta.txt", "beta"]))) {
      const text = parcel.name.replace(".txt", "");
      const content = await read(parcel, agent.token);
      expect(content).toMatchObject({ status: 200, text });
      expect(content.headers.get("Content-Type")).toMatch(/^text\/plain/);
      expect(content.headers.get("Content-Disposition")).toContain(`filename="${text}.txt"`);
      for (const _ of [1, 2]) {
        expect(await ack(parcel, agent.token)).toMatchObject({ status: 200, text: '{"acked":true}' });
      }
      expect((await read(parcel, agent.token)).status).toBe(404);
    }
  });

  it("7: another agent's file under its own URL and token is 404", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const { id } = await stageOne(agent);
    const path = `/workspaces/${other.id}/pending-uploads/${id}`;
    expect((await call(`${path}/content`, { token: other.token })).status).toBe(404);
    expect((await call(`${path}/ack`, { method: "POST", token: other.token })).status).toBe(404);
  });

  it("8: another agent's token is 401 on every URL of a file", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const parcel = await stageOne(agent);
    for (const answer of [
      await read(parcel, other.token),
      await ack(parcel, other.token),
      await upload(agent.id, aFormOf(1), other.token),
    ])
      expect(answer.status).toBe(401);
    expect((await poll(agent)).body).toHaveLength(1);
  });

  it("9: a file id that is no UUID is 400", async () => {
    const agent = await anAgent();
    for (const [method, what] of [
      ["GET", "content"],
      ["POST", "ack"],
    ] as const) {
      const path = `/workspaces/${agent.id}/pending-uploads/not-a-uuid/${what}`;
      const answer = await call(path, { method, token: agent.token });
      expect(answer).toMatchObject({ status: 400, body: { error: "invalid file_id" } });
    }
  });

  it("20: 65 files, a file of 25 MiB and one byte, and a body over 50 MiB are refused, and nothing is left", async () => {
    const agent = await anAgent();
    const tooMany = await upload(agent.id, aFormOf(65));
    expect(tooMany).toMatchObject({ status: 400, body: { error: "too many files (limit 64)" } });
    const size = 25 * MIB + 1;
    const tooLarge = await upload(
      agent.id,
      aForm(["empty", ""], ["große Datei.bin", new Uint8Array(size)], ["c", "c"]),
      agent.token,
    );
    expect(tooLarge).toMatchObject({
      status: 413,
      body: { error: "file exceeds per-file cap", filename: "große Datei.bin", size, max: 26_214_400 },
    });
    const whole = new Uint8Array(25 * MIB);
    const overCap = await upload(agent.id, aForm(["a", whole], ["b", whole]));
    expect(overCap).toMatchObject({
      status: 413,
      body: { error: "request exceeds per-request cap", max: 52_428_800 },
    });
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
  });

  it("20: 64 files, and a file of exactly 25 MiB, are taken", async () => {
    const agent = await anAgent();
    expect(await stage(agent, aFormOf(64))).toHaveLength(64);
    expect(await stageOne(agent, new Uint8Array(25 * MIB))).toMatchObject({ size: 26_214_400 });
    expect((await poll(agent)).body).toHaveLength(65);
  });

  it("21: an empty file is a file: staged, announced, fetched and acked", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent, "");
    expect((await poll(agent)).body[0].request_body).toMatchObject({ file_id: parcel.id, size: 0 });
    const content = await read(parcel, agent.token);
    expect(content).toMatchObject({ status: 200, text: "" });
    expect(content.headers.get("Content-Length")).toBe("0");
    expect((await ack(parcel, agent.token)).body).toEqual({ acked: true });
  });
});
