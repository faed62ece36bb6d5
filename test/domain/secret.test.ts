import { describe, expect, it } from "vitest";
import { Refusal } from "../../src/domain/refusal.ts";
import {
  areStorable,
  checkSecret,
  SECRET_VALUE_BYTES_MAX,
  SECRETS_PER_SCOPE_MAX,
  secretView,
  workspaceSecretViews,
} from "../../src/domain/secret.ts";

function refusalOf(work: () => unknown): Refusal | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}

const LONGEST = "x".repeat(SECRET_VALUE_BYTES_MAX);

describe("a secret", () => {
  it("is named like a variable", () => {
    for (const key of ["A", "_", "a1", "OPENAI_API_KEY", "x".repeat(128)]) {
      expect(
        refusalOf(() => checkSecret(key, "v")),
        key,
      ).toBeNull();
      expect(areStorable({ [key]: "v" }), key).toBe(true);
    }
    for (const key of ["", "1A", "A-B", "A B", "A=B", "É", "A\n", "\nA", "x".repeat(129), "__proto__"]) {
      expect(refusalOf(() => checkSecret(key, "v"))?.code, JSON.stringify(key)).toBe("secret.invalid_key");
      expect(areStorable(Object.fromEntries([[key, "v"]])), JSON.stringify(key)).toBe(false);
    }
  });

  it("has a value that is not empty, can be stored, and has at most 32 KiB", () => {
    expect(refusalOf(() => checkSecret("A", LONGEST))).toBeNull();
    expect(areStorable({ A: LONGEST })).toBe(true);
    for (const [value, code] of [
      ["", "request.invalid"],
      ["a\u0000", "request.unstorable_text"],
      ["\ud800", "request.unstorable_text"],
      [`${LONGEST}x`, "request.too_large"],
      ["é".repeat(SECRET_VALUE_BYTES_MAX / 2 + 1), "request.too_large"],
    ] as const) {
      expect(refusalOf(() => checkSecret("A", value))?.code).toBe(code);
      expect(areStorable({ A: value })).toBe(false);
    }
  });

  it("tells no more than its field when its value is refused", () => {
    const refusal = refusalOf(() => checkSecret("A", `${LONGEST}x`));
    expect(refusal?.message).toBe("secret value too large");
    expect(refusal?.options.details).toEqual({ field: "value", max_bytes: SECRET_VALUE_BYTES_MAX });
  });
});

describe("the secrets of a creation", () => {
  it("are as many as a scope takes", () => {
    const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`K${index}`, "v"]));
    expect(areStorable({})).toBe(true);
    expect(areStorable(many(SECRETS_PER_SCOPE_MAX))).toBe(true);
    expect(areStorable(many(SECRETS_PER_SCOPE_MAX + 1))).toBe(false);
  });
});

describe("a list of secrets", () => {
  const at = (key: string, updatedAt = 1_000) => ({ key, createdAt: 0, updatedAt });

  it("shows key, scope and times of each", () => {
    expect(secretView(at("A", 1_500), "global")).toEqual({
      key: "A",
      has_value: true,
      scope: "global",
      created_at: "1970-01-01T00:00:00Z",
      updated_at: "1970-01-01T00:00:01.5Z",
    });
  });

  it("holds a workspace's own and those of the organisation that it does not replace, by key", () => {
    const views = workspaceSecretViews({ own: [at("B"), at("Z")], global: [at("A"), at("B"), at("C")] });
    expect(views.map(({ key, scope }) => `${key} ${scope}`)).toEqual([
      "A global",
      "B workspace",
      "C global",
      "Z workspace",
    ]);
  });
});
