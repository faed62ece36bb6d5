import { describe, expect, it } from "vitest";
import type { EnvSummary } from "../../src/domain/env-requirement.ts";
import { REFUSALS, Refusal } from "../../src/domain/refusal.ts";
import { checkPreflight } from "../../src/org-import/preflight.ts";

const NEEDS: EnvSummary = { required: ["A", "B", { any_of: ["C", "D"] }], recommended: ["E"], dropped: [] };

describe("the preflight of an import", () => {
  it("passes when each variable and one of each group is there, recommended ones or not", () => {
    checkPreflight("Org", NEEDS, new Set(["A", "B", "D"]));
    checkPreflight("Org", { required: [], recommended: [], dropped: [] }, new Set());
  });

  it("tells with 412 what is missing, what is required and what to do", () => {
    let refusal: unknown = null;
    try {
      checkPreflight("Org", NEEDS, new Set(["A", "E"]));
    } catch (error) {
      refusal = error;
    }
    if (!(refusal instanceof Refusal)) throw new Error("it passed");
    expect([REFUSALS[refusal.code].status, refusal.message]).toEqual([412, "missing required environment variables"]);
    expect(refusal.options.details).toEqual({
      missing_env: ["B", { any_of: ["C", "D"] }],
      required_env: ["A", "B", { any_of: ["C", "D"] }],
      template: "Org",
      suggestion: "set these as global secrets (POST /settings/secrets) before importing",
    });
  });
});
