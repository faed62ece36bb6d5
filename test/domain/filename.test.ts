import { describe, expect, it } from "vitest";
import { baseName, sanitiseFilename, sanitiseFilenameBytes } from "../../src/domain/filename.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (value: string) => new TextEncoder().encode(value);

describe("a file name", () => {
  it.each([
    ["hello world!.pdf", "hello_world_.pdf"],
    ["../../etc/passwd", "passwd"],
    ["..\\..\\x.txt", ".._.._x.txt"],
    ["日本.txt", "__.txt"],
    ["", "file"],
    [".", "file"],
    ["..", "file"],
    ["a/..", "file"],
    ["/", "_"],
    ["///", "_"],
    ["a/b/", "b"],
    ["/a", "a"],
    [".env", ".env"],
    ["a\u0000b", "a_b"],
    ["😀.png", "_.png"],
    ["\ud800x", "_x"],
    ['q"uo\r\nte', "q_uo__te"],
  ])("%j is stored as %j", (name, stored) => {
    expect(sanitiseFilename(name)).toBe(stored);
  });

  it.each([
    ["a short extension is kept", `${"a".repeat(120)}.txt`, `${"a".repeat(96)}.txt`],
    [
      "an extension of 16 characters is kept",
      `${"a".repeat(90)}.${"e".repeat(15)}`,
      `${"a".repeat(84)}.${"e".repeat(15)}`,
    ],
    [
      "an extension of 17 characters is not",
      `${"a".repeat(90)}.${"e".repeat(16)}`,
      `${"a".repeat(90)}.${"e".repeat(9)}`,
    ],
    ["a name without a dot is cut", "a".repeat(101), "a".repeat(100)],
    ["a name that is nothing but an extension is cut", `.${"a".repeat(120)}`, `.${"a".repeat(99)}`],
    ["a hundred characters are left alone", `${"a".repeat(96)}.txt`, `${"a".repeat(96)}.txt`],
  ])("is at most 100 characters long: %s", (_, name, stored) => {
    expect(sanitiseFilename(name)).toBe(stored);
  });

  it.each([
    ["a stray continuation byte", [0x61, 0x80, 0x62], "a_b"],
    ["a sequence cut short", [0xe3, 0x81, 0x61], "__a"],
    ["a sequence cut short by the end", [0x61, 0xf0, 0x9f], "a__"],
    ["an overlong slash", [0xc0, 0xaf], "__"],
    ["overlong three bytes", [0xe0, 0x80, 0x80], "___"],
    ["overlong four bytes", [0xf0, 0x80, 0x80, 0x80], "____"],
    ["a surrogate", [0xed, 0xa0, 0x80], "___"],
    ["above U+10FFFF", [0xf4, 0x90, 0x80, 0x80], "____"],
    ["a byte that never occurs", [0xff, 0x2e, 0x61], "_.a"],
    ["two valid bytes", [0xc3, 0xa9, 0x61], "_a"],
    ["four valid bytes", [0xf3, 0xa0, 0x80, 0x81, 0x61], "_a"],
  ])("counts each invalid byte as one character: %s", (_, name, stored) => {
    expect(sanitiseFilenameBytes(new Uint8Array(name))).toBe(stored);
  });

  it("is shown by its base name, bytes untouched", () => {
    expect(text(baseName(bytes("C:/Ümläut/ß file.txt")))).toBe("ß file.txt");
    expect(text(baseName(bytes("plain")))).toBe("plain");
    expect(text(baseName(bytes("//")))).toBe("/");
    expect(text(baseName(bytes("")))).toBe("");
  });
});
