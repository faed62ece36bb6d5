import fc from "fast-check";
import { expect, it } from "vitest";
import { canCommunicate, MAX_KINSHIP_LEVELS, type Path } from "../../src/domain/hierarchy.ts";

const chain = (length: number): Path => Array.from({ length }, (_, level) => `level-${level}`);

it.each<[string, Path, Path, boolean]>([
  ["itself", ["root", "a"], ["root", "a"], true],
  ["its sibling", ["root", "a"], ["root", "b"], true],
  ["another root when it is a root", ["root"], ["other"], true],
  ["its parent", ["root", "a"], ["root"], true],
  ["its grandchild", ["root"], ["root", "a", "b"], true],
  ["its uncle", ["root", "a", "b"], ["root", "c"], false],
  ["its cousin", ["root", "a", "b"], ["root", "c", "d"], false],
  ["another root when it is no root", ["root", "a"], ["other"], false],
  ["a child of another root", ["root", "a"], ["other", "b"], false],
  ["nobody when it is unknown", [], ["root"], false],
  ["an unknown one", ["root"], [], false],
  ["an unknown one when it is unknown too", [], [], false],
])("a workspace and %s", (_, a, b, allowed) => {
  expect(canCommunicate(a, b)).toBe(allowed);
  expect(canCommunicate(b, a)).toBe(allowed);
});

it("reaches an ancestor up to 32 levels above and no further", () => {
  const deepest = chain(MAX_KINSHIP_LEVELS + 2);
  expect(canCommunicate(deepest, deepest.slice(0, 2))).toBe(true);
  expect(canCommunicate(deepest, deepest.slice(0, 1))).toBe(false);
});

it("does not depend on who asks", () => {
  const aPath = fc.array(fc.constantFrom("a", "b", "c"), { maxLength: 4 });
  fc.assert(fc.property(aPath, aPath, (a, b) => canCommunicate(a, b) === canCommunicate(b, a)));
});
