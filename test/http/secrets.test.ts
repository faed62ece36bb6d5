import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { readSealingKey } from "../../src/domain/sealing-key.ts";
import { SecretBox } from "../../src/domain/secret-box.ts";
import { LOCKED_SQL, SecretStore } from "../../src/durable-objects/directory/secret-store.ts";
import { ADMIN_TOKEN, aDeployment } from "../support/client-deployment.ts";
import { aRemovedAgent, aWorkspace, remove } from "../support/client-tree.ts";
import { type Agent, anAgent, call } from "../support/platform.ts";

const VALUE = "sk-live-0123456789-never-shown";

function directory() {
  return env.DIRECTORY.getByName("default");
}

/** The object's storage, as an operator with its disk would see it. */
function stored<T>(look: (sql: SqlStorage) => T): Promise<T> {
  return runInDurableObject(directory(), (_instance, { storage }) => look(storage.sql));
}

function everyRow(): Promise<string> {
  return stored((sql) => {
    const tables = sql.exec<{ name: string }>(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_cf%' ESCAPE '\\'",
    );
    return JSON.stringify(tables.toArray().map(({ name }) => sql.exec(`SELECT * FROM "${name}"`).toArray()));
  });
}

function put({ id, token }: Agent, key: string, value: string) {
  return call(`/workspaces/${id}/secrets`, { method: "PUT", token, json: { key, value } });
}

function list({ id, token }: Agent) {
  return call(`/workspaces/${id}/secrets`, { token });
}

async function keysOf(agent: Agent, scope = "workspace"): Promise<string[]> {
  const { body } = await list(agent);
  return body.filter((entry: { scope: string }) => entry.scope === scope).map((entry: { key: string }) => entry.key);
}

async function environmentOf({ id }: Pick<Agent, "id">) {
  const { outcome } = await directory().environmentOf(id);
  return outcome.ok ? outcome.value : outcome.code;
}

/** A key of the organisation that no other test uses. */
function aGlobalKey(): string {
  const key = `GLOBAL_${crypto.randomUUID().replaceAll("-", "_")}`;
  onTestFinished(async () => {
    await call(`/settings/secrets/${key}`, { method: "DELETE" });
  });
  return key;
}

describe("a workspace's secret", () => {
  it("is set, replaced, listed and deleted, in the contract's words", async () => {
    const agent = await anAgent();
    expect(await put(agent, "API_KEY", VALUE)).toMatchObject({
      status: 200,
      body: { status: "saved", key: "API_KEY" },
    });
    const posted = await call(`/workspaces/${agent.id}/secrets`, {
      token: agent.token,
      json: { key: "OTHER", value: "v" },
    });
    expect(posted.body).toEqual({ status: "saved", key: "OTHER" });
    const [first] = (await list(agent)).body;
    expect(first).toEqual({
      key: "API_KEY",
      has_value: true,
      scope: "workspace",
      created_at: expect.stringMatching(/^\d{4}-.*Z$/),
      updated_at: first.created_at,
    });
    await put(agent, "API_KEY", "another");
    expect(await environmentOf(agent)).toMatchObject({ API_KEY: "another", OTHER: "v" });
    expect((await list(agent)).body[0].created_at).toBe(first.created_at);

    const path = `/workspaces/${agent.id}/secrets/API_KEY`;
    const gone = await call(path, { method: "DELETE", token: agent.token });
    expect(gone.body).toEqual({ status: "deleted", key: "API_KEY" });
    expect(await call(path, { method: "DELETE", token: agent.token })).toMatchObject({
      status: 404,
      body: { error: "secret not found", code: "secret.not_found" },
    });
    expect(await keysOf(agent)).toEqual(["OTHER"]);
  });

  it("is in no answer, no log line and no row in plain text", async () => {
    const lines: string[] = [];
    for (const level of ["log", "warn", "error"] as const) {
      const spy = vi.spyOn(console, level).mockImplementation((...words) => void lines.push(words.join(" ")));
      onTestFinished(() => spy.mockRestore());
    }
    const created = await call("/workspaces", {
      json: { name: crypto.randomUUID(), runtime: "external", secrets: { FIRST: VALUE } },
    });
    const agent = { id: created.body.id, token: created.body.connection.auth_token };
    const global = aGlobalKey();
    const answers = [
      created,
      await put(agent, "API_KEY", VALUE),
      await call("/settings/secrets", { method: "PUT", json: { key: global, value: VALUE } }),
      await list(agent),
      await call("/settings/secrets"),
      await call(`/workspaces/${agent.id}`),
      await put(agent, "API-KEY", VALUE),
      await put(agent, "API_KEY", VALUE.repeat(2_000)),
    ];
    for (const { text } of answers) expect(text).not.toContain(VALUE);
    expect(await environmentOf(agent)).toMatchObject({ FIRST: VALUE, API_KEY: VALUE, [global]: VALUE });
    expect(await everyRow()).not.toContain(VALUE);
    expect(lines.join("\n")).not.toContain(VALUE);
    expect(lines.join("\n")).toContain("secret.set");
  });

  it("is refused with a name that is none, an empty or a very large value, or the wrong shape", async () => {
    const agent = await anAgent();
    expect(await put(agent, "1KEY", "v")).toMatchObject({ status: 400, body: { error: "invalid secret key" } });
    expect(await put(agent, "KEY", "")).toMatchObject({ status: 400, body: { error: "invalid request body" } });
    expect(await put(agent, "KEY", "x".repeat(32 * 1024 + 1))).toMatchObject({
      status: 413,
      body: { error: "secret value too large", field: "value", max_bytes: 32_768 },
    });
    for (const json of [{}, { key: "KEY" }, { value: "v" }, { key: "KEY", value: 1 }, { key: null, value: "v" }, []]) {
      const { status } = await call(`/workspaces/${agent.id}/secrets`, { method: "PUT", token: agent.token, json });
      expect(status, JSON.stringify(json)).toBe(400);
    }
    const odd = await call(`/workspaces/${agent.id}/secrets/A-B`, { method: "DELETE", token: agent.token });
    expect(odd.status).toBe(400);
    expect(await keysOf(agent)).toEqual([]);
  });

  it("is one of at most 500, and of 1 MiB together", async () => {
    const agent = await anAgent();
    await stored((sql) => {
      for (let index = 0; index < 500; index++) {
        sql.exec("INSERT INTO secrets VALUES (?, ?, 'v00000000.x', 0, 0)", agent.id, `KEY_${index}`);
      }
    });
    expect(await put(agent, "ONE_MORE", "v")).toMatchObject({
      status: 409,
      body: { error: "maximum 500 secrets per scope", code: "secret.too_many" },
    });
    expect((await put(agent, "KEY_0", "v")).status).toBe(200);

    const large = await anAgent();
    await stored((sql) =>
      sql.exec("INSERT INTO secrets VALUES (?, 'LARGE', ?, 0, 0)", large.id, "x".repeat(1024 * 1024 - 100)),
    );
    expect(await put(large, "KEY", "v".repeat(100))).toMatchObject({
      status: 409,
      body: { error: "maximum 1 MiB of secrets per scope" },
    });
    expect((await put(large, "LARGE", "small")).status).toBe(200);
    await Promise.all([remove(agent), remove(large)]);
  });
});

describe("another workspace", () => {
  it("neither sees, sets, deletes nor gets it", async () => {
    const [agent, other] = [await anAgent(), await anAgent()];
    await put(agent, "MINE", VALUE);
    const intruder = { id: agent.id, token: other.token };
    const answers = [
      await list(intruder),
      await put(intruder, "MINE", "changed"),
      await call(`/workspaces/${agent.id}/secrets/MINE`, { method: "DELETE", token: other.token }),
      await call(`/workspaces/${agent.id}/model`, { token: other.token }),
      await call(`/workspaces/${agent.id}/provider`, { method: "PUT", token: other.token, json: { provider: "p" } }),
    ];
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 401, body: { error: "invalid workspace auth token" } });
    }
    expect(await keysOf(other)).toEqual([]);
    expect(await environmentOf(other)).not.toHaveProperty("MINE");
    expect(await environmentOf(agent)).toMatchObject({ MINE: VALUE });
  });
});

describe("a workspace that is not there", () => {
  it("is not told from another one to whoever holds a workspace's token, and 404 or 410 to operators", async () => {
    const { token } = await anAgent();
    const removed = await aRemovedAgent();
    const unknown = { id: crypto.randomUUID(), token };
    for (const answer of [await list(unknown), await put(unknown, "K", "v"), await list({ id: removed.id, token })]) {
      expect(answer).toMatchObject({ status: 401, body: { error: "invalid workspace auth token" } });
    }
    const closed = aDeployment();
    const ask = (id: string, options = {}) =>
      closed.call(`/workspaces/${id}/secrets`, { token: ADMIN_TOKEN, ...options });
    const body = { method: "PUT", json: { key: "K", value: "v" } };
    for (const answer of [await ask(unknown.id), await ask(unknown.id, body)]) {
      expect(answer).toMatchObject({ status: 404, body: { error: "workspace not found" } });
    }
    for (const answer of [await ask(removed.id), await ask(removed.id, body)]) {
      expect(answer).toMatchObject({ status: 410, body: { error: "workspace removed" } });
    }
    expect(await environmentOf(removed)).toBe("workspace.removed");
  });

  it("leaves none of its secrets, nor those of its descendants", async () => {
    const parent = await aWorkspace({ secrets: { KEY: VALUE } });
    const child = await aWorkspace({ parent, secrets: { KEY: VALUE } });
    await remove(parent);
    const left = await stored((sql) =>
      sql
        .exec<{ left: number }>("SELECT count(*) AS left FROM secrets WHERE scope IN (?, ?)", parent.id, child.id)
        .one(),
    );
    expect(left).toEqual({ left: 0 });
  });
});

describe("secrets of the organisation", () => {
  it("are set, listed and deleted by operators, under either path", async () => {
    const [one, other] = [aGlobalKey(), aGlobalKey()];
    const put = await call("/settings/secrets", { method: "PUT", json: { key: one, value: VALUE } });
    expect(put).toMatchObject({ status: 200, body: { status: "saved", key: one, scope: "global" } });
    const post = await call("/admin/secrets", { json: { key: other, value: VALUE } });
    expect(post).toMatchObject({ status: 200, body: { status: "saved", key: other, scope: "global" } });
    const { body } = await call("/admin/secrets");
    expect(body.map((entry: { key: string }) => entry.key)).toEqual(expect.arrayContaining([one, other]));
    expect((await call("/settings/secrets")).body).toEqual(body);
    expect(body[0]).toMatchObject({ has_value: true, scope: "global" });
    expect(await directory().secretKeys()).toEqual(expect.arrayContaining([one, other]));
    const gone = await call(`/admin/secrets/${other}`, { method: "DELETE" });
    expect(gone).toMatchObject({ status: 200, body: { status: "deleted", key: other } });
    expect((await call(`/settings/secrets/${other}`, { method: "DELETE" })).status).toBe(404);
  });

  it("reach every workspace, and yield to its own of the same key", async () => {
    const [shared, replaced] = [aGlobalKey(), aGlobalKey()];
    for (const key of [shared, replaced]) {
      await call("/settings/secrets", { method: "PUT", json: { key, value: "everybody's" } });
    }
    const agent = await anAgent();
    await put(agent, replaced, "its own");
    expect(await environmentOf(agent)).toMatchObject({ [shared]: "everybody's", [replaced]: "its own" });
    expect(await keysOf(agent)).toEqual([replaced]);
    expect(await keysOf(agent, "global")).toContain(shared);
    expect(await keysOf(agent, "global")).not.toContain(replaced);
    const path = `/workspaces/${agent.id}/secrets/${shared}`;
    expect((await call(path, { method: "DELETE", token: agent.token })).status).toBe(404);
  });

  it("are there before the first workspace, and none where nobody has set any", async () => {
    const fresh = aDeployment({ MOLECULE_ORG_ID: crypto.randomUUID(), ADMIN_TOKEN });
    const own = { token: ADMIN_TOKEN };
    expect((await fresh.call("/settings/secrets", own)).body).toEqual([]);
    const absent = env.DIRECTORY.getByName(crypto.randomUUID());
    expect(await absent.secretKeys()).toEqual([]);
    expect((await fresh.call("/settings/secrets", { ...own, json: { key: "FIRST", value: "v" } })).status).toBe(200);
    expect((await fresh.call("/settings/secrets", own)).body).toMatchObject([{ key: "FIRST" }]);
  });
});

describe("a route of secrets", () => {
  const json = { key: "K", value: "v" };
  const ofWorkspace = (id: string): [string, string, unknown?][] => [
    ["GET", `/workspaces/${id}/secrets`],
    ["PUT", `/workspaces/${id}/secrets`, json],
    ["POST", `/workspaces/${id}/secrets`, json],
    ["DELETE", `/workspaces/${id}/secrets/K`],
    ["GET", `/workspaces/${id}/model`],
    ["PUT", `/workspaces/${id}/model`, { model: "m" }],
    ["GET", `/workspaces/${id}/provider`],
    ["PUT", `/workspaces/${id}/provider`, { provider: "p" }],
  ];
  const ofOrganisation: [string, string, unknown?][] = [
    ["GET", "/settings/secrets"],
    ["PUT", "/settings/secrets", json],
    ["POST", "/settings/secrets", json],
    ["DELETE", "/settings/secrets/K"],
    ["GET", "/admin/secrets"],
    ["POST", "/admin/secrets", json],
    ["DELETE", "/admin/secrets/K"],
  ];

  it("is closed without a bearer, whatever the page", async () => {
    const { id } = await anAgent();
    const closed = aDeployment();
    for (const headers of [{}, { Origin: "http://posthouse.test" }, { Referer: "http://posthouse.test/" }]) {
      for (const [method, path, body] of [...ofWorkspace(id), ...ofOrganisation]) {
        const answer = await closed.call(path, { method, headers, ...(body ? { json: body } : {}) });
        expect(answer.status, `${method} ${path}`).toBe(401);
        const missing = path.startsWith("/workspaces") ? "missing workspace auth token" : "admin auth required";
        expect(answer.body.error).toBe(missing);
      }
    }
  });

  it("of the organisation is closed to a workspace's token, in open dev mode too", async () => {
    const { token } = await anAgent();
    for (const platform of [aDeployment(), { call }]) {
      for (const [method, path, body] of ofOrganisation) {
        const answer = await platform.call(path, { method, token, ...(body ? { json: body } : {}) });
        expect(answer, `${method} ${path}`).toMatchObject({ status: 401, body: { error: "invalid admin auth token" } });
      }
    }
  });

  it("opens for an operator", async () => {
    const { id } = await anAgent();
    for (const [method, path, body] of ofWorkspace(id)) {
      const answer = await aDeployment().call(path, { method, token: ADMIN_TOKEN, ...(body ? { json: body } : {}) });
      expect(answer.status, `${method} ${path}`).toBe(200);
    }
  });
});

describe("model and provider", () => {
  it("are chosen, shown and cleared, and are the secrets that a start reads", async () => {
    const agent = await anAgent();
    for (const [setting, key] of [
      ["model", "MODEL_PROVIDER"],
      ["provider", "LLM_PROVIDER"],
    ] as const) {
      const path = `/workspaces/${agent.id}/${setting}`;
      const choose = (value: unknown) => call(path, { method: "PUT", token: agent.token, json: { [setting]: value } });
      const shown = async () => (await call(path, { token: agent.token })).body;
      expect(await shown()).toEqual({ [setting]: "", source: "default" });
      expect(await choose("anthropic:opus")).toMatchObject({ status: 200, body: { status: "saved" } });
      expect(await shown()).toEqual({ [setting]: "anthropic:opus", source: "workspace_secrets" });
      expect(await environmentOf(agent)).toMatchObject({ [key]: "anthropic:opus" });
      for (const wrong of ["a\nb", "x".repeat(101), 1, null]) expect((await choose(wrong)).status).toBe(400);
      expect(await choose("")).toMatchObject({ status: 200, body: { status: "cleared" } });
      expect((await choose("")).status).toBe(200);
      expect(await shown()).toEqual({ [setting]: "", source: "default" });
    }
  });
});

describe("a creation with secrets", () => {
  const create = (secrets: unknown) =>
    call("/workspaces", { json: { name: `n ${crypto.randomUUID()}`, runtime: "external", secrets } });

  it("stores them with the workspace, and tells its object nothing of them", async () => {
    const { status, body } = await create({ API_KEY: VALUE, OTHER: "v" });
    expect(status).toBe(201);
    expect(await environmentOf(body)).toMatchObject({ API_KEY: VALUE, OTHER: "v" });
    const rows = await runInDurableObject(env.WORKSPACE.getByName(body.id), (_instance, { storage }) =>
      ["workspace", "events"].map((table) => JSON.stringify(storage.sql.exec(`SELECT * FROM ${table}`).toArray())),
    );
    expect(rows.join()).not.toContain(VALUE);
  });

  it("is refused as a whole when one of them cannot be stored", async () => {
    for (const secrets of [{ "A-B": "v" }, { A: "" }, { A: "x".repeat(32 * 1024 + 1) }]) {
      expect(await create(secrets)).toMatchObject({
        status: 400,
        body: { error: "invalid workspace fields", field: "secrets" },
      });
    }
    const before = (await call("/workspaces")).body.length;
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`K${index}`, "x".repeat(31 * 1024)]));
    expect(await create(many)).toMatchObject({
      status: 409,
      body: { error: expect.stringMatching(/^failed to save secret: K\d+$/), code: "secret.too_many" },
    });
    expect((await call("/workspaces")).body).toHaveLength(before);
    const orphans = "SELECT count(*) AS n FROM secrets WHERE scope <> '' AND scope NOT IN (SELECT id FROM nodes)";
    expect(await stored((sql) => sql.exec<{ n: number }>(orphans).one().n)).toBe(0);
  });
});

describe("a stored secret", () => {
  const [oldKey, newKey] = [readSealingKey("a".repeat(64)), readSealingKey("b".repeat(64))];

  it("is still there after a rotation, and is under the new key from its next write", async () => {
    const id = crypto.randomUUID();
    await stored((sql) => {
      const store = (current: typeof newKey, previous: typeof oldKey = null) =>
        new SecretStore(sql, new SecretBox({ current, previous }));
      store(oldKey).set(id, "KEY", VALUE, 1);
      const rotating = store(newKey, oldKey);
      expect(rotating.read(id, "KEY")).toBe(VALUE);
      expect(() => store(newKey).read(id, "KEY")).toThrow("failed to decrypt workspace secret");
      const before = store(newKey).locked();
      rotating.set(id, "KEY", VALUE, 2);
      expect(store(newKey).read(id, "KEY")).toBe(VALUE);
      expect(store(newKey).locked()).toBe(before - 1);
      store(newKey).deleteScope(id);
    });
  });

  it("gets the new key from the daily scrub too, unless it does not open, and keeps its times", async () => {
    const id = crypto.randomUUID();
    await stored((sql) => {
      const store = (current: typeof newKey, previous: typeof oldKey = null) =>
        new SecretStore(sql, new SecretBox({ current, previous }));
      store(oldKey).set(id, "KEY", VALUE, 1);
      store(oldKey).set(id, "MOVED", VALUE, 1);
      sql.exec("UPDATE secrets SET key = 'ELSEWHERE' WHERE scope = ? AND key = 'MOVED'", id);
      for (const rotating of [store(newKey), store(null, oldKey), store(oldKey, oldKey)]) rotating.reseal();
      expect(store(oldKey).read(id, "KEY")).toBe(VALUE);
      store(newKey, oldKey).reseal();
      expect(store(newKey).read(id, "KEY")).toBe(VALUE);
      expect(store(newKey).list(id)).toMatchObject([{ key: "ELSEWHERE" }, { key: "KEY", createdAt: 1, updatedAt: 1 }]);
      expect(() => store(newKey, oldKey).read(id, "ELSEWHERE")).toThrow("failed to decrypt workspace secret");
      store(newKey).deleteScope(id);
    });
  });

  it("does not open in another's row, nor under another name, and is counted when no key opens it", async () => {
    const [agent, other] = [await anAgent(), await anAgent()];
    await put(agent, "KEY", VALUE);
    await put(other, "KEY", "other");
    await put(agent, "OTHER", "v");
    await stored((sql) =>
      sql.exec(
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE scope = ?1 AND key = 'KEY') WHERE scope = ?2",
        agent.id,
        other.id,
      ),
    );
    expect(await environmentOf(other)).toBe("secret.unreadable");
    await stored((sql) =>
      sql.exec(
        "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE scope = ?1 AND key = 'KEY') WHERE scope = ?1",
        agent.id,
      ),
    );
    expect(await environmentOf(agent)).toBe("secret.unreadable");

    await stored((sql) => {
      sql.exec("UPDATE secrets SET sealed = 'v00000000.x.y' WHERE scope = ?", other.id);
      const plan = sql.exec(`EXPLAIN QUERY PLAN ${LOCKED_SQL}`, "", "").toArray();
      expect(JSON.stringify(plan)).toContain("INDEX secrets_mark");
    });
    const { lockedSecrets } = await directory().gauges();
    expect(lockedSecrets).toBeGreaterThan(0);
    const { body } = await aDeployment({ GIT_SHA: crypto.randomUUID() }).call("/readyz");
    expect(body.findings).toContain(
      `${lockedSecrets} stored secrets open with neither SECRETS_KEY nor SECRETS_KEY_PREVIOUS`,
    );
    await Promise.all([remove(agent), remove(other)]);
  });
});
