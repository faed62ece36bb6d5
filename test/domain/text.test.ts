import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cutCodePoints, isStorableJson, isStorableText } from "../../src/domain/text.ts";

const escaped = (unit: number) => `\\u${unit.toString(16).padStart(4, "0")}`;
const troublesomeUnit = fc.constantFrom(0, 0x41, 0x5c, 0x22, 0xd800, 0xdbff, 0xdc00, 0xdfff, 0xffff);
const troublesomeText = fc
  .array(fc.oneof(troublesomeUnit, fc.nat(0xffff)), { maxLength: 6 })
  .map((units) => String.fromCharCode(...units));

function deepStorable(value: unknown): boolean {
  if (typeof value === "string") return isStorableText(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, member]) => isStorableText(key) && deepStorable(member));
}

describe("a text", () => {
  it.each([
    ["empty", "", true],
    ["plain", "plain", true],
    ["beyond the basic plane", "日本 \u{1f600}", true],
    ["with U+0000", "a\u0000b", false],
    ["with half a pair", "\ud83d", false],
    ["with a pair the wrong way round", "\ude00\ud83d", false],
  ])("%s can be stored or not", (_, text, storable) => {
    expect(isStorableText(text)).toBe(storable);
  });
});

describe("a JSON text", () => {
  it("is storable exactly when every string in it is", () => {
    fc.assert(
      fc.property(fc.jsonValue({ depthSize: "medium" }), troublesomeText, (value, text) => {
        const json = JSON.stringify({ value, [text]: [text, "tail"] });
        expect(isStorableJson(json)).toBe(deepStorable(JSON.parse(json)));
      }),
    );
  });

  it("is judged alike when every character is escaped", () => {
    fc.assert(
      fc.property(troublesomeText, (text) => {
        const json = `"${[...Array(text.length).keys()].map((at) => escaped(text.charCodeAt(at))).join("")}"`;
        expect(isStorableJson(json)).toBe(isStorableText(text));
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    [String.raw`"\\u0000"`, true],
    [String.raw`"\u0000"`, false],
    [String.raw`"\\\u0000"`, false],
    [String.raw`"\ud83d\ude00"`, true],
    [String.raw`"\ud83dx\ude00"`, false],
    [String.raw`"\ud83d\n"`, false],
    [String.raw`"\ud83d","x"`, false],
  ])("%s is storable: %s", (json, storable) => {
    expect(isStorableJson(json)).toBe(storable);
  });

  it("is not storable with the raw characters either", () => {
    expect(isStorableJson('"\u0000"')).toBe(false);
    expect(isStorableJson('"\ud83d"')).toBe(false);
  });
});

describe("a cut", () => {
  it("takes the first code points and never half a character", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.nat(12), (text, count) => {
        expect(cutCodePoints(text, count)).toBe([...text].slice(0, count).join(""));
      }),
    );
  });
});
