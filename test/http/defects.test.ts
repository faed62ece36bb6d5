import { env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aFamily, aRemovedAgent, aWorkspace, remove } from "../support/client-tree.ts";
import { away, back, FILE_LANE } from "../support/ledger.ts";
import { type Agent, aMessage, anAgent, BASE, call, poll, send, tell } from "../support/platform.ts";

// Defects of the original that users met (contract, sections 8 to 10), each by its number or name there, where the
// routes of registry, inbox and edge touch them. What another file shows in full is not shown again.

afterEach(() => {
  vi.useRealTimers();
});

function register(json: Record<string, unknown>, token?: string) {
  return call("/registry/register", { json: { agent_card: {}, ...json }, ...(token === undefined ? {} : { token }) });
}

function words(row: { request_body: { params: { message: { parts: { text: string }[] } } } }): string {
  return row.request_body.params.message.parts.map(({ text }) => text).join("");
}

describe("traps of section 8", () => {
  it("1: the list is a bare array whose order turns with since_id", async () => {
    const agent = await anAgent();
    for (const text of ["a", "b", "c"]) await tell(agent, text);
    const descending = (await poll(agent)).body;
    expect(Array.isArray(descending)).toBe(true);
    expect(descending.map(words)).toEqual(["c", "b", "a"]);
    expect((await poll(agent, { since_id: descending[2].id })).body.map(words)).toEqual(["b", "c"]);
  });

  it("2, 3: an unknown cursor, such as a random one of the old server, is 410", async () => {
    const agent = await anAgent();
    for (let times = 0; times < 5; times++) {
      expect((await poll(agent, { since_id: crypto.randomUUID() })).status).toBe(410);
    }
  });

  it("4: cursors are opaque UUIDs whose order is the inbox's", async () => {
    const agent = await anAgent();
    await Promise.all(Array.from({ length: 10 }, (_, number) => tell(agent, String(number))));
    const ids = (await poll(agent)).body.map((row: { id: string }) => row.id);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(ids).toEqual([...ids].sort().reverse());
  });

  it("5: the queued envelope keeps its three keys, and adds only what clients tolerate", async () => {
    const { headers, body } = await tell(await anAgent(), "hi");
    expect(headers.get("content-type")).toMatch(/^application\/json/);
    expect(Object.keys(body)).toEqual(["status", "delivery_mode", "method", "activity_id"]);
  });

  it("6: bodies in rows are JSON, absent where there is none", async () => {
    const agent = await anAgent();
    await tell(agent, "hi");
    const { text, body } = await poll(agent);
    expect(body[0].request_body).toBeTypeOf("object");
    expect(body[0]).not.toHaveProperty("response_body");
    expect(text).not.toContain('_body":null');
  });

  it("8: a token is shown once; whoever registers with one is shown none", async () => {
    const agent = await anAgent();
    const again = await register({ id: agent.id, delivery_mode: "poll" }, agent.token);
    expect(again.body).not.toHaveProperty("auth_token");
  });

  it("9: an Origin on a call that is no browser's is never refused", async () => {
    const agent = await anAgent();
    for (const Origin of [BASE, `${BASE}/`, `${BASE}/some/path`, "null", "https://elsewhere.example"]) {
      const answer = await call(`/workspaces/${agent.id}/activity`, { token: agent.token, headers: { Origin } });
      expect(answer.status, Origin).toBe(200);
    }
  });

  it("10: a wrong bearer is 401 in every mode and never falls through to the open one", async () => {
    const agent = await anAgent();
    for (const path of [`/workspaces/${agent.id}/activity`, `/workspaces/${agent.id}/tokens`, "/workspaces"]) {
      expect((await call(path)).status, path).toBe(200);
      expect((await call(path, { token: "wrong" })).status, path).toBe(401);
    }
  });

  it("11: another workspace's bearer on this one's URL is 401", async () => {
    const [agent, other] = await Promise.all([anAgent(), anAgent()]);
    expect((await poll({ id: agent.id, token: other.token })).status).toBe(401);
  });

  it("14, 15: notify tolerates foreign keys, a heartbeat needs only its id", async () => {
    const { id, token } = await anAgent();
    expect(
      (await call(`/workspaces/${id}/notify`, { token, json: { message: "m", type: "x", more: [] } })).status,
    ).toBe(200);
    expect((await call("/registry/heartbeat", { token, json: { workspace_id: id } })).status).toBe(200);
  });

  it("21: nothing is 401 because the ledger is away", async () => {
    const agent = await anAgent();
    await away(FILE_LANE);
    try {
      expect((await tell(agent, "meanwhile")).status).toBe(200);
      expect((await poll(agent)).body).toHaveLength(1);
      expect((await call("/registry/heartbeat", { token: agent.token, json: { workspace_id: agent.id } })).status).toBe(
        200,
      );
      const created = await aWorkspace();
      expect((await call(`/workspaces/${created.id}`)).status).toBe(200);
      expect(await call(`/workspaces/${agent.id}/session-search`, { token: agent.token })).toMatchObject({
        status: 503,
        body: { error: "platform datastore unavailable — retry shortly", code: "platform_unavailable" },
      });
    } finally {
      await back(FILE_LANE);
    }
  });

  it("25: a token is one opaque, header-safe word", async () => {
    const { token } = await anAgent();
    expect(token).toMatch(/^[0-9A-Za-z_]+$/);
  });
});

describe("complaints of section 9", () => {
  it("#2382: an external workspace polls by default, awaits its agent, and gets what is sent before it came", async () => {
    const agent = await aWorkspace();
    expect((await tell(agent, "early")).body).toMatchObject({ status: "queued", delivery_mode: "poll" });
    expect((await poll(agent)).body.map(words)).toEqual(["early"]);
  });

  it("#2425, #2429: the agent of a removed workspace is told so, and no path still serves it", async () => {
    const agent = await aRemovedAgent();
    const gone = await call(`/workspaces/${agent.id}`, { token: agent.token });
    expect(gone.status).toBe(410);
    expect(Object.keys(gone.body)).toEqual(expect.arrayContaining(["error", "id", "removed_at", "hint"]));
    const beat = await call("/registry/heartbeat", { token: agent.token, json: { workspace_id: agent.id } });
    expect(beat.status).toBe(401);
    expect(beat.text).not.toContain("platform_inbound_secret");
    expect((await tell(agent, "hello?")).status).toBe(410);
  });

  it("#2469, internal#469: own words and reports are hidden from whoever asks for mail only", async () => {
    const agent = await anAgent();
    const path = `/workspaces/${agent.id}`;
    await call(`${path}/notify`, { token: agent.token, json: { message: "to the user" } });
    const report = { activity_type: "a2a_receive", method: "message/send", request_body: { task: "t" } };
    await call(`${path}/activity`, { token: agent.token, json: report });
    await tell(agent, "mail");
    expect((await poll(agent, { direction: "in" })).body.map(words)).toEqual(["mail"]);
    expect((await poll(agent)).body).toHaveLength(3);
  });

  it("#2962: a text of any script is kept whole, its summary cut between characters", async () => {
    const agent = await anAgent();
    const text = "👩‍👩‍👧‍👦漢字 ".repeat(60);
    await tell(agent, text);
    await call(`/workspaces/${agent.id}/notify`, { token: agent.token, json: { message: text } });
    const [notified, received] = (await poll(agent)).body;
    expect(words(received)).toBe(text);
    expect(notified.summary.isWellFormed()).toBe(true);
    expect(notified.response_body.result).toBe(text);
  });

  it("(activity seq): messages of one moment are all delivered after any of them", async () => {
    const agent = await anAgent();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
    for (let number = 0; number < 6; number++) await tell(agent, String(number));
    const rows = (await poll(agent)).body.toReversed();
    expect(new Set(rows.map((row: { created_at: string }) => row.created_at)).size).toBe(6);
    for (const [index, { id }] of rows.entries()) {
      expect((await poll(agent, { since_id: id })).body).toHaveLength(5 - index);
    }
  });

  it("(seq not projected): every row shows the seq that an ack wants", async () => {
    const agent = await anAgent();
    await tell(agent, "hi");
    const [{ seq }] = (await poll(agent)).body;
    const acked = await call(`/workspaces/${agent.id}/activity/ack`, { token: agent.token, json: { acked_seq: seq } });
    expect(acked.body).toEqual({ last_acked_seq: seq });
  });

  it("internal#471: a queued message is readable the moment the answer is there", async () => {
    const agent = await anAgent();
    for (let number = 0; number < 5; number++) {
      const { body } = await tell(agent, String(number));
      expect((await poll(agent, { limit: "1" })).body[0].id).toBe(body.activity_id);
    }
  });

  it("core#2677: a message beyond the limit is refused, never cut", async () => {
    const agent = await anAgent();
    const answer = await tell(agent, "x".repeat(1024 * 1024));
    expect(answer).toMatchObject({ status: 413, body: { truncated: false, max_bytes: 1024 * 1024 } });
    expect((await poll(agent)).body).toEqual([]);
  });

  it("core#2677: one of 600 KiB, which lies in R2, comes back whole", async () => {
    const agent = await anAgent();
    const text = `${"x".repeat(600 * 1024)}end`;
    expect((await tell(agent, text)).status).toBe(200);
    await tell(agent, "and a small one");
    const rows = (await poll(agent)).body;
    expect(rows.map(words).map((each: string) => each.slice(-15))).toEqual(["and a small one", `${"x".repeat(12)}end`]);
    expect(words(rows[1]) === text).toBe(true);
  });

  it("#2251: parts keyed `type` reach the agent as they were written", async () => {
    const agent = await anAgent();
    const parts = [{ type: "text", text: "old style" }];
    await call(`/workspaces/${agent.id}/a2a`, { json: { method: "message/send", params: { message: { parts } } } });
    expect((await poll(agent)).body[0].request_body.params.message.parts).toEqual(parts);
  });

  it("channel repo #24: an agent that only polls stays online", async () => {
    const agent = await anAgent();
    for (let minutes = 0; minutes < 5; minutes++) {
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
      await poll(agent);
    }
    expect((await call(`/workspaces/${agent.id}`)).body.status).toBe("online");
  });

  it("(WAF): no route depends on an Origin", async () => {
    const agent = await anAgent();
    const response = await send(`/workspaces/${agent.id}/activity`, { token: agent.token });
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toMatch(/json/);
  });

  it("#684: a workspace's token is never an operator's, even where no ADMIN_TOKEN is set", async () => {
    const { token } = await anAgent();
    for (const deployment of [aDeployment({ ADMIN_TOKEN: "" }), aDeployment(), { call }]) {
      expect((await deployment.call("/workspaces", { token })).status).toBe(401);
    }
    expect((await aDeployment({ ADMIN_TOKEN: "" }).call("/workspaces")).status).toBe(401);
  });

  it("#761, #169: a forged caller and another's source are refused", async () => {
    const [agent, peer] = await Promise.all([anAgent(), anAgent()]);
    const headers = { "X-Workspace-ID": "system:cron" };
    expect((await call(`/workspaces/${agent.id}/a2a`, { headers, json: aMessage("hi") })).status).toBe(403);
    const json = { activity_type: "agent_log", source_id: peer.id };
    expect((await call(`/workspaces/${agent.id}/activity`, { token: agent.token, json })).status).toBe(403);
    expect((await poll(agent, { type: "" })).body).toEqual([]);
  });

  it("#351: a workspace without live tokens is open to nobody", async () => {
    const agent = await anAgent();
    const [{ id }] = (await call(`/workspaces/${agent.id}/tokens`)).body.tokens;
    await call(`/workspaces/${agent.id}/tokens/${id}`, { method: "DELETE" });
    expect((await register({ id: agent.id, delivery_mode: "poll" })).status).toBe(401);
    expect((await call("/registry/heartbeat", { json: { workspace_id: agent.id } })).status).toBe(401);
    expect((await aDeployment().call(`/workspaces/${agent.id}/activity`)).status).toBe(401);
  });

  it("(duplicate imports): a name is taken once among siblings, also under a burst", async () => {
    const parent = await aWorkspace();
    const made = await Promise.all(Array.from({ length: 5 }, () => aWorkspace({ parent, name: "twin" })));
    expect(made.map(({ name }) => name).sort()).toEqual(["twin", "twin (2)", "twin (3)", "twin (4)", "twin (5)"]);
  });

  it("#1784: a new workspace is visible at once, to the list, the view and its own token", async () => {
    const agent = await aWorkspace();
    const { body } = await call("/workspaces");
    expect(body.map((workspace: { id: string }) => workspace.id)).toContain(agent.id);
    expect((await call(`/workspaces/${agent.id}`)).status).toBe(200);
    expect((await poll(agent)).status).toBe(200);
  });
});

describe("security observations of section 10", () => {
  const closed = aDeployment();

  it("1: a stranger cannot register a new id on a closed deployment", async () => {
    const id = crypto.randomUUID();
    const json = { id, delivery_mode: "poll", agent_card: {} };
    expect((await closed.call("/registry/register", { json })).status).toBe(401);
    expect((await call(`/workspaces/${id}`)).status).toBe(404);
  });

  it("2: no inbound secret is shown without a proven token", async () => {
    const agent = await aWorkspace();
    const answers = [
      await register({ id: agent.id, delivery_mode: "poll" }),
      await register({ id: agent.id, delivery_mode: "poll" }, "wrong"),
      await call("/registry/heartbeat", { json: { workspace_id: agent.id } }),
      await call(`/workspaces/${agent.id}`),
      await call("/workspaces"),
    ];
    for (const { text } of answers) expect(text).not.toContain("inbound_secret");
  });

  it("3: a message without a valid bearer is 401, also with X-Workspace-ID = the target", async () => {
    const agent = await anAgent();
    const path = `/workspaces/${agent.id}/a2a`;
    for (const options of [{}, { token: "wrong" }, { headers: { "X-Workspace-ID": agent.id } }]) {
      expect((await closed.call(path, { ...options, json: aMessage("hi") })).status).toBe(401);
    }
    expect((await poll(agent)).body).toEqual([]);
  });

  it("4: an Origin or Referer of the platform itself is no credential", async () => {
    const agent = await anAgent();
    for (const headers of [
      { Origin: BASE },
      { Referer: `${BASE}/` },
      { Origin: BASE, Referer: `${BASE}/canvas` },
    ] as Record<string, string>[]) {
      expect((await closed.call(`/workspaces/${agent.id}/activity`, { headers })).status).toBe(401);
      expect((await closed.call("/workspaces", { headers })).status).toBe(401);
    }
  });

  it("5: check-access needs a token, and a workspace asks only about itself", async () => {
    const { parent, child, stranger } = await aFamily();
    const ask = (options: object, caller: Agent, target: Agent) =>
      closed.call("/registry/check-access", { ...options, json: { caller_id: caller.id, target_id: target.id } });
    expect((await ask({}, parent, child)).status).toBe(401);
    expect((await ask({ token: stranger.token }, parent, child)).body).toEqual({ allowed: false });
    expect((await ask({ token: ADMIN_TOKEN }, parent, child)).body).toEqual({ allowed: true });
  });

  it("6: the public view has no money, task, error or path in it", async () => {
    const agent = await aWorkspace({ workspace_dir: "/home/agent/secret", budget_limit: 12_345 });
    const json = { workspace_id: agent.id, current_task: "secret task", sample_error: "secret error", error_rate: 0.7 };
    await call("/registry/heartbeat", { token: agent.token, json });
    const { text } = await call(`/workspaces/${agent.id}`);
    for (const word of ["secret", "12345"]) expect(text).not.toContain(word);
  });

  it("10: whoever may not reach a workspace learns nothing of it", async () => {
    const { child, stranger } = await aFamily();
    const removed = await aWorkspace();
    await remove(removed);
    const targets = [stranger.id, removed.id, crypto.randomUUID()];
    const answers = await Promise.all(
      targets.map((id) => call(`/workspaces/${id}/a2a`, { token: child.token, json: aMessage("hi") })),
    );
    const seen = answers.map(({ status, body }) => JSON.stringify([status, { ...body, request_id: "" }]));
    expect(new Set(seen).size).toBe(1);
  });

  it("12: test tokens are off in production, under both of its names, unless switched on", async () => {
    const { id } = await anAgent();
    for (const MOLECULE_ENV of ["production", "prod"]) {
      const production = aDeployment({ MOLECULE_ENV });
      const path = `/admin/workspaces/${id}/test-token`;
      expect((await production.call(path, { token: ADMIN_TOKEN })).status).toBe(404);
      expect((await production.call(path)).status).toBe(404);
    }
  });

  it("a crash tells nobody what broke", async () => {
    const secret = "postgres://user:word@host";
    const broken = {
      getByName: () => ({ list: () => Promise.reject(new Error(secret)) }),
    };
    const answer = await aDeployment({ DIRECTORY: broken }).call("/workspaces", { token: ADMIN_TOKEN });
    expect(answer).toMatchObject({ status: 500, body: { error: "internal error", request_id: expect.any(String) } });
    expect(answer.text).not.toContain(secret);
  });

  it("an overloaded object is 503 with Retry-After", async () => {
    const overloaded = Object.assign(new Error("too much"), { overloaded: true, retryable: true });
    const busy = { getByName: () => ({ list: () => Promise.reject(overloaded) }) };
    const answer = await aDeployment({ DIRECTORY: busy }).call("/workspaces", { token: ADMIN_TOKEN });
    expect(answer).toMatchObject({ status: 503, body: { code: "overloaded" } });
    expect(answer.headers.get("retry-after")).toBe("2");
  });

  it("an object whose schema is newer than its code is 503 and writes nothing", async () => {
    const agent = await anAgent();
    const workspace = env.WORKSPACE.get(env.WORKSPACE.idFromName(agent.id));
    await runInDurableObject(workspace, (_instance, { storage }) => {
      storage.sql.exec("INSERT INTO schema_steps (id) VALUES (9999)");
    });
    await evictDurableObject(workspace);
    for (const answer of [await poll(agent), await tell(agent, "hi")]) {
      expect(answer).toMatchObject({ status: 503, body: { code: "schema.ahead" } });
      expect(answer.headers.get("retry-after")).toBe("10");
    }
    await runInDurableObject(workspace, (_instance, { storage }) => {
      storage.sql.exec("DELETE FROM schema_steps WHERE id = 9999");
    });
    await evictDurableObject(workspace);
    expect((await poll(agent)).body).toEqual([]);
  });
});
