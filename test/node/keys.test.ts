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
  expect(Object.keys(keys)).toEqual(["TOKEN_KEY", "CURSOR_KEY"]);
  expect(keys.TOKEN_KEY).not.toBe(keys.CURSOR_KEY);
  expect(keysOf(dataDir)).toEqual(keys);
});

it("takes the keys that it knows from a file that holds others, and leaves the file alone", () => {
  const path = join(aDataDirectory(), "keys.json");
  const text = JSON.stringify({ TOKEN_KEY: "one", CURSOR_KEY: "two", SECRETS_KEY: "three" });
  writeFileSync(path, text);
  expect(keysOf(join(path, ".."))).toEqual({ TOKEN_KEY: "one", CURSOR_KEY: "two" });
  expect(readFileSync(path, "utf8")).toBe(text);
});

it("hands the previous token key on to the Worker", () => {
  const environment = { TOKEN_KEY_PREVIOUS: "old", CURSOR_KEY: "not handed on", HOME: "/root" };
  expect(passedVariables({ ...environment, MOLECULE_ENV: "" })).toEqual({
    TOKEN_KEY_PREVIOUS: "old",
    MOLECULE_ENV: "development",
  });
});
