import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { aBucket, randomBytes } from "../storage/blobs.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aRemovedAgent, aWorkspace, remove } from "../support/client-tree.ts";
import {
  aForm,
  aFormOf,
  encoded,
  halfSent,
  heldBy,
  keysOf,
  NOTHING_HELD,
  upload,
  uploadBytes,
} from "../support/parcel-post.ts";
import { anAgent, call, poll } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";
import { BOUNDARY, fileHeaders, multipartBody } from "../uploads/bodies.ts";

const CONTENT_TYPE = `multipart/form-data; boundary=${BOUNDARY}`;
const A_FILE = { headers: fileHeaders("a.txt"), content: "alpha" };
const MIB = 1024 * 1024;

const MALFORMED = "malformed multipart body";
const NO_FILES = "no files field in request";

describe("an upload is refused and leaves no row, no file and no bytes when", () => {
  it.each([
    ["it is JSON", "application/json", new TextEncoder().encode('{"files":[]}'), MALFORMED],
    ["it is another kind of multipart", `multipart/mixed; boundary=${BOUNDARY}`, multipartBody([A_FILE]), MALFORMED],
    ["its type names no boundary", "multipart/form-data", multipartBody([A_FILE]), MALFORMED],
    ["it has no bytes", CONTENT_TYPE, new Uint8Array(0), MALFORMED],
    ["its parts have another boundary", CONTENT_TYPE, multipartBody([A_FILE], "other"), MALFORMED],
    ["its final boundary is missing", CONTENT_TYPE, multipartBody([A_FILE]).slice(0, -4), MALFORMED],
    ["it ends inside a part's headers", CONTENT_TYPE, multipartBody([A_FILE]).slice(0, 40), MALFORMED],
    ["it has no parts", CONTENT_TYPE, multipartBody([]), NO_FILES],
    [
      "its file is in another field",
      CONTENT_TYPE,
      multipartBody([{ headers: fileHeaders("a.txt", "text/plain", "file"), content: "alpha" }]),
      NO_FILES,
    ],
    [
      "its field has no file name",
      CONTENT_TYPE,
      multipartBody([{ headers: 'Content-Disposition: form-data; name="files"', content: "alpha" }]),
      NO_FILES,
    ],
    ["its file name is empty", CONTENT_TYPE, multipartBody([{ headers: fileHeaders(""), content: "alpha" }]), NO_FILES],
  ])("%s", async (_what, type, body, error) => {
    const agent = await anAgent();
    const answer = await uploadBytes(agent, body, type);
    expect(answer).toMatchObject({ status: 400, body: { error } });
    expect(answer.headers.get("Content-Type")).toMatch(/^application\/json/);
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
  });

  it("one of its files is too large, though a good one came before it and many after", async () => {
    const small = aDeployment({ UPLOAD_FILE_BYTES: "1000" });
    const agent = await anAgent();
    const form = aForm(["good.txt", "good"], ["large.bin", new Uint8Array(1_001)], ["more.txt", "more"]);
    const answer = await small.call(`/workspaces/${agent.id}/chat/uploads`, {
      ...(await encoded(form)),
      token: ADMIN_TOKEN,
    });
    expect(answer).toMatchObject({ status: 413, body: { filename: "large.bin", size: 1_001, max: 1_000 } });
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
  });

  it("it grows over the cap and never told its length", async () => {
    const small = aDeployment({ UPLOAD_REQUEST_BYTES: "1000" });
    const agent = await anAgent();
    const answer = await small.call(`/workspaces/${agent.id}/chat/uploads`, {
      body: new Blob([multipartBody([{ ...A_FILE, content: new Uint8Array(100_000) }])])
        .stream()
        .pipeThrough(new IdentityTransformStream()),
      headers: { "Content-Type": CONTENT_TYPE },
      token: ADMIN_TOKEN,
    });
    expect(answer).toMatchObject({ status: 413, body: { error: "request exceeds per-request cap", max: 1_000 } });
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
  });

  it.each([true, false])("its client leaves in the middle (length told: %s)", async (sized) => {
    const agent = await anAgent();
    const { answer, leave } = await halfSent(agent, randomBytes(MIB), { sized });
    await leave();
    expect((await answer)?.status ?? 400).toBe(400);
    await until("the upload is given up", async () => (await heldBy(agent)).uploads === 0);
    await until("the bytes are gone", async () => (await keysOf(agent)).length === 0);
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
  });

  it("its workspace is removed in the middle: 410, as after a removal", async () => {
    const agent = await aWorkspace({ delivery_mode: "poll" });
    const { answer, sendRest } = await halfSent(agent, randomBytes(MIB), { token: agent.token });
    await remove(agent);
    await sendRest();
    expect(await answer).toMatchObject({ status: 410, body: { error: "workspace removed", id: agent.id } });
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
  });

  it("the bucket does not take its bytes: 500 in the contract's words", async () => {
    const agent = await anAgent();
    const put = vi.spyOn(Object.getPrototypeOf(aBucket()), "put").mockRejectedValueOnce(new Error("away"));
    onTestFinished(() => put.mockRestore());
    const answer = await upload(agent.id, aFormOf(1));
    expect(answer).toMatchObject({ status: 500, body: { error: "could not stage files" } });
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
    await quiet(agent.id);
    const counters = await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage: { sql } }) =>
      sql.exec<{ counters: string }>("SELECT counters FROM workspace").one(),
    );
    expect(JSON.parse(counters.counters)).toEqual({ upload_error: 1 });
    expect((await upload(agent.id, aFormOf(1))).status).toBe(200);
  });
});

describe("an upload without a length", () => {
  it("is taken and comes back whole", async () => {
    const agent = await anAgent();
    const { answer, sendRest } = await halfSent(agent, new TextEncoder().encode("never said how long"), {
      sized: false,
    });
    await sendRest();
    const told = await answer;
    expect(told, told?.text).toMatchObject({ status: 200, body: { files: [{ name: "half.bin", size: 19 }] } });
    const fileId = told?.body.files[0].uri.split("/").at(-1);
    const content = await call(`/workspaces/${agent.id}/pending-uploads/${fileId}/content`, { token: agent.token });
    expect(content.text).toBe("never said how long");
  });

  it("waits its turn behind two others: 503 with Retry-After, and one with a length goes ahead", async () => {
    const agents = await Promise.all([anAgent(), anAgent(), anAgent()]);
    const [first, second, third] = agents;
    if (!first || !second || !third) throw new Error("three agents");
    const running = [
      await halfSent(first, randomBytes(100), { sized: false }),
      await halfSent(second, randomBytes(100), { sized: false }),
    ];
    const { body, headers } = await encoded(aFormOf(1));
    const stream = new Blob([body]).stream().pipeThrough(new IdentityTransformStream());
    const refused = await uploadBytes(third, stream, headers["Content-Type"] ?? "");
    expect(refused).toMatchObject({ status: 503, body: { code: "upload.busy" } });
    expect(refused.headers.get("Retry-After")).toBe("5");
    expect(await heldBy(third)).toEqual(NOTHING_HELD);
    expect((await upload(third.id, aFormOf(1))).status).toBe(200);
    for (const { sendRest } of running) await sendRest();
    for (const { answer } of running) expect((await answer)?.status).toBe(200);
  });
});

describe("an upload to whom it cannot reach", () => {
  it("is 400 where the id is none, 404 where nobody is, 410 with the id where somebody was", async () => {
    const unknown = crypto.randomUUID();
    const removed = await aRemovedAgent();
    expect(await upload("no-id", aFormOf(1))).toMatchObject({ status: 400, body: { error: "invalid workspace ID" } });
    expect(await upload(unknown, aFormOf(1))).toMatchObject({ status: 404, body: { error: "workspace not found" } });
    expect(await upload(removed.id, aFormOf(1))).toMatchObject({ status: 410, body: { id: removed.id } });
    expect((await upload(removed.id, aFormOf(1), removed.token)).status).toBe(401);
    for (const id of [unknown, removed.id]) expect(await keysOf({ id })).toEqual([]);
  });

  it("is 401 without a good bearer on a closed deployment, and nothing is kept", async () => {
    const closed = aDeployment();
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const path = `/workspaces/${agent.id}/chat/uploads`;
    for (const token of [undefined, "nonsense", other.token]) {
      const options = { ...(await encoded(aFormOf(1))), ...(token === undefined ? {} : { token }) };
      expect((await closed.call(path, options)).status).toBe(401);
    }
    expect(await heldBy(agent)).toEqual(NOTHING_HELD);
    expect((await poll(agent)).body).toEqual([]);
  });

  it("is 401 for a revoked token before anything is said of the body", async () => {
    const agent = await anAgent();
    const { body } = await call(`/workspaces/${agent.id}/tokens`, { method: "POST" });
    const { body: list } = await call(`/workspaces/${agent.id}/tokens`);
    for (const { id } of list.tokens) await call(`/workspaces/${agent.id}/tokens/${id}`, { method: "DELETE" });
    for (const token of [agent.token, body.auth_token as string]) {
      const options = { method: "POST", body: "no form", token, headers: { "Content-Type": "text/plain" } };
      expect(await call(`/workspaces/${agent.id}/chat/uploads`, options)).toMatchObject({
        status: 401,
        body: { error: "invalid workspace auth token" },
      });
    }
  });

  it("is 422 where the deployment has no bucket, whatever the agent registered", async () => {
    const bare = aDeployment({ BLOBS: undefined });
    const agents = [await anAgent(), await anAgent({ url: "https://agent.example.com" })];
    for (const { id } of agents) {
      const answer = await bare.call(`/workspaces/${id}/chat/uploads`, {
        ...(await encoded(aFormOf(1))),
        token: ADMIN_TOKEN,
      });
      const error = "workspace has no callback URL — chat upload requires push-mode + public URL";
      expect(answer).toMatchObject({ status: 422, body: { error } });
    }
  });
});
