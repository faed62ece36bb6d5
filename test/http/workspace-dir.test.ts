import { env, runInDurableObject } from "cloudflare:test";
import { expect, it } from "vitest";
import type { StartOrder } from "../../src/provisioners/provisioner.ts";
import { losing } from "../support/lost-words.ts";
import { aMachine, listed, machines } from "../support/machines.ts";
import { call } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

const READ_ONLY = { workspace_dir: "/data/shop", workspace_access: "read_only" };

/** What the machine of the n-th start of a workspace was given of its host. */
async function given(id: string, start: number): Promise<StartOrder["hostDirectory"]> {
  return until(`start ${start} of ${id}`, async () => {
    const order = machines.callsFor(id).filter(({ verb }) => verb === "start")[start - 1]?.order;
    return order && { directory: order.hostDirectory };
  }).then(({ directory }) => directory);
}

async function restart(id: string): Promise<void> {
  expect((await call(`/workspaces/${id}/restart`, { method: "POST" })).status).toBe(200);
}

/** The object's storage is gone, as if it had never been, and its memory with it. */
async function lose(id: string): Promise<void> {
  await runInDurableObject(env.WORKSPACE.getByName(id), async (_instance, state) => {
    await state.storage.deleteAlarm();
    await state.storage.deleteAll();
    await state.storage.sync();
    state.abort("lost");
  }).catch(() => undefined);
}

it("the directory of a workspace reaches its machine with the access that was given, and else nothing does", async () => {
  const { status, body } = await call("/workspaces", { json: { name: crypto.randomUUID(), ...READ_ONLY } });
  expect([status, body.workspace_access]).toEqual([201, "read_only"]);
  expect(await given(body.id, 1)).toEqual({ path: "/data/shop", readOnly: true });
  expect(await given(await aMachine({ ...READ_ONLY, workspace_access: "read_write" }), 1)).toEqual({
    path: "/data/shop",
    readOnly: false,
  });
  const shown = await listed(body.id);
  expect(shown).toMatchObject({ workspace_dir: "/data/shop" });
  expect(shown).not.toHaveProperty("workspace_access");
  for (const fields of [{}, { workspace_dir: "/data/shop" }]) {
    expect(await given(await aMachine(fields), 1)).toBeNull();
  }
});

it("another directory takes effect with the next machine, and none takes the directory away", async () => {
  const id = await aMachine(READ_ONLY);
  await given(id, 1);
  const patch = (workspace_dir: string | null) =>
    call(`/workspaces/${id}`, { method: "PATCH", json: { workspace_dir } });
  expect((await patch("/data/cellar")).body).toEqual({ status: "updated", needs_restart: true });
  await restart(id);
  expect(await given(id, 2)).toEqual({ path: "/data/cellar", readOnly: true });
  await patch(null);
  await restart(id);
  expect(await given(id, 3)).toBeNull();
  await patch("/data/attic");
  await restart(id);
  expect(await given(id, 4)).toEqual({ path: "/data/attic", readOnly: true });
});

it("another access takes effect with the next machine, and wants a directory, given or there", async () => {
  const id = await aMachine(READ_ONLY);
  const patch = (json: object) => call(`/workspaces/${id}`, { method: "PATCH", json });
  expect((await patch({ workspace_access: "read_write" })).body).toEqual({ status: "updated", needs_restart: true });
  await restart(id);
  expect(await given(id, 2)).toEqual({ path: "/data/shop", readOnly: false });
  const refused = { status: 400, body: { error: "invalid workspace access", code: "workspace.invalid_access" } };
  expect(await patch({ workspace_access: "read_only", workspace_dir: null })).toMatchObject(refused);
  expect((await patch({ workspace_access: null, workspace_dir: null })).status).toBe(200);
  expect(await patch({ workspace_access: "read_only" })).toMatchObject(refused);
  await patch({ workspace_dir: "/data/attic" });
  await restart(id);
  expect(await given(id, 3)).toBeNull();
  await patch({ workspace_access: "read_only" });
  await restart(id);
  expect(await given(id, 4)).toEqual({ path: "/data/attic", readOnly: true });
});

it("a change tells the directory only where it is news, so that an object of an older release understands it", async () => {
  const id = await aMachine(READ_ONLY);
  const patch = (json: object) => call(`/workspaces/${id}`, { method: "PATCH", json });
  const directory = env.DIRECTORY.getByName("default");
  const untold = () =>
    runInDurableObject(directory, (_instance, { storage }) =>
      storage.sql
        .exec<{ payload: string }>("SELECT payload FROM effects WHERE receiver = ? ORDER BY effect", id)
        .toArray()
        .map(({ payload }) => JSON.parse(payload)),
    );
  await losing("placed", 100, async () => {
    await patch({ role: "scribe" });
    await patch({ workspace_dir: "/data/cellar" });
    await patch({ role: "poet" });
    await patch({ workspace_access: "read_write" });
    const [before, moved, after, granted] = await untold();
    expect(before).toMatchObject({ role: "scribe" });
    expect(before).not.toHaveProperty("workspaceDir");
    expect(moved).toMatchObject({ workspaceDir: "/data/cellar" });
    expect(moved).not.toHaveProperty("workspaceAccess");
    expect(after, "would overtake what was not heard").toMatchObject({ role: "poet", workspaceDir: "/data/cellar" });
    expect(granted).toMatchObject({ workspaceDir: "/data/cellar", workspaceAccess: "read_write" });
  });
  await patch({ role: "clerk" });
  await restart(id);
  expect(await given(id, 2)).toEqual({ path: "/data/cellar", readOnly: false });
});

it("an imported tree, a bundle's copy and a rebuilt workspace keep directory and access", async () => {
  const workspaces = [{ name: crypto.randomUUID(), ...READ_ONLY, children: [{ name: "child" }] }];
  const imported = await call("/org/import", { json: { template: { name: "org", workspaces } } });
  const [id, child] = imported.body.workspaces.map((entry: { id: string }) => entry.id);
  const directory = { path: "/data/shop", readOnly: true };
  expect([await given(id, 1), await given(child, 1)]).toEqual([directory, null]);

  const { body: bundle } = await call(`/bundles/export/${id}`);
  expect(bundle).toMatchObject(READ_ONLY);
  expect(bundle.sub_workspaces[0]).not.toHaveProperty("workspace_dir");
  const copy = (await call("/bundles/import", { json: bundle })).body.workspace_id;
  expect(await given(copy, 1)).toEqual(directory);

  await quiet(id);
  await lose(id);
  expect((await call(`/admin/workspaces/${id}/rebuild`, { json: {} })).status).toBe(200);
  await restart(id);
  expect(await given(id, 2)).toEqual(directory);
});
