import fc from "fast-check";
import { afterEach, expect, it, vi } from "vitest";
import type { Mishap } from "../src/provisioners/in-memory.ts";
import {
  crashDirectory,
  crashWorkspace,
  expectVerdict,
  MACHINE_METHODS,
  register,
  ring,
  rowsSince,
  settle,
  type TreeRow,
} from "./support/machine-life.ts";
import { machines } from "./support/machines.ts";
import { type Answer, call } from "./support/platform.ts";
import { type Fate, RoughNetwork } from "./support/rough-network.ts";

const SCHEDULES = 15;
const STEP_MS = 61_000;

afterEach(() => {
  vi.useRealTimers();
});

const VERBS = [
  "import",
  "import twice at once",
  "import while the directory crashes",
  "replace",
  "rename",
  "move",
  "remove",
  "purge",
  "crash",
  "crash directory",
  "ring",
  "register",
] as const;

const schedule = fc.record({
  verbs: fc.array(fc.constantFrom(...VERBS), { maxLength: 7 }),
  fates: fc.array(fc.constantFrom<Fate>("arrives", "is lost", "loses its answer", "arrives twice"), { maxLength: 24 }),
  starts: fc.array(fc.constantFrom<Mishap>("refuse", "lose_call", "lose_answer"), { maxLength: 2 }),
});

/** Four workspaces on three levels, each with a machine. */
function aTemplate(root: string) {
  const team = [{ name: "one" }, { name: "two", children: [{ name: "three" }] }];
  return { name: "org", defaults: { runtime: "codex" }, workspaces: [{ name: root, children: team }] };
}

it("imports make one workspace of a name in a place, each with a verdict and no machine without one, whatever is lost", async () => {
  let schedules = 0;
  await fc.assert(
    fc.asyncProperty(schedule, async ({ verbs, fates, starts }) => {
      schedules += 1;
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + STEP_MS });
      const since = Date.now();
      const root = crypto.randomUUID();
      const network = new RoughNetwork(["importOrg", ...MACHINE_METHODS]);
      await network.during(async () => {
        network.deal(...fates);
        await importOrg(root);
        const [first] = await rowsSince(since);
        if (first) machines.play(first.id, "start", ...starts);
        for (const verb of verbs) await act(verb, root, since);
        network.smooth();
        expect(await importOrg(root)).toMatchObject({ status: 201, body: { count: 4 } });
        await settle(since);
        const again = await importOrg(root);
        expect(again).toMatchObject({ status: 201, body: { created: 0, skipped: 4 } });
        const rows = await rowsSince(since);
        expectOnePerPlace(rows);
        for (const row of rows) await expectVerdict(row);
        await expectRowsOfAllMachines();
      });
    }),
    { numRuns: SCHEDULES, endOnFailure: true },
  );
  expect(schedules).toBe(SCHEDULES);
}, 180_000);

/** No machine was ever started for a workspace that is not in the tree. */
async function expectRowsOfAllMachines(): Promise<void> {
  const known = new Set((await rowsSince(0)).map(({ id }) => id));
  expect(machines.calls.filter(({ workspaceId }) => !known.has(workspaceId))).toEqual([]);
}

function expectOnePerPlace(rows: readonly TreeRow[]): void {
  const live = rows.filter(({ removed_at }) => removed_at === null);
  const places = live.map(({ parent_id, name }) => `${parent_id}/${name}`);
  expect(places.length).toBe(new Set(places).size);
  const ids = new Set(live.map(({ id }) => id));
  for (const { parent_id } of live) if (parent_id !== null) expect(ids).toContain(parent_id);
}

async function importOrg(root: string, fields: Record<string, unknown> = {}): Promise<Answer> {
  const answer = await call("/org/import", { json: { template: aTemplate(root), ...fields } });
  if (answer.status === 201) {
    const { count, created, skipped, workspaces } = answer.body;
    expect([created + skipped, workspaces.length]).toEqual([count, count]);
  }
  return answer;
}

async function act(verb: (typeof VERBS)[number], root: string, since: number): Promise<void> {
  const rows = await rowsSince(since);
  const idOf = (name: string) => rows.findLast((row) => row.name === name)?.id ?? crypto.randomUUID();
  switch (verb) {
    case "import":
      await importOrg(root);
      return;
    case "import twice at once":
      await Promise.all([importOrg(root), importOrg(root)]);
      return;
    case "import while the directory crashes":
      await Promise.all([importOrg(root), crashDirectory()]);
      return;
    case "replace":
      await importOrg(root, { mode: "replace" });
      return;
    case "rename":
      await call(`/workspaces/${idOf("one")}`, { method: "PATCH", json: { name: "renamed" } });
      return;
    case "move":
      await call(`/workspaces/${idOf("three")}`, { method: "PATCH", json: { parent_id: idOf(root) } });
      return;
    case "remove":
      await call(`/workspaces/${idOf("two")}?confirm=true`, { method: "DELETE" });
      return;
    case "purge":
      await call(`/workspaces/${idOf(root)}?purge=true&confirm=true`, { method: "DELETE" });
      return;
    case "crash":
      for (const { id } of rows) await crashWorkspace(id);
      return;
    case "crash directory":
      return crashDirectory();
    case "ring":
      return ring(rows.map(({ id }) => id));
    case "register":
      for (const { id } of rows) await register(id);
  }
}
