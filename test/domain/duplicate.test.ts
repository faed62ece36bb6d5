import { expect, it } from "vitest";
import { duplicatesAmong, type Sibling } from "../../src/domain/duplicate.ts";
import type { WorkspaceStatus } from "../../src/domain/workspace-status.ts";

function sibling(id: string, name: string, createdAt: number, more: Partial<Sibling> = {}): Sibling {
  return { id, name, parentId: null, createdAt, status: "online", hasChildren: false, ...more };
}

it("finds siblings whose names differ by a number only, and keeps the oldest of equals", () => {
  const [one, two, three] = [sibling("1", "team (2)", 1), sibling("2", "team", 2), sibling("3", "team (13)", 3)];
  const others = [sibling("4", "team", 0, { parentId: "p" }), sibling("5", "team2", 0)];
  expect(duplicatesAmong([three, two, one, ...others])).toEqual([
    { name: "team", parentId: null, kept: one, keptFor: "age", duplicates: [two, three] },
  ]);
  expect(duplicatesAmong([])).toEqual([]);
});

it("keeps what works before what does not, and what has failed last of all", () => {
  const order: WorkspaceStatus[] = ["failed", "provisioning", "paused", "degraded", "online"];
  const siblings = order.map((status, age) => sibling(status, `team (${age + 2})`, age, { status }));
  const [group] = duplicatesAmong(siblings);
  expect([group?.kept.id, ...(group?.duplicates ?? []).map(({ id }) => id)]).toEqual([
    "degraded",
    "online",
    "provisioning",
    "paused",
    "failed",
  ]);
  expect(group?.keptFor).toBe("age");
  expect(duplicatesAmong(siblings.slice(0, 4))[0]).toMatchObject({ kept: { id: "degraded" }, keptFor: "status" });
});

it("keeps one that others hang below, whatever its status, since they would go with it", () => {
  const parent = sibling("parent", "team (2)", 2, { status: "failed", hasChildren: true });
  expect(duplicatesAmong([sibling("1", "team", 1), parent])).toMatchObject([
    { kept: { id: "parent" }, keptFor: "sub_workspaces", duplicates: [{ id: "1" }] },
  ]);
});
