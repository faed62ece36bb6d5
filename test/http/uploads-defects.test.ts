import { describe, expect, it } from "vitest";
import { digestOf, randomBytes } from "../storage/blobs.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aWorkspace } from "../support/client-tree.ts";
import { ack, aForm, aFormOf, encoded, heldBy, NOTHING_HELD, read, stage, stageOne } from "../support/parcel-post.ts";
import { anAgent, call, poll, send, tell } from "../support/platform.ts";

const MIB = 1024 * 1024;

// Each is named after a report in section 9 of the contract.
describe("what users met with files", () => {
  it("#2382, #2720: an external workspace takes files before its agent ever came, and the agent finds them", async () => {
    const created = await aWorkspace();
    await stageOne(created);
    const json = { id: created.id, delivery_mode: "poll", agent_card: { name: "late" } };
    expect((await call("/registry/register", { json, token: created.token })).status).toBe(200);
    const [row] = (await poll(created)).body;
    const path = `/workspaces/${created.id}/pending-uploads/${row.request_body.file_id}/content`;
    expect((await call(path, { token: created.token })).text).toBe("alpha");
  });

  it("#319: files that wait outlive a rotation of credentials, and the old token reads none of them", async () => {
    const agent = await aWorkspace({ delivery_mode: "poll" });
    const parcel = await stageOne(agent);
    const { body } = await call(`/workspaces/${agent.id}/external/rotate`, { method: "POST" });
    expect((await read(parcel, agent.token)).status).toBe(401);
    expect(await read(parcel, body.connection.auth_token)).toMatchObject({ status: 200, text: "alpha" });
  });

  it("#2881: files of one upload are told of together or not at all, whatever else is written meanwhile", async () => {
    const agent = await anAgent();
    const sending = Array.from({ length: 6 }, (_, index) => tell(agent, `message ${index}`));
    const uploads = [aFormOf(5), aFormOf(5)].map((form) => stage(agent, form));
    const told = await Promise.all(uploads);
    await Promise.all(sending);
    const ids = (await poll(agent)).body
      .toReversed()
      .map((row: { request_body: { file_id?: string } }) => row.request_body.file_id ?? "message");
    for (const parcels of told) {
      const first = ids.indexOf(parcels[0]?.id);
      expect(ids.slice(first, first + 5)).toEqual(parcels.map(({ id }) => id));
    }
  });

  it("#2907: many files are fetched at once while the inbox goes on answering", async () => {
    const agent = await anAgent();
    const contents = Array.from({ length: 8 }, () => randomBytes(MIB));
    const parcels = await stage(
      agent,
      aForm(...contents.map((bytes, index): [string, Uint8Array] => [`${index}`, bytes])),
    );
    const fetches = parcels.map(({ content }) => send(content, { token: agent.token }));
    expect((await poll(agent)).body).toHaveLength(8);
    const digests = await Promise.all(
      fetches.map(async (response) => digestOf(new Uint8Array(await (await response).arrayBuffer()))),
    );
    expect(digests).toEqual(contents.map(digestOf));
    await Promise.all(parcels.map((parcel) => ack(parcel, agent.token)));
    for (const parcel of parcels) expect((await read(parcel, agent.token)).status).toBe(404);
  });

  it("RFC#640: the uri that is shown leads to the file by its two ids, with one colon and one slash", async () => {
    const agent = await anAgent();
    const { uri } = await stageOne(agent);
    const [scheme, rest = ""] = uri.split(":");
    const [workspaceId, fileId, ...more] = rest.split("/");
    expect([scheme, workspaceId, more]).toEqual(["platform-pending", agent.id, []]);
    const path = `/workspaces/${workspaceId}/pending-uploads/${fileId}/content`;
    expect((await call(path, { token: agent.token })).text).toBe("alpha");
  });

  it("mc#1588, mc#1589: what /uploads/limits says is what is taken, and one byte or file more is not", async () => {
    const small = aDeployment({ UPLOAD_FILE_BYTES: "1000", UPLOAD_REQUEST_BYTES: "5000", UPLOAD_FILES: "2" });
    const { body: limits } = await small.call("/uploads/limits");
    const agent = await anAgent();
    const answerTo = async (form: FormData) => {
      const options = { ...(await encoded(form)), token: ADMIN_TOKEN };
      return small.call(`/workspaces/${agent.id}/chat/uploads`, options);
    };
    const { per_file_bytes: bytes, max_attachments_per_message: files } = limits;
    expect((await answerTo(aForm(["over", new Uint8Array(bytes + 1)]))).status).toBe(413);
    expect(await answerTo(aFormOf(files + 1))).toMatchObject({
      status: 400,
      body: { error: "too many files (limit 2)" },
    });
    expect(await answerTo(aForm(["large", new Uint8Array(limits.per_request_bytes)]))).toMatchObject({
      status: 413,
      body: { max: limits.per_request_bytes },
    });
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
    expect((await answerTo(aForm(["exact", new Uint8Array(bytes)], ["second", "s"]))).status).toBe(200);
  });
});
