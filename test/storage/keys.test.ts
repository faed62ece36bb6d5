import { expect, it } from "vitest";
import { OPEN_TEMPLATES_PREFIX, openTemplateKey, openTemplateOf } from "../../src/storage/keys.ts";

it("an open key stands for the attempt that it was made of, and any other key for none", () => {
  for (const kind of ["org", "workspace"] as const) {
    const attempt = { kind, name: "team", version: "1790000000000-a" };
    expect(openTemplateOf(openTemplateKey(attempt))).toEqual(attempt);
  }
  for (const rest of ["", "org", "org/", "org/team", "org/team/", "org//1-a", "team/team/1-a", "org/team/1-a/more"]) {
    expect(openTemplateOf(OPEN_TEMPLATES_PREFIX + rest), rest).toBeNull();
  }
});
