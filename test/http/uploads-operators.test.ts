import { afterEach, describe, expect, it, vi } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { ack, aForm, aFormOf, read, stage, stageOne, waitForAlarm } from "../support/parcel-post.ts";
import { type Agent, anAgent, call } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const HOUR_MS = 60 * 60_000;
const RETENTION_MS = 168 * HOUR_MS;
const SECRET = "nobody but the agent may read this";

afterEach(() => {
  vi.useRealTimers();
});

/** An agent with one file in each state but expired. */
async function aMixedAgent(): Promise<Agent> {
  const agent = await anAgent();
  const [, fetched, acked] = await stage(agent, aForm(["s.txt", SECRET], ["f.txt", SECRET], ["a.txt", SECRET]));
  if (!fetched || !acked) throw new Error("three files");
  await read(fetched, agent.token);
  await ack(acked, agent.token);
  await quiet(agent.id);
  return agent;
}

function listOf(agent: Agent, query = "") {
  return call(`/admin/pending-uploads?workspace_id=${agent.id}${query}`);
}

/** The samples of `/metrics` about uploads, by name and label. */
async function metrics(): Promise<Record<string, number>> {
  const { text } = await call("/metrics");
  const samples = text.matchAll(/^(molecule_pending_uploads_\S+) (\S+)$/gm);
  return Object.fromEntries([...samples].map(([, name = "", value]) => [name, Number(value)]));
}

describe("the operator's list of files", () => {
  it("shows state, size and times of every file, and neither content nor where or under what digest it lies", async () => {
    const agent = await aMixedAgent();
    const { status, body, text } = await listOf(agent);
    expect(status).toBe(200);
    expect(body).toMatchObject({ count: 3, next_cursor: null });
    expect(Object.keys(body.uploads[0]).toSorted()).toEqual([
      "acked_at",
      "age_seconds",
      "created_at",
      "expires_at",
      "fetched_at",
      "file_id",
      "mime_type",
      "name",
      "size",
      "state",
      "swept_at",
      "workspace_id",
    ]);
    const states = body.uploads.map(({ name, state }: { name: string; state: string }) => [name, state]);
    expect(states).toEqual([
      ["s.txt", "staged"],
      ["f.txt", "fetched"],
      ["a.txt", "acked"],
    ]);
    expect(text).not.toContain(SECRET);
  });

  it("is read by state and page by page, each file once", async () => {
    const agent = await aMixedAgent();
    const { body: acked } = await listOf(agent, "&state=acked");
    expect(acked.uploads).toMatchObject([{ name: "a.txt", fetched_at: null, acked_at: expect.any(String) }]);
    const first = (await listOf(agent, "&limit=2")).body;
    expect(first).toMatchObject({ count: 2, limit: 2, next_cursor: first.uploads[1].file_id });
    const second = (await listOf(agent, `&limit=2&cursor=${first.next_cursor}`)).body;
    expect(second).toMatchObject({ count: 1, next_cursor: null });
    const names = [...first.uploads, ...second.uploads].map(({ name }: { name: string }) => name);
    expect(names).toEqual(["s.txt", "f.txt", "a.txt"]);
  });

  it("refuses an unknown state, a bad limit and a bad id by what it was asked", async () => {
    const agent = await anAgent();
    for (const [query, code] of [
      ["&state=lost", "admin.unknown_filter"],
      ["&limit=0", "admin.invalid_limit"],
      ["&limit=1001", "admin.invalid_limit"],
      ["&limit=ten", "admin.invalid_limit"],
      ["&cursor=x", "workspace.invalid_id"],
    ])
      expect(await listOf(agent, query)).toMatchObject({ status: 400, body: { code } });
  });

  it("and its stats are for operators only", async () => {
    const closed = aDeployment();
    const agent = await anAgent();
    for (const path of ["/admin/pending-uploads", "/admin/pending-uploads/stats"]) {
      expect((await closed.call(path)).status).toBe(401);
      expect((await closed.call(path, { token: agent.token })).status).toBe(401);
      expect((await closed.call(path, { token: ADMIN_TOKEN })).status).toBe(200);
    }
  });
});

describe("the operator's numbers", () => {
  it("count files and bytes by state, what waits longest, and show nothing of any file", async () => {
    const agent = await aMixedAgent();
    const { status, body, text } = await call("/admin/pending-uploads/stats");
    expect(status).toBe(200);
    expect(Object.keys(body)).toEqual(["staged", "fetched", "acked", "expired", "oldest_waiting_seconds"]);
    for (const state of ["staged", "fetched", "acked"]) {
      expect(body[state].files).toBeGreaterThanOrEqual(1);
      expect(body[state].bytes).toBeGreaterThanOrEqual(SECRET.length);
    }
    expect(body.oldest_waiting_seconds).toBeGreaterThanOrEqual(0);
    for (const secret of [SECRET, "s.txt", agent.id]) expect(text).not.toContain(secret);
  });

  it("rise in /metrics by what happened to files", async () => {
    const before = await metrics();
    const agent = await anAgent();
    const parcels = await stage(agent, aFormOf(3));
    for (const parcel of parcels.slice(0, 2)) {
      for (const _ of [1, 2]) await read(parcel, agent.token);
      for (const _ of [1, 2]) await ack(parcel, agent.token);
    }
    await waitForAlarm(agent, 25 * HOUR_MS);
    await waitForAlarm(agent, RETENTION_MS);
    await quiet(agent.id);
    const after = await metrics();
    const risen = (name: string) =>
      (after[`molecule_pending_uploads_${name}`] ?? 0) - (before[`molecule_pending_uploads_${name}`] ?? 0);
    expect(risen("staged_total")).toBeGreaterThanOrEqual(3);
    expect(risen("fetched_total")).toBeGreaterThanOrEqual(2);
    expect(risen("acked_total")).toBeGreaterThanOrEqual(2);
    expect(risen('swept_total{outcome="acked"}')).toBeGreaterThanOrEqual(2);
    expect(risen('swept_total{outcome="expired"}')).toBeGreaterThanOrEqual(1);
  });

  it("follow a file through its life in the list: fetched, acked, swept", async () => {
    const agent = await anAgent();
    const parcel = await stageOne(agent);
    const shown = async () => {
      await quiet(agent.id);
      return (await listOf(agent)).body.uploads[0];
    };
    expect(await shown()).toMatchObject({ state: "staged", fetched_at: null, acked_at: null, swept_at: null });
    await read(parcel, agent.token);
    expect(await shown()).toMatchObject({ state: "fetched", fetched_at: expect.any(String), acked_at: null });
    await ack(parcel, agent.token);
    expect(await shown()).toMatchObject({ state: "acked", acked_at: expect.any(String), swept_at: null });
    await waitForAlarm(agent, RETENTION_MS + HOUR_MS);
    expect(await shown()).toMatchObject({ state: "acked", swept_at: expect.any(String) });
  });
});
