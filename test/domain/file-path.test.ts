import { describe, expect, it } from "vitest";
import { folderOf, isFilePath, pathInside } from "../../src/domain/file-path.ts";

describe("a path inside a folder", () => {
  it.each([
    ["", "a.yaml", "a.yaml"],
    ["teams", "a.yaml", "teams/a.yaml"],
    ["teams", "./x/./a.yaml", "teams/x/a.yaml"],
    ["teams", "../a.yaml", "a.yaml"],
    ["teams/dev", "../../a.yaml", "a.yaml"],
    ["", "a//b/", "a/b"],
    ["", ".", ""],
    ["", "..a/b..", "..a/b.."],
  ])("from %j to %j is %j", (folder, path, expected) => {
    expect(pathInside(folder, path)).toBe(expected);
  });

  it.each([
    ["", "../a"],
    ["teams", "../../a"],
    ["", "a/../../b"],
    ["", "/etc/passwd"],
    ["", "a\\..\\b"],
    ["", "a\u0000b"],
    ["", "a\nb"],
    ["", "a".repeat(513)],
  ])("from %j to %j is none", (folder, path) => {
    expect(pathInside(folder, path)).toBeNull();
  });
});

it("a file's path is written in one way only", () => {
  expect(["a", "a/b.md", ".env", "ä/ö"].filter(isFilePath)).toEqual(["a", "a/b.md", ".env", "ä/ö"]);
  expect(["", ".", "a/", "/a", "./a", "a//b", "a/../b", "..", "\ud800", "a\\b"].filter(isFilePath)).toEqual([]);
});

it("the folder of a file is what stands before its last slash", () => {
  expect([folderOf("a"), folderOf("a/b"), folderOf("a/b/c")]).toEqual(["", "a", "a/b"]);
});
