import { describe, expect, it } from "vitest";
import { type EnvRequirement, summarizeEnv, unmetBy } from "../../src/domain/env-requirement.ts";

function required(...entries: EnvRequirement[]): readonly EnvRequirement[] {
  return summarizeEnv([{ required_env: entries }]).required;
}

describe("what a template needs of its environment", () => {
  it("is the union of all needs, single names first, then groups, both sorted", () => {
    const summary = summarizeEnv([
      { required_env: [{ any_of: ["Z", "Y"] }, "B"], recommended_env: ["R"] },
      {},
      { required_env: ["A", { any_of: ["C", "D"] }, "B"], recommended_env: null },
    ]);
    expect(summary).toEqual({
      required: ["A", "B", { any_of: ["C", "D"] }, { any_of: ["Z", "Y"] }],
      recommended: ["R"],
      dropped: [],
    });
  });

  it("has no group that a single required name satisfies anyhow", () => {
    expect(required({ any_of: ["A", "B"] }, "B", { any_of: ["C", "D"] })).toEqual(["B", { any_of: ["C", "D"] }]);
  });

  it("takes a group of one for a single name, and the same names in another order for the same group", () => {
    expect(required({ any_of: ["A"] }, { any_of: ["B", "C"] }, { any_of: ["C", "B"] }, { any_of: ["D", "D"] })).toEqual(
      ["A", "D", { any_of: ["C", "B"] }],
    );
  });

  it("recommends nothing that is required", () => {
    const { recommended } = summarizeEnv([
      {
        required_env: ["A", { any_of: ["B", "C"] }],
        recommended_env: ["A", { any_of: ["A", "X"] }, { any_of: ["C", "B"] }, "B", { any_of: ["X", "Y"] }],
      },
    ]);
    expect(recommended).toEqual(["B", { any_of: ["X", "Y"] }]);
  });

  it("drops names that no variable has, and tells which", () => {
    const long = `A${"B".repeat(128)}`;
    expect(
      summarizeEnv([
        { required_env: ["lower", "A-B", "1A", "OK", { any_of: ["x", "y"] }, { any_of: ["bad one", "P", "Q"] }] },
        { recommended_env: [long, "lower"] },
      ]),
    ).toEqual({
      required: ["OK", { any_of: ["P", "Q"] }],
      recommended: [],
      dropped: ["lower", "A-B", "1A", "x", "y", "bad one", long],
    });
  });

  it("is met by each single name and one of each group", () => {
    const needs: EnvRequirement[] = ["A", "B", { any_of: ["C", "D"] }, { any_of: ["E", "F"] }];
    expect(unmetBy(new Set(["A", "D"]), needs)).toEqual(["B", { any_of: ["E", "F"] }]);
    expect(unmetBy(new Set(["A", "B", "C", "F"]), needs)).toEqual([]);
  });
});
