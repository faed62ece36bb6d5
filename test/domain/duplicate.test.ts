import { expect, it } from "vitest";
import { duplicatesAmong, type Sibling } from "../../src/domain/duplicate.ts";

const sibling = (id: string, name: string, createdAt: number, parentId: string | null = null): Sibling => ({
  id,
  name,
  parentId,
  createdAt,
  status: "online",
});

it("finds siblings whose names differ by a number only, and keeps the oldest", () => {
  const [one, two, three] = [sibling("1", "team (2)", 1), sibling("2", "team", 2), sibling("3", "team (13)", 3)];
  expect(duplicatesAmong([three, two, one, sibling("4", "team", 0, "p"), sibling("5", "team2", 0)])).toEqual([
    { name: "team", parentId: null, kept: one, duplicates: [two, three] },
  ]);
  expect(duplicatesAmong([])).toEqual([]);
});
