import { describe, expect, it } from "vitest";
import { organisationTokenJson, tokenName } from "../../src/domain/organisation-token.ts";

describe("the name of an organisation's token", () => {
  it("is empty when nobody gave one, and has at most 100 bytes", () => {
    expect([tokenName(undefined), tokenName(null), tokenName("")]).toEqual(["", "", ""]);
    expect(tokenName("é".repeat(50))).toBe("é".repeat(50));
    expect(() => tokenName("é".repeat(51))).toThrow("name must be at most 100 bytes");
  });
});

describe("a line of the list", () => {
  it("leaves out what a token does not have", () => {
    const token = { id: "i", prefix: "p", name: "", createdBy: "admin", createdAt: 0, lastUsedAt: null };
    const always = { id: "i", prefix: "p", created_by: "admin", created_at: "1970-01-01T00:00:00Z" };
    expect(organisationTokenJson(token)).toEqual(always);
    expect(organisationTokenJson({ ...token, name: "ci", lastUsedAt: 1_000 })).toEqual({
      ...always,
      name: "ci",
      last_used_at: "1970-01-01T00:00:01Z",
    });
  });
});
