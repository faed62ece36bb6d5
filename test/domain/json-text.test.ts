import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  isJsonObject,
  MAX_JSON_DEPTH,
  memberSpanAt,
  memberSpans,
  memberText,
  parseJsonText,
  replaceSpan,
  setMember,
} from "../../src/domain/json-text.ts";

const aKey = fc.oneof(fc.string(), fc.constantFrom("a", "b", '"', "\\", '\\"', "{", "}", "__proto__", ""));
const aValue = fc.jsonValue({ depthSize: "medium", noUnicodeString: false });
const anObject = fc.array(fc.tuple(aKey, aValue), { maxLength: 6 }).map((entries) => new Map(entries));
const anIndent = fc.constantFrom(undefined, 1, "\t", "\r\n ");

/** Written by hand, because an object would lose `__proto__` and put integer keys first. */
function written(members: ReadonlyMap<string, unknown>, indent?: number | string): string {
  const gap = indent === undefined ? "" : " \n";
  const list = [...members].map(
    ([key, value]) => `${JSON.stringify(key)}${gap}:${gap}${JSON.stringify(value, null, indent)}`,
  );
  return `${gap}{${gap}${list.join(`${gap},${gap}`)}${gap}}${gap}`;
}

describe("the members of an object", () => {
  it("are those that JSON.parse sees, in their order", () => {
    fc.assert(
      fc.property(anObject, anIndent, (members, indent) => {
        const text = written(members, indent);
        const spans = memberSpans(text);
        expect([...spans.keys()]).toEqual([...members.keys()]);
        for (const [key, span] of spans) {
          expect(text.slice(span.start, span.end)).toBe(JSON.stringify(members.get(key), null, indent));
          expect(JSON.parse(text.slice(span.key.start, span.key.end))).toBe(key);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("count by the last of a repeated key", () => {
    expect(memberText('{"a":1,"a":2}', "a")).toBe("2");
  });

  it("are none where no object stands", () => {
    expect(memberSpans("[1]").size).toBe(0);
    expect(memberSpans("").size).toBe(0);
    expect(memberText('{"a":[1]}', "a", "b")).toBeNull();
  });

  it("are found along a path, as written", () => {
    const text = '{"params" : {"message": {"n": 12345678901234567890.10 } } }';
    expect(memberText(text, "params", "message", "n")).toBe("12345678901234567890.10");
    expect(memberText(text, "params", "other")).toBeNull();
    expect(memberText(text)).toBe(text);
    expect(memberSpanAt(text, [])).toEqual({ start: 0, end: text.length });
  });

  it("of a text that ends too early end with it", () => {
    expect(memberText('{"a":"b', "a")).toBe('"b');
    expect(memberText('{"a":12', "a")).toBe("12");
  });
});

describe("setting a member", () => {
  it("gives what assigning it would, and changes nothing else", () => {
    fc.assert(
      fc.property(anObject, aKey, aValue, anIndent, (members, key, value, indent) => {
        const text = setMember(written(members, indent), 0, key, JSON.stringify(value));
        const expected = new Map([
          ...(members.has(key) ? [] : [[key, value] as const]),
          ...members,
          [key, value] as const,
        ]);
        const spans = memberSpans(text);
        expect([...spans.keys()]).toEqual([...expected.keys()]);
        for (const [name, span] of spans) {
          expect(JSON.parse(text.slice(span.start, span.end))).toEqual(JSON.parse(JSON.stringify(expected.get(name))));
        }
      }),
      { numRuns: 300 },
    );
  });

  it("leaves large integers and key order alone", () => {
    expect(setMember('{"z":12345678901234567890,"a":1}', 0, "a", "2")).toBe('{"z":12345678901234567890,"a":2}');
    expect(setMember('{ "z":1}', 0, "a", "2")).toBe('{"a":2, "z":1}');
    expect(setMember("{}", 0, "a", "2")).toBe('{"a":2}');
  });

  it("replaces exactly a span", () => {
    expect(replaceSpan("abcd", { start: 1, end: 3 }, "-")).toBe("a-d");
  });
});

describe("a JSON text", () => {
  it("is parsed as JSON.parse does", () => {
    fc.assert(
      fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
        let expected: { value: unknown } | null;
        try {
          expected = { value: JSON.parse(text) };
        } catch {
          expected = null;
        }
        expect(parseJsonText(text)).toEqual(expected);
      }),
    );
  });

  it("may nest 512 levels and not one more", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(parseJsonText(nested(MAX_JSON_DEPTH))).not.toBeNull();
    expect(parseJsonText(nested(MAX_JSON_DEPTH + 1))).toBeNull();
    expect(parseJsonText('{"a":'.repeat(100_000))).toBeNull();
    expect(parseJsonText(`"${"[".repeat(10_000)}"`)).not.toBeNull();
  });

  it("is searched fast even when it is all quotes and backslashes", () => {
    const hostile = JSON.stringify({ a: '\\"'.repeat(150_000), b: 1 });
    expect(memberText(hostile, "b")).toBe("1");
    expect(parseJsonText(hostile)).not.toBeNull();
  });
});

it.each([
  [{}, true],
  [[], false],
  [null, false],
  ["", false],
])("%j is an object: %s", (value, object) => {
  expect(isJsonObject(value)).toBe(object);
});
