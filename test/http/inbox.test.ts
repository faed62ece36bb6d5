import { env, evictDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { timestampToMicros } from "../../src/domain/activity.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aFamily, aRemovedAgent } from "../support/client-tree.ts";
import { query as ledger } from "../support/ledger.ts";
import { type Agent, aMessage, anAgent, BASE, call, poll, tell } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const DAY = 24 * 60 * 60_000;
/** The keys of a row that are always there; bodies come only where there is one. */
const SCALARS = [
  "id",
  "workspace_id",
  "activity_type",
  "source_id",
  "target_id",
  "method",
  "summary",
  "duration_ms",
  "status",
  "error_detail",
  "created_at",
  "seq",
];

afterEach(() => {
  vi.useRealTimers();
});

function textOf(row: { request_body: { params: { message: { parts: { text: string }[] } } } }): string {
  return row.request_body.params.message.parts.map((part) => part.text).join("");
}

function send(to: Agent, json: unknown, from?: Agent, headers: Record<string, string> = {}) {
  return call(`/workspaces/${to.id}/a2a`, { json, headers, ...(from ? { token: from.token } : {}) });
}

function report({ id, token }: Agent, json: Record<string, unknown>) {
  return call(`/workspaces/${id}/activity`, { token, json });
}

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

describe("a message to an agent that polls", () => {
  it("is a row with exactly the keys of the contract and ours, its envelope completed", async () => {
    const agent = await anAgent();
    const sent = await tell(agent, "hello");
    const [row] = (await poll(agent)).body;
    expect(Object.keys(row)).toEqual([...SCALARS, "request_body"]);
    expect(row).toMatchObject({
      id: sent.body.activity_id,
      activity_type: "a2a_receive",
      source_id: null,
      target_id: agent.id,
      summary: `message/send → ${agent.id} (queued for poll)`,
      duration_ms: null,
      status: "ok",
      error_detail: null,
    });
    expect(row.request_body).toMatchObject({ jsonrpc: "2.0", id: expect.any(String), method: "message/send" });
  });

  it("keeps every integer, the order of keys and foreign fields of an envelope", async () => {
    const agent = await anAgent();
    const params =
      '"params":{"z":1,"message":{"role":"user","messageId":"m-1","parts":[],"n":12345678901234567890},"a":2}';
    const body = `{"jsonrpc":"2.0","id":9007199254740993,"method":"message/send",${params}}`;
    await call(`/workspaces/${agent.id}/a2a`, { body, method: "POST" });
    expect((await poll(agent)).text).toContain(`"request_body":${body}`);
  });

  it("may be any JSON-RPC method; one without a string method has the empty one", async () => {
    const agent = await anAgent();
    const cancel = await send(agent, { jsonrpc: "2.0", id: 1, method: "tasks/cancel", params: { id: "t" } });
    expect(cancel.body).toMatchObject({ status: "queued", method: "tasks/cancel" });
    expect((await send(agent, { jsonrpc: "2.0", id: 1, method: 7 })).body.method).toBe("");
  });

  it("may be bare parts, a bare message, or v0.2 content: none loses its words", async () => {
    const agent = await anAgent();
    const parts = [{ kind: "text", text: "words" }];
    const shapes = [
      { parts },
      { message: { parts } },
      { message: { role: "user", content: "words" } },
      { method: "message/send", params: { message: { content: parts } } },
    ];
    for (const shape of shapes) expect((await send(agent, shape)).status).toBe(200);
    const { body: rows } = await poll(agent);
    expect(rows.map(textOf)).toEqual(shapes.map(() => "words"));
    for (const row of rows) expect(row.request_body.params.message.messageId).toEqual(expect.any(String));
  });

  it("is refused with the contract's texts when it holds nothing", async () => {
    const agent = await anAgent();
    const message = (more: object) => ({ method: "message/send", params: { message: { role: "user", ...more } } });
    expect(await send(agent, message({ content: 7 }))).toMatchObject({
      status: 400,
      body: { error: "invalid params.message.content type", hint: expect.any(String) },
    });
    expect(await send(agent, message({}))).toMatchObject({
      status: 400,
      body: { error: "params.message must contain either 'parts' (v0.3) or 'content' (v0.2 compat)" },
    });
    expect((await send(agent, message({ parts: [], messageId: "m".repeat(129) }))).status).toBe(400);
    expect((await poll(agent)).body).toEqual([]);
  });

  it("is there, although its object was evicted right after the answer", async () => {
    const agent = await anAgent();
    await tell(agent, "before");
    await evictDurableObject(env.WORKSPACE.get(env.WORKSPACE.idFromName(agent.id)));
    await tell(agent, "after");
    expect((await poll(agent)).body.map(textOf)).toEqual(["after", "before"]);
  });
});

describe("a repeated message", () => {
  it("of the same sender, id and words within a day is the row that is there already", async () => {
    const agent = await anAgent();
    const message = aMessage("once", "the-id");
    const [first, again] = [await send(agent, message), await send(agent, message)];
    expect(again.body).toEqual(first.body);
    const wrapped = { jsonrpc: "2.0", id: 7, ...message };
    expect((await send(agent, wrapped)).body.activity_id).toBe(first.body.activity_id);
    expect((await poll(agent)).body).toHaveLength(1);
  });

  it("of another sender, with other words, or after a day is a new row", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    await send(agent, aMessage("once", "the-id"));
    await send(agent, aMessage("twice", "the-id"));
    await send(agent, aMessage("once", "the-id"), other);
    expect((await poll(agent)).body).toHaveLength(3);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + DAY + 1_000 });
    await send(agent, aMessage("once", "the-id"));
    expect((await poll(agent)).body).toHaveLength(4);
  });

  it("sent many times at once is one row", async () => {
    const agent = await anAgent();
    const answers = await Promise.all(Array.from({ length: 20 }, () => send(agent, aMessage("once", "the-id"))));
    expect(new Set(answers.map(({ body }) => body.activity_id)).size).toBe(1);
    expect((await poll(agent)).body).toHaveLength(1);
  });
});

describe("the sender of a message", () => {
  it("is the workspace of its bearer; the two caller headers may repeat that and no more", async () => {
    const [agent, peer, third] = await Promise.all([anAgent(), anAgent(), anAgent()]);
    for (const headers of [
      {},
      { "X-Workspace-ID": peer.id },
      { "X-Source-Workspace-Id": peer.id },
      { "X-Workspace-ID": peer.id, "X-Source-Workspace-Id": peer.id },
    ]) {
      expect((await send(agent, aMessage("hi"), peer, headers)).status).toBe(200);
    }
    for (const name of ["X-Workspace-ID", "X-Source-Workspace-Id"]) {
      expect(await send(agent, aMessage("hi"), peer, { [name]: third.id })).toMatchObject({
        status: 401,
        body: { error: "caller ID does not match workspace auth token" },
      });
    }
    const { body: rows } = await poll(agent);
    expect(rows.map((row: { source_id: string }) => row.source_id)).toEqual([peer.id, peer.id, peer.id, peer.id]);
  });

  it("is never believed without a bearer, nor with a wrong one, also not as the target itself", async () => {
    const agent = await anAgent();
    expect(await send(agent, aMessage("hi"), undefined, { "X-Workspace-ID": agent.id })).toMatchObject({
      status: 401,
      body: { error: "missing caller auth token" },
    });
    expect(await send(agent, aMessage("hi"), { id: "", token: "wrong" })).toMatchObject({
      status: 401,
      body: { error: "invalid caller auth token" },
    });
    for (const caller of ["webhook:github", "system:cron", "test:a", "channel:slack"]) {
      expect(await send(agent, aMessage("hi"), agent, { "X-Workspace-ID": caller })).toMatchObject({
        status: 403,
        body: { error: "invalid caller ID" },
      });
    }
    expect((await poll(agent)).body).toEqual([]);
  });

  it("is a person where an operator's bearer stands, and nobody without one", async () => {
    const agent = await anAgent();
    const closed = aDeployment();
    const path = `/workspaces/${agent.id}/a2a`;
    expect((await closed.call(path, { json: aMessage("hi") })).status).toBe(401);
    expect((await closed.call(path, { json: aMessage("hi"), token: ADMIN_TOKEN })).status).toBe(200);
    const claiming = { json: aMessage("hi"), token: ADMIN_TOKEN, headers: { "X-Workspace-ID": agent.id } };
    expect((await closed.call(path, claiming)).status).toBe(401);
    expect((await poll(agent)).body).toMatchObject([{ source_id: null }]);
  });

  it("may be the agent itself: a self-message, hidden by direction=in", async () => {
    const agent = await anAgent();
    expect((await send(agent, aMessage("note to self"), agent)).status).toBe(200);
    expect((await poll(agent)).body).toMatchObject([{ source_id: agent.id }]);
    expect((await poll(agent, { direction: "in" })).body).toEqual([]);
  });

  it("reaches only whom the hierarchy allows, and learns nothing about anybody else", async () => {
    const { parent, child, sibling, grandchild, stranger } = await aFamily();
    const removed = await aRemovedAgent();
    for (const [from, to] of [
      [child, sibling],
      [child, parent],
      [grandchild, parent],
      [parent, grandchild],
      [parent, stranger],
    ] as const) {
      expect((await tell(to, "hi", from)).status, `${from.name} → ${to.name}`).toBe(200);
    }
    const unknown = { id: crypto.randomUUID(), token: "" };
    const broken = { method: "message/send", params: { message: {} } };
    for (const target of [stranger, removed, unknown]) {
      for (const message of [aMessage("hi"), broken]) {
        expect(await send(target, message, child)).toMatchObject({
          status: 403,
          body: {
            error: "access denied: workspaces cannot communicate per hierarchy rules",
            code: "a2a.access_denied",
          },
        });
      }
    }
    expect(await tell(removed, "hi")).toMatchObject({
      status: 410,
      body: { error: "workspace removed", id: removed.id },
    });
    expect(await tell(unknown, "hi")).toMatchObject({ status: 404, body: { error: "workspace not found" } });
  });

  it("is not heard any more once it is removed", async () => {
    const [agent, removed] = [await anAgent(), await aRemovedAgent()];
    expect(await tell(agent, "hi", removed)).toMatchObject({
      status: 401,
      body: { error: "invalid caller auth token" },
    });
  });
});

describe("the feed", () => {
  it("is newest first without a cursor, also with since_secs, and has strictly rising times and seqs", async () => {
    const agent = await anAgent();
    await Promise.all(Array.from({ length: 12 }, (_, number) => tell(agent, String(number))));
    const { body: rows } = await poll(agent, { since_secs: "600" });
    expect(rows).toHaveLength(12);
    const newestFirst = (values: number[]) => [...new Set(values)].sort((one, other) => other - one);
    const seqs = rows.map((row: { seq: number }) => row.seq);
    expect(seqs).toEqual(newestFirst(seqs));
    const times = rows.map((row: { created_at: string }) => timestampToMicros(row.created_at));
    expect(times).toEqual(newestFirst(times));
  });

  it("is filtered by type, source, peer and time, all together", async () => {
    const [agent, peer, other] = await Promise.all([anAgent(), anAgent(), anAgent()]);
    await tell(agent, "canvas");
    await tell(agent, "peer", peer);
    await tell(agent, "other", other);
    await report(agent, { activity_type: "a2a_send", target_id: peer.id, summary: "to the peer" });
    const summaries = async (query: Record<string, string>) =>
      (await poll(agent, { type: "", ...query })).body.map((row: { source_id: string }) => row.source_id);
    expect(await summaries({})).toEqual([agent.id, other.id, peer.id, null]);
    expect(await summaries({ source: "canvas" })).toEqual([null]);
    expect(await summaries({ source: "agent" })).toEqual([agent.id, other.id, peer.id]);
    expect(await summaries({ peer_id: peer.id })).toEqual([agent.id, peer.id]);
    expect(await summaries({ peer_id: peer.id, type: "a2a_receive" })).toEqual([peer.id]);
    expect(await summaries({ type: "a2a_send" })).toEqual([agent.id]);
    expect(await summaries({ type: "unheard_of" })).toEqual([]);
    expect(await summaries({ direction: "in" })).toEqual([other.id, peer.id, null]);
    expect(await summaries({ since_secs: "5", source: "canvas" })).toEqual([null]);
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10_000 });
    expect(await summaries({ since_secs: "5" })).toEqual([]);
  });

  it("pages back by before_ts, an encoded offset included; a bare + is 400", async () => {
    const agent = await anAgent();
    for (const text of ["one", "two", "three"]) await tell(agent, text);
    const { body: newest } = await poll(agent, { limit: "1" });
    const { body: older } = await poll(agent, { before_ts: newest[0].created_at });
    expect(older.map(textOf)).toEqual(["two", "one"]);
    const inTokyo = `${new Date(Date.parse(newest[0].created_at) + 9 * 60 * 60_000 + 1_000).toISOString().slice(0, 19)}+09:00`;
    expect((await poll(agent, { before_ts: inTokyo })).body).toHaveLength(3);
    const bare = await call(`/workspaces/${agent.id}/activity?before_ts=${inTokyo}`, { token: agent.token });
    expect(bare).toMatchObject({
      status: 400,
      body: { error: "before_ts must be an RFC3339 timestamp (e.g. 2026-05-01T00:00:00Z)" },
    });
  });

  it("tells later clients who a peer is, by include=peer_info, and changes nothing for others", async () => {
    const { parent, child, sibling } = await aFamily();
    await tell(sibling, "from the eldest", child);
    await tell(sibling, "from the canvas");
    const [plainCanvas, plain] = (await poll(sibling)).body;
    const [canvas, peer] = (await poll(sibling, { include: "other, peer_info" })).body;
    expect(canvas).toEqual(plainCanvas);
    expect(peer).toEqual({
      ...plain,
      peer_name: child.name,
      peer_role: "Eldest",
      agent_card_url: `${BASE}/registry/discover/${child.id}`,
    });
    await tell(sibling, "from the parent", parent);
    expect((await poll(sibling, { include: "peer_info", limit: "1" })).body[0]).not.toHaveProperty("peer_role");
  });

  it("names the files of messages and uploads to clients that ask for peer_info", async () => {
    const agent = await anAgent();
    const file = { uri: "workspace:/tmp/a.png", name: "a.png", mimeType: "image/png" };
    await send(agent, { message: { parts: [{ kind: "file", file }] } });
    const form = new FormData();
    form.append("files", new File(["words"], "notes.txt", { type: "text/plain" }));
    const uploaded = await call(`/workspaces/${agent.id}/chat/uploads`, { body: form, method: "POST" });
    expect(uploaded.status).toBe(200);
    const [manifest, message] = (await poll(agent, { include: "peer_info" })).body;
    expect(message.attachments).toEqual([{ kind: "file", uri: file.uri, mime_type: "image/png", name: "a.png" }]);
    expect(manifest.attachments).toEqual([
      { kind: "file", uri: uploaded.body.files[0].uri, mime_type: "text/plain", name: "notes.txt" },
    ]);
    for (const row of (await poll(agent)).body) expect(row).not.toHaveProperty("attachments");
  });

  it("belongs to its workspace and to operators; any other bearer is 401", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    const path = `/workspaces/${agent.id}/activity`;
    for (const token of [other.token, "wrong"]) {
      expect(await call(path, { token })).toMatchObject({
        status: 401,
        body: { error: "invalid workspace auth token" },
      });
    }
    const closed = aDeployment();
    expect(await closed.call(path)).toMatchObject({ status: 401, body: { error: "missing workspace auth token" } });
    expect((await closed.call(path, { token: ADMIN_TOKEN })).body).toEqual([]);
    expect((await closed.call(path, { token: agent.token })).status).toBe(200);
  });

  it("of a removed workspace is closed to its old bearer, and takes nothing more from operators", async () => {
    const agent = await anAgent();
    await tell(agent, "still here");
    await call(`/workspaces/${agent.id}`, { method: "DELETE" });
    expect(await poll(agent)).toMatchObject({ status: 401, body: { error: "invalid workspace auth token" } });
    expect((await call(`/workspaces/${agent.id}/activity`)).body).toHaveLength(1);
    const path = `/workspaces/${agent.id}/activity`;
    expect(await call(path, { json: { activity_type: "error" } })).toMatchObject({ status: 410 });
    expect(await call(`${path}/ack`, { json: { acked_seq: 1 } })).toMatchObject({ status: 410 });
  });
});

describe("an agent's report", () => {
  it("is a row of its own, with everything that it said", async () => {
    const [agent, peer] = await Promise.all([anAgent(), anAgent()]);
    const said = {
      activity_type: "a2a_send",
      method: "message/send",
      target_id: peer.id,
      summary: "asked the peer",
      status: "error",
      error_detail: "no answer",
      duration_ms: 1_234,
      request_body: { task: "t" },
      response_body: { result: null },
    };
    expect(await report(agent, { ...said, source_id: agent.id, unknown_key: 1 })).toMatchObject({
      status: 200,
      body: { status: "logged" },
    });
    const [row] = (await poll(agent, { type: "" })).body;
    expect(row).toMatchObject({ ...said, source_id: agent.id });
    expect((await poll(agent, { type: "", direction: "in" })).body).toEqual([]);
  });

  it("needs no bodies; metadata stands for a missing request_body; null bodies are absent", async () => {
    const agent = await anAgent();
    await report(agent, { activity_type: "task_update" });
    await report(agent, { activity_type: "task_update", request_body: null, response_body: null, metadata: { m: 1 } });
    const [withMetadata, bare] = (await poll(agent, { type: "" })).body;
    expect(Object.keys(bare)).toEqual(SCALARS);
    expect(bare).toMatchObject({ status: "ok", method: null, summary: null, source_id: agent.id });
    expect(withMetadata.request_body).toEqual({ m: 1 });
    expect(withMetadata).not.toHaveProperty("response_body");
  });

  it("is of one of seven types and of nobody else", async () => {
    const [agent, peer] = await Promise.all([anAgent(), anAgent()]);
    const types = ["a2a_send", "a2a_receive", "task_update", "agent_log", "skill_promotion", "memory_write", "error"];
    for (const activity_type of types) expect((await report(agent, { activity_type })).status).toBe(200);
    for (const activity_type of ["delegation", "A2A_SEND", ""]) {
      expect(await report(agent, { activity_type })).toMatchObject({
        status: 400,
        body: { error: `invalid activity_type, must be one of: ${types.join(", ")}` },
      });
    }
    for (const source_id of [peer.id, agent.id.toUpperCase()]) {
      expect(await report(agent, { activity_type: "error", source_id })).toMatchObject({
        status: 403,
        body: { error: "source_id must match authenticated workspace" },
      });
    }
    expect((await poll(agent, { type: "" })).body).toHaveLength(types.length);
  });
});

describe("session search", () => {
  it("shows rows beyond 8 MiB of bodies without theirs", async () => {
    const agent = await anAgent();
    for (let row = 0; row < 10; row += 1)
      await report(agent, { activity_type: "agent_log", request_body: "x".repeat(900_000) });
    await quiet(agent.id);
    const { body } = await call(`/workspaces/${agent.id}/session-search`, { token: agent.token });
    expect(body).toHaveLength(10);
    expect(body.map((row: object) => "request_body" in row)).toEqual([...Array(9).fill(true), false]);
  });

  it("finds words in summaries and bodies, newest first, whatever the case", async () => {
    const agent = await anAgent();
    await tell(agent, "a Needle in the hay");
    await tell(agent, "only hay");
    await report(agent, { activity_type: "agent_log", summary: "found the NEEDLE" });
    await quiet(agent.id);
    const search = async (query: string) =>
      (await call(`/workspaces/${agent.id}/session-search${query}`, { token: agent.token })).body;
    const found = await search("?q=needle");
    expect(found).toMatchObject([
      { kind: "activity", workspace_id: agent.id, content: "found the NEEDLE" },
      { kind: "activity", request_body: { params: { message: { parts: [{ text: "a Needle in the hay" }] } } } },
    ]);
    expect(Object.keys(found[0]).sort()).toEqual(
      ["content", "created_at", "id", "kind", "label", "method", "status", "workspace_id"].sort(),
    );
    expect(await search("")).toHaveLength(3);
    expect(await search("?limit=1")).toHaveLength(1);
    for (const odd of ["?limit=0", "?limit=x", "?limit=-1", "?limit=9999"]) expect(await search(odd)).toHaveLength(3);
    expect(await search("?q=no%5Fsuch%25thing")).toEqual([]);
  });

  it("is for the workspace itself and operators", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    expect((await call(`/workspaces/${agent.id}/session-search`, { token: other.token })).status).toBe(401);
    expect((await call(`/workspaces/${crypto.randomUUID()}/session-search`)).body).toEqual([]);
  });
});

describe("what the ledger holds of an inbox", () => {
  it("is every row once, bodies as they were written", async () => {
    const agent = await anAgent();
    await tell(agent, "one");
    await tell(agent, "two");
    await quiet(agent.id);
    const { body: rows } = await poll(agent);
    const mirrored = await ledger(
      "SELECT id, seq, request_body FROM activity_logs WHERE workspace_id = $1 ORDER BY seq DESC",
      [agent.id],
    );
    expect(
      mirrored.map((row) => ({ ...row, seq: Number(row.seq), request_body: JSON.parse(String(row.request_body)) })),
    ).toEqual(rows.map(({ id, seq, request_body }: Record<string, unknown>) => ({ id, seq, request_body })));
  });
});
