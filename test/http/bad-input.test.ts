import { describe, expect, it } from "vitest";
import { aMessage, anAgent, call, poll, send, tell } from "../support/platform.ts";

const MIB = 1024 * 1024;
const UNKNOWN_ID = "6f0b1a52-3a55-4c58-9d7c-0d3f5a3b2c11";
const BODIES_THAT_ARE_NO_OBJECTS = ["", " ", "{", "[]", '"text"', "7", "true", "null", "{}x"];
/** Every spelling of an id that is not the one in which objects are named. */
const otherSpellings = (id: string) => [
  id.toUpperCase(),
  `{${id}}`,
  id.replaceAll("-", ""),
  `urn:uuid:${id}`,
  `${id}%00`,
  `%20${id}`,
  "not-a-uuid",
  "%F0%9F%90%8E",
  "%zz",
];

/** Each route that reads a JSON body, as an agent calls it, and its refusal of what is no object. */
async function routesWithBodies() {
  const agent = await anAgent();
  const { id, token } = agent;
  return {
    agent,
    routes: [
      { path: "/registry/register", token, error: "invalid request body" },
      { path: "/registry/heartbeat", token, error: "invalid request body" },
      { path: "/registry/update-card", token, error: "invalid request body" },
      { path: "/registry/check-access", token, error: "invalid request body" },
      { path: `/workspaces/${id}/activity`, token, error: "invalid request body" },
      { path: `/workspaces/${id}/activity/ack`, token, error: "invalid request body" },
      { path: `/workspaces/${id}/notify`, token, error: "message is required" },
      { path: "/workspaces", token: undefined, error: "invalid workspace payload" },
    ],
  };
}

function posted(path: string, token: string | undefined, body: BodyInit) {
  return call(path, { body, method: "POST", ...(token === undefined ? {} : { token }) });
}

describe("a body that is no JSON object", () => {
  it("is 400 with the route's own text on every route, and leaves no row", async () => {
    const { agent, routes } = await routesWithBodies();
    for (const { path, token, error } of routes) {
      for (const body of BODIES_THAT_ARE_NO_OBJECTS) {
        const answer = await posted(path, token, body);
        expect(answer, `${path} ${body}`).toMatchObject({ status: 400, body: { error } });
      }
    }
    expect((await poll(agent, { type: "" })).body).toEqual([]);
  });

  it("is 400 `invalid JSON` as a message, null and the empty object apart", async () => {
    const agent = await anAgent();
    for (const body of ["", "{", "[]", '"text"', "7"]) {
      const answer = await posted(`/workspaces/${agent.id}/a2a`, undefined, body);
      expect(answer, body).toMatchObject({ status: 400, body: { error: "invalid JSON" } });
    }
    expect((await poll(agent)).body).toEqual([]);
  });
});

describe("a body that cannot be kept", () => {
  const UNSTORABLE = ['"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00x"', '"\\ud83d\\u0041"'];

  it("holds U+0000 or a lone surrogate: 400 everywhere, and no row", async () => {
    const { agent, routes } = await routesWithBodies();
    for (const text of UNSTORABLE) {
      for (const { path, token } of routes) {
        const body = `{"id":"${agent.id}","workspace_id":"${agent.id}","activity_type":"error","message":${text},"name":${text},"agent_card":{},"summary":${text}}`;
        const answer = await posted(path, token, body);
        expect(answer, `${path} ${text}`).toMatchObject({ status: 400, body: { code: "request.unstorable_text" } });
      }
      const message = `{"method":"message/send","params":{"message":{"parts":[{"kind":"text","text":${text}}]}}}`;
      expect((await posted(`/workspaces/${agent.id}/a2a`, undefined, message)).status).toBe(400);
    }
    expect((await poll(agent, { type: "" })).body).toEqual([]);
  });

  it("may hold an escaped backslash before u0000, a surrogate pair, and a U+FFFD", async () => {
    const agent = await anAgent();
    const message = '"\\\\u0000 \\ud83d\\ude00 \ufffd"';
    const answer = await posted(`/workspaces/${agent.id}/notify`, agent.token, `{"message":${message}}`);
    expect(answer.status).toBe(200);
    expect((await poll(agent)).body[0].response_body.result).toBe("\\u0000 😀 \ufffd");
  });

  it("is larger than 1 MiB: 413 on every route, with and without Content-Length, and no row", async () => {
    const { agent, routes } = await routesWithBodies();
    const large = `{"id":"${agent.id}","message":"${"x".repeat(MIB)}"}`;
    const messages = { path: `/workspaces/${agent.id}/a2a`, token: undefined, error: "" };
    for (const { path, token } of [...routes, messages]) {
      const declared = await posted(path, token, large);
      expect(declared, path).toMatchObject({ status: 413, body: { max_bytes: MIB, truncated: false } });
      expect(declared.body.error).toBe("request body too large");
      const chunked = await posted(path, token, inChunks(large));
      expect(chunked, path).toMatchObject({ status: 413, body: { max_bytes: MIB } });
    }
    expect((await poll(agent, { type: "" })).body).toEqual([]);
  });

  it("may be exactly 1 MiB, and comes back whole", async () => {
    const agent = await anAgent();
    const rest = JSON.stringify(aMessage("", "a-large-message")).length;
    const text = "y".repeat(MIB - rest);
    const sent = await call(`/workspaces/${agent.id}/a2a`, { json: aMessage(text, "a-large-message") });
    expect(sent.status).toBe(200);
    const { body: rows } = await poll(agent);
    expect(rows[0].request_body.params.message.parts[0].text === text).toBe(true);
  });
});

describe("a body without Content-Length", () => {
  it("is read like any other", async () => {
    const agent = await anAgent();
    const sent = await posted(
      `/workspaces/${agent.id}/a2a`,
      undefined,
      inChunks(JSON.stringify(aMessage("in pieces — é"))),
    );
    expect(sent.status).toBe(200);
    const { body: rows } = await poll(agent);
    expect(rows[0].request_body.params.message.parts[0].text).toBe("in pieces — é");
  });
});

describe("keys in another case", () => {
  it("are understood on every route, nested keys and free-form values untouched", async () => {
    const id = crypto.randomUUID();
    const registered = await call("/registry/register", {
      json: { ID: id, Delivery_Mode: "poll", Agent_Card: { Name: "Case" } },
    });
    expect(registered).toMatchObject({ status: 200, body: { delivery_mode: "poll" } });
    const agent = { id, token: registered.body.auth_token };
    const asAgent = (path: string, json: unknown) => call(path, { token: agent.token, json });
    expect((await asAgent("/registry/heartbeat", { WORKSPACE_ID: id, Current_Task: "sorting" })).status).toBe(200);
    expect((await asAgent("/registry/update-card", { Workspace_Id: id, AGENT_CARD: { Name: "New" } })).status).toBe(
      200,
    );
    const report = { Activity_Type: "agent_log", Request_Body: { Task: 1 }, RESPONSE_BODY: { Result: 2 } };
    expect((await asAgent(`/workspaces/${id}/activity`, report)).status).toBe(200);
    const words = { Message: "hi", Attachments: [{ URI: "file:///a", Name: "a", MimeType: "text/plain", SIZE: 1 }] };
    expect((await asAgent(`/workspaces/${id}/notify`, words)).status).toBe(200);

    const { body: rows } = await poll(agent, { type: "" });
    const [notified, logged] = rows;
    expect(logged).toMatchObject({ request_body: { Task: 1 }, response_body: { Result: 2 } });
    expect(notified.response_body).toEqual({
      result: "hi",
      parts: [{ kind: "file", file: { uri: "file:///a", name: "a", mimeType: "text/plain", size: 1 } }],
    });
    expect((await asAgent(`/workspaces/${id}/activity/ack`, { Acked_Seq: logged.seq })).body).toEqual({
      last_acked_seq: logged.seq,
    });
  });
});

describe("an id in another spelling than lower case with hyphens", () => {
  it("is 400 in every path, and names no object", async () => {
    const { id, token } = await anAgent();
    const paths = (spelling: string) => [
      `/workspaces/${spelling}`,
      `/workspaces/${spelling}/activity`,
      `/workspaces/${spelling}/session-search`,
      `/workspaces/${spelling}/tokens`,
      `/admin/workspaces/${spelling}/test-token`,
      `/registry/${spelling}/peers`,
    ];
    for (const spelling of otherSpellings(id)) {
      for (const path of paths(spelling)) {
        const answer = await call(path);
        expect(answer, path).toMatchObject({ status: 400, body: { error: "invalid workspace ID" } });
      }
      const discovered = await call(`/registry/discover/${spelling}`, { token, headers: { "X-Workspace-ID": id } });
      expect(discovered.status).toBe(400);
    }
  });

  it("is 400 in every body", async () => {
    const { id, token } = await anAgent();
    for (const spelling of [id.toUpperCase(), `{${id}}`, `urn:uuid:${id}`, "not-a-uuid"]) {
      for (const [path, key] of [
        ["/registry/register", "id"],
        ["/registry/heartbeat", "workspace_id"],
        ["/registry/update-card", "workspace_id"],
      ] as const) {
        const answer = await call(path, { token, json: { [key]: spelling, agent_card: {}, delivery_mode: "poll" } });
        expect(answer, `${path} ${spelling}`).toMatchObject({ status: 400, body: { error: "invalid workspace ID" } });
      }
    }
  });
});

describe("values that no storage can hold", () => {
  it("are refused with 400 where they are numbers out of range", async () => {
    const { id, token } = await anAgent();
    const asAgent = (path: string, json: unknown) => call(path, { token, json });
    const beat = (more: object) => asAgent("/registry/heartbeat", { workspace_id: id, ...more });
    for (const more of [
      { active_tasks: 1.5 },
      { active_tasks: "1" },
      { active_tasks: 2 ** 53 },
      { uptime_seconds: 0.1 },
      { monthly_spend: 1.25 },
      { error_rate: "high" },
      { current_task: 7 },
      { runtime_metadata: [] },
    ]) {
      expect(await beat(more), JSON.stringify(more)).toMatchObject({
        status: 400,
        body: { error: "invalid request body" },
      });
    }
    expect((await posted("/registry/heartbeat", token, `{"workspace_id":"${id}","error_rate":1e999}`)).status).toBe(
      400,
    );
    const create = (more: object) => call("/workspaces", { json: { name: "n", runtime: "external", ...more } });
    for (const more of [
      { tier: 2 ** 31 },
      { tier: 1.5 },
      { budget_limit: 1e300 },
      { budget_limit: -0.5 },
      { max_concurrent_tasks: 2 ** 53 },
    ]) {
      expect(await create(more), JSON.stringify(more)).toMatchObject({
        status: 400,
        body: { error: "invalid workspace payload" },
      });
    }
  });

  it("are taken where they are only odd: a start long ago, a long error text, a huge spend", async () => {
    const { id, token } = await anAgent();
    const answer = await call("/registry/heartbeat", {
      token,
      json: {
        workspace_id: id,
        uptime_seconds: Number.MAX_SAFE_INTEGER,
        active_tasks: -3,
        monthly_spend: 9e15,
        sample_error: "é".repeat(10_000),
        current_task: "🐎".repeat(10_000),
        runtime_state: "r".repeat(1_000),
      },
    });
    expect(answer).toMatchObject({ status: 200, body: { status: "ok" } });
    const { body: all } = await call("/workspaces");
    const entry = all.find((workspace: { id: string }) => workspace.id === id);
    expect(entry.uptime_seconds).toBeGreaterThanOrEqual(0);
  });

  it("may be a card of a quarter mebibyte, not a larger one nor one that nests deeply", async () => {
    const quotes = '"'.repeat(130_000);
    const large = await anAgent({ agent_card: { name: quotes } });
    expect((await call(`/workspaces/${large.id}`)).body.agent_card.name).toBe(quotes);
    const id = crypto.randomUUID();
    const larger = { id, delivery_mode: "poll", agent_card: { name: "x".repeat(256 * 1024) } };
    expect(await call("/registry/register", { json: larger })).toMatchObject({
      status: 413,
      body: { error: "request body too large", field: "agent_card", max_bytes: 256 * 1024 },
    });
    const nested = `{"id":"${id}","delivery_mode":"poll","agent_card":${"[".repeat(1_500)}${"]".repeat(1_500)}}`;
    const deep = await posted("/registry/register", undefined, nested);
    expect(deep.status).toBe(400);
    expect((await call(`/workspaces/${id}`)).status).toBe(404);
  });

  it("in a query are 400 or find nothing, never a crash", async () => {
    const agent = await anAgent();
    const { id, token } = agent;
    const read = (query: string) => call(`/workspaces/${id}/activity?${query}`, { token });
    expect((await read("type=%00")).body).toEqual([]);
    expect((await read("type=%E6%97%A5%E6%9C%AC&wait=0")).body).toEqual([]);
    expect(await read("since_id=%E6%97%A5%E6%9C%AC&wait=1")).toMatchObject({ status: 410 });
    expect(await read("since_id=%00")).toMatchObject({ status: 410 });
    expect(await read("ack=%E6%97%A5")).toMatchObject({ status: 200 });
    const search = await call(`/workspaces/${id}/session-search?q=%00`, { token });
    expect(search).toMatchObject({ status: 400, body: { code: "request.unstorable_text" } });
    expect((await call(`/registry/${id}/peers?q=%00`, { token })).body).toEqual([]);
  });
});

describe("a query that is too long to be of any use", () => {
  it("is answered like any that matches nothing, held or not, and opens a socket that stays silent", async () => {
    const agent = await anAgent();
    await tell(agent, "hello");
    const long = "x".repeat(17_000);
    const read = (query: string) => call(`/workspaces/${agent.id}/activity?${query}`, { token: agent.token });
    for (const wait of ["0", "1"]) {
      expect(await read(`type=${long}&wait=${wait}`), wait).toMatchObject({ status: 200, text: "[]" });
      expect((await read(`since_id=${long}&wait=${wait}`)).status).toBe(410);
      expect((await read(`ack=${long}&wait=${wait}`)).body).toHaveLength(1);
      expect((await read(`peer_id=${long}&wait=${wait}`)).body.error).toBe("peer_id must be a UUID");
    }
    const headers = { Upgrade: "websocket" };
    const path = `/workspaces/${agent.id}/inbox/socket?type=${long}&ack=${long}`;
    const { status, webSocket } = await send(path, { token: agent.token, headers });
    expect(status).toBe(101);
    webSocket?.accept();
    webSocket?.close();
  });
});

describe("a missing field", () => {
  it("is 400 with the route's text", async () => {
    const { id, token } = await anAgent();
    const cases = [
      ["/registry/register", { agent_card: {} }, "invalid request body"],
      ["/registry/register", { id }, "invalid request body"],
      ["/registry/register", { id: "", agent_card: {} }, "invalid request body"],
      ["/registry/register", { id, agent_card: {}, delivery_mode: "pull" }, "delivery_mode must be 'push' or 'poll'"],
      ["/registry/register", { id, agent_card: {}, delivery_mode: 7 }, "invalid request body"],
      ["/registry/heartbeat", { id }, "invalid request body"],
      ["/registry/update-card", { workspace_id: id }, "invalid request body"],
      ["/registry/check-access", { caller_id: id }, "invalid request body"],
      [`/workspaces/${id}/activity`, {}, "invalid request body"],
      [`/workspaces/${id}/activity`, { activity_type: "" }, "invalid request body"],
      [`/workspaces/${id}/activity`, { activity_type: "error", duration_ms: 1.5 }, "invalid request body"],
      [`/workspaces/${id}/activity/ack`, {}, "acked_seq is required"],
      [`/workspaces/${id}/activity/ack`, { acked_seq: -1 }, "acked_seq must be >= 0"],
      [`/workspaces/${id}/notify`, {}, "message is required"],
      [`/workspaces/${id}/notify`, { message: "" }, "message is required"],
      [`/workspaces/${id}/notify`, { message: 7 }, "message is required"],
      [
        `/workspaces/${id}/notify`,
        { message: "m", attachments: [{ uri: "u" }] },
        "attachment[0]: uri and name are required",
      ],
      ["/workspaces", { role: "r" }, "invalid workspace payload"],
      ["/workspaces", { name: "" }, "invalid workspace payload"],
      ["/workspaces", { name: "n", delivery_mode: "pull" }, "delivery_mode must be 'push' or 'poll'"],
    ] as const;
    for (const [path, json, error] of cases) {
      expect(
        await call(path, { token: path === "/workspaces" ? "" : token, json }),
        `${path} ${JSON.stringify(json)}`,
      ).toMatchObject({
        status: 400,
        body: { error },
      });
    }
  });

  it("leaves no workspace behind when a registration was refused", async () => {
    const id = crypto.randomUUID();
    await call("/registry/register", { json: { id, agent_card: {}, delivery_mode: "push" } });
    await call("/registry/register", { json: { id, delivery_mode: "poll" } });
    expect((await call(`/workspaces/${id}`)).status).toBe(404);
  });
});

describe("an unknown workspace", () => {
  it("is 404 for an operator, and an empty feed and no tokens where the contract says so", async () => {
    expect(await call(`/workspaces/${UNKNOWN_ID}`)).toMatchObject({
      status: 404,
      body: { error: "workspace not found" },
    });
    expect(await call(`/workspaces/${UNKNOWN_ID}/activity`)).toMatchObject({ status: 200, body: [] });
    expect((await call(`/workspaces/${UNKNOWN_ID}/tokens`)).body).toEqual({ tokens: [], count: 0 });
    for (const [path, json] of [
      ["activity", { activity_type: "error" }],
      ["activity/ack", { acked_seq: 1 }],
      ["notify", { message: "hi" }],
      ["a2a", aMessage("hi")],
      ["tokens", {}],
    ] as const) {
      const answer = await call(`/workspaces/${UNKNOWN_ID}/${path}`, { json });
      expect(answer, path).toMatchObject({ status: 404, body: { error: "workspace not found" } });
    }
    expect((await call(`/workspaces/${UNKNOWN_ID}/activity?wait=1`)).status).toBe(404);
  });
});

function inChunks(text: string): ReadableStream<Uint8Array> {
  const bytes = new TextEncoder().encode(text);
  let at = 0;
  return new ReadableStream({
    pull(controller) {
      // Uneven, so that characters of several bytes are cut.
      const end = Math.min(at + Math.max(7, Math.ceil(bytes.length / 9)), bytes.length);
      controller.enqueue(bytes.subarray(at, end));
      at = end;
      if (at === bytes.length) controller.close();
    },
  });
}
