import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { tarOf } from "../../src/provisioners/tar.ts";

/** Unpacks with the system's tar, which knows nothing of ours. */
function unpack(archive: Uint8Array): string {
  const folder = mkdtempSync(join(tmpdir(), "posthouse-tar-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "archive.tar"), archive);
  execFileSync("tar", ["-xpf", "archive.tar"], { cwd: folder });
  return folder;
}

describe("an archive", () => {
  it("is read by tar with its texts, modes and folders", () => {
    const long = `${"folder-of-a-name/".repeat(8)}file.txt`;
    const files = [
      { path: "config.yaml", text: "name: Schreiberin ✒\n", mode: 0o644 },
      { path: ".auth_token", text: "t".repeat(512), mode: 0o600 },
      { path: "prompts/system.md", text: "x".repeat(100_000), mode: 0o644 },
      { path: "empty", text: "", mode: 0o644 },
      { path: long, text: "deep", mode: 0o644 },
    ];
    const folder = unpack(tarOf(files) ?? new Uint8Array());
    for (const { path, text, mode } of files) {
      expect(readFileSync(join(folder, path), "utf8"), path).toBe(text);
      expect(statSync(join(folder, path)).mode & 0o777, path).toBe(mode);
    }
  });

  it("of nothing is empty and sound", () => {
    expect(tarOf([])).toEqual(new Uint8Array(1024));
  });

  it.each(["", "/absolute", "../up", "a/../b", "a//b", "./a", "a/", "nul\0", "x".repeat(101), `${"p".repeat(156)}/a`])(
    "is not made with the path %j",
    (path) => {
      expect(tarOf([{ path, text: "", mode: 0o644 }])).toBeNull();
    },
  );
});
