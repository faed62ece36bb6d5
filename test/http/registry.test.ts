import { env, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aRemovedAgent, aWorkspace } from "../support/client-tree.ts";
import { query } from "../support/ledger.ts";
import { type Agent, anAgent, call, poll } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const MINUTES = 60_000;

function register(json: Record<string, unknown>, token?: string) {
  return call("/registry/register", {
    json: { agent_card: { name: "a" }, ...json },
    ...(token === undefined ? {} : { token }),
  });
}

function beat({ id, token }: Agent, more: Record<string, unknown> = {}) {
  return call("/registry/heartbeat", { token, json: { workspace_id: id, ...more } });
}

async function statusOf({ id }: Agent): Promise<string> {
  return (await call(`/workspaces/${id}`)).body.status;
}

/** The recorded events of a workspace, as the ledger holds them. */
async function recordedEvents({ id }: Agent): Promise<[string, unknown][]> {
  await quiet(id);
  const rows = await query(
    "SELECT event_type, payload FROM structure_events WHERE workspace_id = $1 ORDER BY version",
    [id],
  );
  return rows.map((row) => [String(row.event_type), JSON.parse(String(row.payload))]);
}

function tokensOf(agent: Agent) {
  return call(`/workspaces/${agent.id}/tokens`);
}

afterEach(() => {
  vi.useRealTimers();
});

describe("registering an unknown id", () => {
  it("makes an external workspace named by its id, online, with a token shown once", async () => {
    const id = crypto.randomUUID();
    const answer = await register({ id, delivery_mode: "poll" });
    expect(answer.status).toBe(200);
    expect(answer.text).toContain('"status":"registered"');
    expect(Object.keys(answer.body).sort()).toEqual([
      "auth_token",
      "delivery_mode",
      "platform_inbound_secret",
      "status",
    ]);
    expect(answer.body.auth_token).toMatch(/^mol_[0-9A-Za-z]{71}$/);
    expect(answer.body.platform_inbound_secret).toMatch(/^[\w-]{43}$/);
    expect((await call(`/workspaces/${id}`)).body).toMatchObject({
      name: id,
      status: "online",
      runtime: "external",
      tier: 1,
      parent_id: null,
      agent_card: { name: "a" },
    });
  });

  it("polls without a URL and is pushed to with one, unless the body says otherwise", async () => {
    expect((await register({ id: crypto.randomUUID() })).body.delivery_mode).toBe("poll");
    const url = "https://agent.example.com/a2a";
    expect((await register({ id: crypto.randomUUID(), url })).body.delivery_mode).toBe("push");
    expect((await register({ id: crypto.randomUUID(), url, delivery_mode: "poll" })).body.delivery_mode).toBe("poll");
    expect(await register({ id: crypto.randomUUID(), delivery_mode: "push" })).toMatchObject({
      status: 400,
      body: { error: "url is required for push-mode workspaces" },
    });
  });

  it("records WORKSPACE_ONLINE with card and mode, and the url where there is one", async () => {
    const polled = await anAgent({ agent_card: { name: "b", big: 1 } });
    expect(await recordedEvents(polled)).toEqual([
      ["WORKSPACE_ONLINE", { agent_card: { name: "b", big: 1 }, delivery_mode: "poll" }],
    ]);
    const url = "https://agent.example.com/a2a";
    const pushed = await anAgent({ url, delivery_mode: "push" });
    expect(await recordedEvents(pushed)).toEqual([
      ["WORKSPACE_ONLINE", { url, agent_card: { name: "agent", skills: [] }, delivery_mode: "push" }],
    ]);
  });

  it("keeps a card as it was written, whatever it is", async () => {
    for (const card of ["null", '"text"', "[1]", '{"z":12345678901234567890,"a":1}']) {
      const id = crypto.randomUUID();
      const body = `{"id":"${id}","delivery_mode":"poll","agent_card":${card}}`;
      expect((await call("/registry/register", { body, method: "POST" })).status).toBe(200);
      expect((await call(`/workspaces/${id}`)).text).toContain(`"agent_card":${card}`);
    }
  });

  it("needs an operator's bearer outside dev mode, or OPEN_REGISTRATION", async () => {
    const json = () => ({ id: crypto.randomUUID(), delivery_mode: "poll", agent_card: {} });
    const closed = aDeployment();
    expect(await closed.call("/registry/register", { json: json() })).toMatchObject({
      status: 401,
      body: { error: "missing workspace auth token" },
    });
    expect((await closed.call("/registry/register", { json: json(), token: "wrong" })).status).toBe(401);
    const { token } = await anAgent();
    expect((await closed.call("/registry/register", { json: json(), token })).status).toBe(401);
    const asOperator = await closed.call("/registry/register", { json: json(), token: ADMIN_TOKEN });
    expect(asOperator).toMatchObject({ status: 200, body: { status: "registered" } });
    const open = aDeployment({ OPEN_REGISTRATION: "1" });
    expect((await open.call("/registry/register", { json: json() })).body.auth_token).toBeTruthy();
  });
});

describe("push URLs", () => {
  it("are refused with the contract's texts, and nothing is created", async () => {
    const refused = [
      ["ftp://agent.example.com", 'url scheme must be http or https, got "ftp"'],
      ["agent.example.com", 'url scheme must be http or https, got ""'],
      ["file:///etc/passwd", 'url scheme must be http or https, got "file"'],
      ["http://169.254.169.254/latest", "url targets a blocked address: cloud metadata"],
      ["http://169.254.1.1", "url targets a blocked address: link-local"],
      ["http://[fe80::1]", "url targets a blocked address: link-local"],
      ["http://2852039166", "url targets a blocked address: cloud metadata"],
      ["http://0xa9.0xfe.0xa9.0xfe", "url targets a blocked address: cloud metadata"],
      ["http://[::ffff:169.254.169.254]", "url targets a blocked address: cloud metadata"],
      ["http://user:word@agent.example.com", "url is not valid: must not carry a user name or password"],
    ] as const;
    for (const [url, error] of refused) {
      const id = crypto.randomUUID();
      expect(await register({ id, url, delivery_mode: "push" }), url).toMatchObject({ status: 400, body: { error } });
      expect((await call(`/workspaces/${id}`)).status).toBe(404);
    }
  });

  it("may be loopback and private ones in open dev mode only", async () => {
    for (const url of ["http://127.0.0.1:9000", "http://localhost:9000", "http://10.0.0.5", "http://[::1]:9000"]) {
      expect((await register({ id: crypto.randomUUID(), url })).status, url).toBe(200);
      const closed = await aDeployment().call("/registry/register", {
        token: ADMIN_TOKEN,
        json: { id: crypto.randomUUID(), url, agent_card: {} },
      });
      expect(closed, url).toMatchObject({ status: 400, body: { code: "registry.url_blocked" } });
    }
  });

  it("must name a host on a deployed Worker, with a hint", async () => {
    const answer = await aDeployment().call("/registry/register", {
      token: ADMIN_TOKEN,
      json: { id: crypto.randomUUID(), url: "http://93.184.216.34/a2a", agent_card: {} },
    });
    expect(answer).toMatchObject({
      status: 400,
      body: { error: "url is not valid: must name a host, not an IP address" },
    });
    expect(answer.body.hint).toContain("tunnel");
  });

  it("are not looked at for an agent that polls", async () => {
    const id = crypto.randomUUID();
    const answer = await register({ id, url: "http://169.254.169.254/", delivery_mode: "poll" });
    expect(answer).toMatchObject({ status: 200, body: { delivery_mode: "poll" } });
  });

  it("are checked again when a known workspace registers", async () => {
    const agent = await anAgent();
    const answer = await register({ id: agent.id, url: "http://169.254.169.254/", delivery_mode: "push" }, agent.token);
    expect(answer).toMatchObject({ status: 400, body: { error: "url targets a blocked address: cloud metadata" } });
    expect((await call(`/workspaces/${agent.id}`)).body.url).toBe("");
  });
});

describe("registering again", () => {
  it("needs the workspace's own token, in every mode", async () => {
    const agent = await anAgent();
    const other = await anAgent();
    const again = { id: agent.id, delivery_mode: "poll", agent_card: { name: "changed" } };
    expect(await register(again)).toMatchObject({ status: 401, body: { error: "missing workspace auth token" } });
    for (const token of ["wrong", other.token]) {
      expect(await register(again, token)).toMatchObject({
        status: 401,
        body: { error: "invalid workspace auth token" },
      });
    }
    const operator = await aDeployment().call("/registry/register", { json: again, token: ADMIN_TOKEN });
    expect(operator.status).toBe(401);
    expect((await call(`/workspaces/${agent.id}`)).body.agent_card.name).toBe("agent");
  });

  it("with it changes the card and the mode, and shows no token", async () => {
    const agent = await anAgent();
    const answer = await register({ id: agent.id, agent_card: { name: "changed" } }, agent.token);
    expect(answer).toMatchObject({ status: 200, body: { delivery_mode: "poll" } });
    expect(answer.body).not.toHaveProperty("auth_token");
    expect((await call(`/workspaces/${agent.id}`)).body.agent_card.name).toBe("changed");
    const url = "https://agent.example.com";
    const pushed = await register({ id: agent.id, url, delivery_mode: "push" }, agent.token);
    expect(pushed.body.delivery_mode).toBe("push");
    expect((await register({ id: agent.id, url }, agent.token)).body.delivery_mode).toBe("push");
    expect(await register({ id: agent.id }, agent.token)).toMatchObject({
      status: 400,
      body: { error: "url is required for push-mode workspaces" },
    });
  });

  it("gives the same answer again, with a fresh token, when the first one was lost", async () => {
    const id = crypto.randomUUID();
    const lost = await register({ id, delivery_mode: "poll" });
    const again = await register({ id, delivery_mode: "poll" });
    expect(again.status).toBe(200);
    expect(again.body.auth_token).not.toBe(lost.body.auth_token);
    expect((await beat({ id, token: lost.body.auth_token })).status).toBe(401);
    expect((await beat({ id, token: again.body.auth_token })).status).toBe(200);
    expect((await tokensOf({ id, token: "" })).body.count).toBe(1);
  });

  it("does not when the token was used, the card differs, or ten minutes have passed", async () => {
    const used = await anAgent({ agent_card: { name: "a" } });
    expect((await poll(used)).status).toBe(200);
    expect((await register({ id: used.id, delivery_mode: "poll" })).status).toBe(401);

    const differs = await anAgent({ agent_card: { name: "a" } });
    expect((await register({ id: differs.id, delivery_mode: "poll", agent_card: { name: "b" } })).status).toBe(401);

    const late = await anAgent({ agent_card: { name: "a" } });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 10 * MINUTES + 1 });
    expect((await register({ id: late.id, delivery_mode: "poll" })).status).toBe(401);
  });

  it("never opens an external workspace whose tokens were all revoked", async () => {
    const agent = await aWorkspace();
    const [{ id: tokenId }] = (await tokensOf(agent)).body.tokens;
    await call(`/workspaces/${agent.id}/tokens/${tokenId}`, { method: "DELETE" });
    expect(await register({ id: agent.id, delivery_mode: "poll" })).toMatchObject({
      status: 401,
      body: { error: "missing workspace auth token" },
    });
  });

  it("a removed workspace is 410 with the hint for everybody, and revives nothing", async () => {
    const agent = await aRemovedAgent();
    for (const token of [undefined, agent.token]) {
      const answer = await register({ id: agent.id, delivery_mode: "poll" }, token);
      expect(answer).toMatchObject({ status: 410, body: { error: "workspace removed", id: agent.id } });
      expect(answer.body.hint).toContain("Regenerate workspace + token");
    }
    const operator = await aDeployment().call("/registry/register", {
      token: ADMIN_TOKEN,
      json: { id: agent.id, delivery_mode: "poll", agent_card: {} },
    });
    expect(operator.status).toBe(410);
    expect((await call(`/workspaces/${agent.id}`)).status).toBe(410);
  });

  it("brings an external workspace that awaits its agent online", async () => {
    const agent = await aWorkspace();
    expect(await statusOf(agent)).toBe("awaiting_agent");
    expect((await register({ id: agent.id, delivery_mode: "poll" }, agent.token)).status).toBe(200);
    expect(await statusOf(agent)).toBe("online");
  });
});

describe("a heartbeat", () => {
  it("of nothing but the id is enough, and answers with the inbound secret", async () => {
    const agent = await anAgent();
    const answer = await beat(agent);
    expect(answer.status).toBe(200);
    expect(Object.keys(answer.body).sort()).toEqual(["platform_inbound_secret", "status"]);
    expect(answer.body.status).toBe("ok");
  });

  it("needs the workspace's own token, whoever else asks", async () => {
    const agent = await anAgent();
    const other = await anAgent();
    const json = { workspace_id: agent.id };
    expect(await call("/registry/heartbeat", { json })).toMatchObject({
      status: 401,
      body: { error: "missing workspace auth token" },
    });
    for (const token of ["wrong", other.token]) {
      expect(await call("/registry/heartbeat", { json, token })).toMatchObject({
        status: 401,
        body: { error: "invalid workspace auth token" },
      });
    }
    const operator = await aDeployment().call("/registry/heartbeat", { json, token: ADMIN_TOKEN });
    expect(operator.status).toBe(401);
  });

  it("for an unknown or removed workspace is 401 and shows no secret", async () => {
    const removed = await aRemovedAgent();
    expect(await beat(removed)).toMatchObject({ status: 401, body: { error: "invalid workspace auth token" } });
    const unknown = await call("/registry/heartbeat", { json: { workspace_id: crypto.randomUUID() } });
    expect(unknown.status).toBe(401);
    expect(unknown.body).not.toHaveProperty("platform_inbound_secret");
  });

  it("with an error rate of a half degrades, below a tenth recovers, and both are recorded", async () => {
    const agent = await anAgent();
    await beat(agent, { error_rate: 0.5, sample_error: "boom" });
    expect(await statusOf(agent)).toBe("degraded");
    await beat(agent, { error_rate: 0.1 });
    expect(await statusOf(agent)).toBe("degraded");
    await beat(agent, { error_rate: 0.09 });
    expect(await statusOf(agent)).toBe("online");
    expect((await recordedEvents(agent)).slice(1)).toEqual([
      ["WORKSPACE_DEGRADED", { error_rate: 0.5, sample_error: "boom" }],
      ["WORKSPACE_ONLINE", {}],
    ]);
  });

  it("of a wedged agent that errs too degrades with two events; an unknown state blocks recovery", async () => {
    const agent = await anAgent();
    await beat(agent, { error_rate: 0.9, runtime_state: "wedged", sample_error: "stuck" });
    expect((await recordedEvents(agent)).slice(1)).toEqual([
      ["WORKSPACE_DEGRADED", { runtime_state: "wedged", sample_error: "stuck" }],
      ["WORKSPACE_DEGRADED", { error_rate: 0.9, sample_error: "stuck" }],
    ]);
    await beat(agent, { runtime_state: "thinking" });
    expect(await statusOf(agent)).toBe("degraded");
    await beat(agent);
    expect(await statusOf(agent)).toBe("online");
  });

  it("of an agent that manages its own status does not degrade it by error rate", async () => {
    const agent = await anAgent();
    await beat(agent, { runtime_metadata: { capabilities: { status_mgmt: true } } });
    await beat(agent, { error_rate: 1 });
    expect(await statusOf(agent)).toBe("online");
  });

  it("brings an external workspace that awaits its agent online, and says from where", async () => {
    const agent = await aWorkspace();
    await beat(agent);
    expect(await statusOf(agent)).toBe("online");
    expect((await recordedEvents(agent)).at(-1)).toEqual(["WORKSPACE_ONLINE", { recovered_from: "awaiting_agent" }]);
  });

  it("shows task, counts, spend and uptime in the list; a bare one clears all but the spend", async () => {
    const agent = await anAgent();
    await beat(agent, {
      active_tasks: 2,
      current_task: "sorting",
      error_rate: 0.2,
      sample_error: "late",
      monthly_spend: 2e12,
      uptime_seconds: 3_600,
    });
    await toldTheBoard(agent);
    expect(await listed(agent)).toMatchObject({
      active_tasks: 2,
      current_task: "sorting",
      last_error_rate: 0.2,
      last_sample_error: "late",
      monthly_spend: 1e12,
      uptime_seconds: 3_600,
    });
    await beat(agent, { monthly_spend: -5 });
    await toldTheBoard(agent);
    expect(await listed(agent)).toMatchObject({
      active_tasks: 0,
      current_task: "",
      last_error_rate: 0,
      last_sample_error: "",
      monthly_spend: 1e12,
    });
  });
});

describe("a new card", () => {
  it("is shown, and AGENT_CARD_UPDATED recorded", async () => {
    const agent = await anAgent();
    const card = { name: "new", skills: [{ name: "sort" }] };
    const json = { workspace_id: agent.id, agent_card: card };
    expect(await call("/registry/update-card", { token: agent.token, json })).toMatchObject({
      status: 200,
      body: { status: "updated" },
    });
    expect((await call(`/workspaces/${agent.id}`)).body.agent_card).toEqual(card);
    expect((await recordedEvents(agent)).at(-1)).toEqual(["AGENT_CARD_UPDATED", { agent_card: card }]);
    expect((await call("/registry/update-card", { json })).status).toBe(401);
    const unknown = { ...json, workspace_id: crypto.randomUUID() };
    expect((await call("/registry/update-card", { token: agent.token, json: unknown })).status).toBe(401);
  });
});

/** What rides along to the directory is due within seconds: the clock is moved past it. */
async function toldTheBoard({ id }: Agent): Promise<void> {
  const workspace = env.WORKSPACE.get(env.WORKSPACE.idFromName(id));
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 16_000 });
  await runInDurableObject(workspace, (instance) => instance.wake());
  vi.useRealTimers();
}

async function listed({ id }: Agent) {
  const { body } = await call("/workspaces");
  return body.find((workspace: { id: string }) => workspace.id === id);
}
