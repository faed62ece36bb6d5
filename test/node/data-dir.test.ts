import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { makePrivate } from "../../scripts/local/data-dir.ts";

function aParent(): string {
  const directory = mkdtempSync(join(tmpdir(), "posthouse-data-dir-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function modeOf(path: string): number {
  return statSync(path).mode & 0o777;
}

it("lets nobody else read a new data directory, and as root lets Postgres pass", () => {
  const dataDir = join(aParent(), "not", "there", "yet");
  makePrivate(dataDir);
  expect(modeOf(dataDir)).toBe(process.getuid?.() === 0 ? 0o711 : 0o700);
  expect(modeOf(join(dataDir, "state"))).toBe(0o700);
});

it("closes what an earlier start left open, and leaves the directory itself as it was", () => {
  const dataDir = aParent();
  chmodSync(dataDir, 0o755);
  mkdirSync(join(dataDir, "state"), { mode: 0o755 });
  makePrivate(dataDir);
  expect(modeOf(dataDir)).toBe(0o755);
  expect(modeOf(join(dataDir, "state"))).toBe(0o700);
  expect(modeOf(join(dataDir, "run"))).toBe(0o700);
});
