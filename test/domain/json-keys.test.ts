import { describe, expect, it } from "vitest";
import * as z from "zod";
import { matchKeys } from "../../src/domain/json-keys.ts";

interface Node {
  readonly name?: string | null | undefined;
  readonly children?: readonly Node[] | null | undefined;
}
const NODE: z.ZodType<Node> = z.object({
  name: z.string().nullish(),
  children: z.lazy(() => z.array(NODE)).nullish(),
});

describe("the keys of a body", () => {
  it("are found in any case, at every level", () => {
    const given = { NAME: "a", Children: [{ Name: "b", cHILDREN: [{ name: "c" }] }] };
    expect(matchKeys(given, NODE)).toEqual({ name: "a", children: [{ name: "b", children: [{ name: "c" }] }] });
  });

  it("are read in their exact spelling where that stands beside another one, else the last counts", () => {
    expect(NODE.parse(matchKeys({ name: "exact", NAME: "loud" }, NODE))).toEqual({ name: "exact" });
    expect(NODE.parse(matchKeys({ Name: "first", NAME: "last" }, NODE))).toEqual({ name: "last" });
  });

  it("stay as they are where they are names of somebody's own, or nobody knows them", () => {
    const schema = z.object({ files: z.record(z.string(), NODE), card: z.record(z.string(), z.unknown()) });
    const card = { Name: { Files: 1 } };
    expect(matchKeys({ Files: { "README.md": { Name: "x" } }, Card: card, Other: { Name: 1 } }, schema)).toEqual({
      files: { "README.md": { name: "x" } },
      card,
      Other: { Name: 1 },
    });
    expect(Object.keys(matchKeys(JSON.parse('{"__proto__":1,"constructor":2}'), schema) as object)).toEqual([
      "__proto__",
      "constructor",
    ]);
  });

  it("are found in whichever shape of several a value has", () => {
    const schema = z.array(z.union([z.string(), z.object({ any_of: z.array(z.string()) })]));
    expect(matchKeys(["A", { Any_Of: ["B"] }], schema)).toEqual(["A", { any_of: ["B"] }]);
  });

  it("matter only in values of the schema's shape; all else is left for the schema to refuse", () => {
    for (const value of [null, 7, "x", [], [{ Name: 1 }]]) expect(matchKeys(value, NODE)).toEqual(value);
    expect(matchKeys({ Children: { Name: "a" } }, NODE)).toEqual({ children: { Name: "a" } });
  });
});
