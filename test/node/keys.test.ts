import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { keysOf } from "../../scripts/local/keys.ts";
import { passedVariables } from "../../scripts/local/variables.ts";

function aDataDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), "posthouse-keys-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

it("makes each key once", () => {
  const dataDir = aDataDirectory();
  const keys = keysOf(dataDir);
  expect(Object.keys(keys)).toEqual(["TOKEN_KEY", "CURSOR_KEY", "SECRETS_KEY"]);
  expect(new Set(Object.values(keys)).size).toBe(3);
  expect(Buffer.from(keys.SECRETS_KEY, "base64")).toHaveLength(32);
  expect(keysOf(dataDir)).toEqual(keys);
});

it("takes the keys that it knows from a file that holds others, and leaves the file alone", () => {
  const path = join(aDataDirectory(), "keys.json");
  const text = JSON.stringify({ TOKEN_KEY: "one", CURSOR_KEY: "two", SECRETS_KEY: "three", NEXT_KEY: "four" });
  writeFileSync(path, text);
  expect(keysOf(join(path, ".."))).toEqual({ TOKEN_KEY: "one", CURSOR_KEY: "two", SECRETS_KEY: "three" });
  expect(readFileSync(path, "utf8")).toBe(text);
});

it("adds a key that a file of an earlier version lacks, and keeps the others", () => {
  const path = join(aDataDirectory(), "keys.json");
  writeFileSync(path, JSON.stringify({ TOKEN_KEY: "one", CURSOR_KEY: "two" }));
  const keys = keysOf(join(path, ".."));
  expect(keys).toEqual({ TOKEN_KEY: "one", CURSOR_KEY: "two", SECRETS_KEY: expect.any(String) });
  expect(keysOf(join(path, ".."))).toEqual(keys);
});

it("hands the previous keys on to the Worker", () => {
  const environment = {
    TOKEN_KEY_PREVIOUS: "old",
    SECRETS_KEY_PREVIOUS: "older",
    CURSOR_KEY: "not handed on",
    HOME: "/root",
  };
  expect(passedVariables({ ...environment, MOLECULE_ENV: "" })).toEqual({
    TOKEN_KEY_PREVIOUS: "old",
    SECRETS_KEY_PREVIOUS: "older",
    MOLECULE_ENV: "development",
  });
});
