import fc from "fast-check";
import { expect, it } from "vitest";
import { canonicalWorkspaceId } from "../../src/domain/workspace-id.ts";

const ID = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d";

it("takes every lower-case hyphenated uuid as it is, whatever its version", () => {
  fc.assert(fc.property(fc.uuid(), (uuid) => canonicalWorkspaceId(uuid) === uuid));
  expect(canonicalWorkspaceId("00000000-0000-0000-0000-000000000000")).not.toBeNull();
});

it.each([
  ID.toUpperCase(),
  `{${ID}}`,
  `urn:uuid:${ID}`,
  ID.replaceAll("-", ""),
  ` ${ID}`,
  `${ID}\n`,
  `${ID}0`,
  "",
  "not-a-uuid",
])("refuses %j rather than folding it", (text) => {
  expect(canonicalWorkspaceId(text)).toBeNull();
});
