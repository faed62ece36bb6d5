import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const SOURCE = resolve(import.meta.dirname, "../../src");

/** The files of `src` in which a pattern stands, by their paths. */
function filesWith(pattern: RegExp, files = sources()): string[] {
  return files.filter(({ code }) => pattern.test(code)).map(({ path }) => path);
}

function sources(): { path: string; code: string }[] {
  return readdirSync(SOURCE, { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".ts"))
    .map((path) => ({ path: path.replaceAll("\\", "/"), code: readFileSync(join(SOURCE, path), "utf8") }));
}

const INSERTS_WORKSPACES = /INSERT (?:OR \w+ )?INTO nodes\b/;
const WRITES_FAILED = /profile\s*\.set\(\s*\{[^}]*\bstatus:\s*"failed"/;
const TELLS_FAILED = /(?:record\(|event:)\s*"WORKSPACE_PROVISION_FAILED"/;

describe("one place only", () => {
  it("inserts workspaces", () => {
    expect(filesWith(INSERTS_WORKSPACES)).toEqual(["durable-objects/directory/node-store.ts"]);
  });

  it("makes a workspace failed, with its message and its event", () => {
    expect(filesWith(WRITES_FAILED)).toEqual(["durable-objects/workspace/failed.ts"]);
    expect(filesWith(TELLS_FAILED)).toEqual(["durable-objects/workspace/failed.ts"]);
  });

  it("is what these gates see: a second writer is found", () => {
    const second = (code: string) => [{ path: "second.ts", code }];
    expect(filesWith(INSERTS_WORKSPACES, second('sql.exec("INSERT INTO nodes (id) VALUES (?)")'))).toEqual([
      "second.ts",
    ]);
    expect(filesWith(WRITES_FAILED, second('core.profile.set({ url: null, status: "failed" })'))).toEqual([
      "second.ts",
    ]);
    for (const code of [
      'events.record("WORKSPACE_PROVISION_FAILED", "{}", 0)',
      '[{ event: "WORKSPACE_PROVISION_FAILED", payload }]',
    ]) {
      expect(filesWith(TELLS_FAILED, second(code))).toEqual(["second.ts"]);
    }
  });
});
