import { describe, expect, it } from "vitest";
import { type Agent, call, tell } from "../support/platform.ts";
import { until } from "../support/until.ts";

async function aWorkspace(fields: Record<string, unknown> = {}) {
  const name = `w ${crypto.randomUUID()}`;
  const { body } = await call("/workspaces", { json: { name, runtime: "external", ...fields } });
  return { id: body.id as string, name: String(fields.name ?? name), token: body.connection.auth_token as string };
}

const patch = (id: string, json: unknown, token?: string) =>
  call(`/workspaces/${id}`, { method: "PATCH", json, ...(token === undefined ? {} : { token }) });

const view = async (id: string) => (await call(`/workspaces/${id}`)).body;

const listed = async (id: string) =>
  ((await call("/workspaces")).body as { id: string }[]).find((entry) => entry.id === id);

describe("PATCH /workspaces/:id", () => {
  it("lets an agent change what it is called, and not what it may do", async () => {
    const { id, token } = await aWorkspace();
    const other = await aWorkspace();
    expect((await patch(id, { name: `mine ${id}`, role: "poet", x: 1, y: 2 }, token)).status).toBe(200);
    for (const [field, value] of [
      ["tier", 4],
      ["runtime", "external"],
      ["parent_id", other.id],
      ["workspace_dir", "/home/agent"],
      ["workspace_access", "none"],
    ] as const) {
      expect(await patch(id, { role: "king", [field]: value }, token)).toMatchObject({
        status: 403,
        body: {
          code: "workspace.operator_fields",
          error: "only an operator may change tier, runtime, parent_id, workspace_dir or workspace_access",
          fields: [field],
        },
      });
    }
    expect(await listed(id)).toMatchObject({ role: "poet", parent_id: null, workspace_dir: null });
  });

  it("stores every field that it takes, and lists and views show them", async () => {
    const parent = await aWorkspace();
    const { id, token } = await aWorkspace();
    const fields = { name: `new ${id}`, role: "scribe", tier: 2, runtime: "external", collapsed: true, x: -1.5, y: 7 };
    expect(await patch(id, { ...fields, parent_id: parent.id })).toMatchObject({
      status: 200,
      body: { status: "updated" },
    });
    expect((await patch(id, { role: "scribe", collapsed: true, x: -1.5, y: 7 }, token)).status).toBe(200);
    expect(await view(id)).toMatchObject({ ...fields, parent_id: parent.id });
    expect(await patch(id, { workspace_dir: "/home/agent/here" })).toMatchObject({
      body: { status: "updated", needs_restart: true },
    });
    expect(await listed(id)).toMatchObject({ ...fields, workspace_dir: "/home/agent/here" });
    expect((await patch(id, { role: "", parent_id: null, workspace_dir: null })).status).toBe(200);
    expect(await listed(id)).toMatchObject({ role: null, parent_id: null, workspace_dir: null });
  });

  it("changes nothing by an empty body, unknown keys or what stands already, and takes null for an empty body", async () => {
    const { id, name } = await aWorkspace();
    const before = await listed(id);
    for (const body of [{}, null, { budget_limit: 7, model: "m" }, { name, x: 0, y: 0 }]) {
      expect(await patch(id, body), JSON.stringify(body)).toMatchObject({ status: 200, body: { status: "updated" } });
    }
    expect(await listed(id)).toEqual(before);
  });

  it("refuses the whole body for one field that it could not store, in that field's own words", async () => {
    const { id, name } = await aWorkspace();
    const refusals: [Record<string, unknown>, string][] = [
      [{ name: "n".repeat(256) }, "name must be at most 255 characters"],
      [{ name: "a\nb" }, "name must not contain newline characters"],
      [{ name: "a{b" }, "name contains invalid characters"],
      [{ role: "r".repeat(1_001) }, "role must be at most 1000 characters"],
      [{ runtime: "r".repeat(101) }, "runtime must be at most 100 characters"],
      [{ workspace_dir: "/etc/x" }, "invalid workspace directory"],
      [{ workspace_access: "write" }, "invalid workspace access"],
      [{ workspace_access: 7 }, "invalid workspace_access"],
      [{ workspace_access: "read_only" }, "invalid workspace access"],
      [{ workspace_dir: null, workspace_access: "read_write" }, "invalid workspace access"],
      [{ name: "" }, "invalid name"],
      [{ name: 7 }, "invalid name"],
      [{ name: null }, "invalid name"],
      [{ tier: "x" }, "invalid tier"],
      [{ collapsed: "yes" }, "invalid collapsed"],
      [{ x: 3 }, "x and y belong together"],
      [{ parent_id: "nobody" }, "invalid parent workspace"],
      [{ parent_id: crypto.randomUUID() }, "invalid parent workspace"],
    ];
    for (const [body, error] of refusals) {
      expect(await patch(id, { role: "written", ...body }), error).toMatchObject({ status: 400, body: { error } });
    }
    expect(await listed(id)).toMatchObject({ name, role: null });
    for (const body of ["[]", "7", "{", '"x"']) {
      const answer = await call(`/workspaces/${id}`, { method: "PATCH", body });
      expect(answer, body).toMatchObject({ status: 400, body: { error: "invalid request body" } });
    }
  });

  it("refuses a cycle, however long, and a name that a sibling has", async () => {
    const top = await aWorkspace();
    const middle = await aWorkspace({ parent_id: top.id });
    const bottom = await aWorkspace({ parent_id: middle.id, name: "bottom" });
    const other = await aWorkspace({ name: "bottom", parent_id: top.id });
    for (const parent of [top.id, middle.id, bottom.id]) {
      expect(await patch(top.id, { parent_id: parent })).toMatchObject({
        status: 400,
        body: { code: "workspace.cycle" },
      });
    }
    for (const body of [{ parent_id: middle.id }, { parent_id: middle.id, tier: 1 }]) {
      expect(await patch(other.id, body)).toMatchObject({ status: 409, body: { code: "workspace.name_taken" } });
    }
    expect(await patch(other.id, { parent_id: middle.id, name: "other" })).toMatchObject({ status: 200 });
    expect(await view(other.id)).toMatchObject({ parent_id: middle.id, name: "other" });
  });

  it("refuses a move that would make the tree deeper than its limit, for the deepest descendant too", async () => {
    const chain = async (length: number) => {
      const made: string[] = [];
      for (let level = 0; level < length; level += 1) {
        made.push((await aWorkspace({ parent_id: made.at(-1) ?? null })).id);
      }
      return made;
    };
    const [long, short] = [await chain(31), await chain(2)];
    expect(await patch(short[0] ?? "", { parent_id: long[30] })).toMatchObject({
      status: 400,
      body: { code: "workspace.too_deep" },
    });
    expect(await patch(short[0] ?? "", { parent_id: long[29] })).toMatchObject({ status: 200 });
  });

  it("moves who may talk to whom, for the whole subtree", async () => {
    const [left, right] = [await aWorkspace(), await aWorkspace()];
    const child = await aWorkspace({ parent_id: left.id });
    const grandchild = await aWorkspace({ parent_id: child.id });
    const stranger = await aWorkspace({ parent_id: right.id });
    const said = (to: Agent) => tell(to, "hello", stranger);
    expect([(await said(child)).status, (await said(grandchild)).status]).toEqual([403, 403]);
    expect((await patch(child.id, { parent_id: stranger.id })).status).toBe(200);
    expect([(await said(child)).status, (await said(grandchild)).status]).toEqual([200, 200]);
    const feed = await call(`/workspaces/${grandchild.id}/activity`, { token: grandchild.token });
    expect(feed.body).toHaveLength(1);
  });

  it("tells the change as an event, without the path of a disk", async () => {
    const { id } = await aWorkspace();
    const mount = { workspace_dir: "/home/agent/secret", workspace_access: "read_only" };
    await patch(id, { x: 5, y: 6, collapsed: true, ...mount });
    const events = async () => (await call(`/events/${id}`)).body as { event_type: string; payload: unknown }[];
    const found = await until("the change is an event", async () =>
      (await events()).find(({ event_type }) => event_type === "WORKSPACE_UPDATED"),
    );
    expect(found?.payload).toEqual({ x: 5, y: 6, collapsed: true });
  });

  it("is for the workspace's own token and operators; unknown is 404, removed 410, no uuid 400", async () => {
    const [one, other] = [await aWorkspace(), await aWorkspace()];
    expect(await patch(one.id, { tier: 1 }, other.token)).toMatchObject({
      status: 401,
      body: { error: "invalid workspace auth token" },
    });
    expect(await patch(crypto.randomUUID(), { tier: 1 })).toMatchObject({ status: 404 });
    expect(await patch("nobody", { tier: 1 })).toMatchObject({ status: 400, body: { error: "invalid workspace ID" } });
    await call(`/workspaces/${one.id}`, { method: "DELETE" });
    expect(await patch(one.id, { tier: 1 })).toMatchObject({ status: 410 });
    expect(await patch(one.id, { tier: 1 }, one.token)).toMatchObject({ status: 401 });
  });
});

describe("GET /workspaces/:id/state", () => {
  const state = (id: string, token?: string) => call(`/workspaces/${id}/state`, token === undefined ? {} : { token });

  it("tells an agent how its workspace is", async () => {
    const { id, token } = await aWorkspace();
    expect(await state(id, token)).toMatchObject({
      status: 200,
      body: { workspace_id: id, status: "awaiting_agent", paused: false, deleted: false },
    });
  });

  it("tells a removed agent that it may shut down, although its token is revoked", async () => {
    const { id, token } = await aWorkspace();
    await call(`/workspaces/${id}`, { method: "DELETE" });
    const gone = { workspace_id: id, status: "removed", deleted: true };
    expect(await state(id, token)).toMatchObject({ status: 404, body: gone });
    expect(await state(id)).toMatchObject({ status: 404, body: gone });
  });

  it("is 404 for what never was and 401 for a foreign token", async () => {
    const [one, other] = [await aWorkspace(), await aWorkspace()];
    const id = crypto.randomUUID();
    expect(await state(id)).toMatchObject({ status: 404, body: { workspace_id: id, deleted: true } });
    expect(await state(one.id, other.token)).toMatchObject({ status: 401 });
  });
});
