import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { RUNTIMES } from "../../src/domain/runtime.ts";

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
/** A runtime's name as a literal of its own, or as part of an image. */
const NAMES_RUNTIME = new RegExp(`(["'\`])(?:${RUNTIMES.map(({ name }) => name).join("|")})\\1|workspace-template-`);
/** What is shown to people, and templates, which name runtimes as everybody may. */
const NAMES_RUNTIMES_FREELY = /^(?:connections\/snippets|org-import\/gallery)\//;

/** The code without its comments. */
function uncommented(code: string): string {
  return code.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
}

function filesNamingRuntimes(files = sources()): string[] {
  const judged = files.filter(({ path }) => !NAMES_RUNTIMES_FREELY.test(path));
  return filesWith(
    NAMES_RUNTIME,
    judged.map(({ path, code }) => ({ path, code: uncommented(code) })),
  );
}

describe("one place only", () => {
  it("inserts workspaces", () => {
    expect(filesWith(INSERTS_WORKSPACES)).toEqual(["durable-objects/directory/node-store.ts"]);
  });

  it("makes a workspace failed, with its message and its event", () => {
    expect(filesWith(WRITES_FAILED)).toEqual(["durable-objects/workspace/failed.ts"]);
    expect(filesWith(TELLS_FAILED)).toEqual(["durable-objects/workspace/failed.ts"]);
  });

  it("knows runtimes by their names", () => {
    expect(filesNamingRuntimes()).toEqual(["domain/runtime.ts"]);
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
    for (const code of ['runtime === "external"', "['hermes']", "const image = `x/workspace-template-codex`"]) {
      expect(filesNamingRuntimes(second(code))).toEqual(["second.ts"]);
    }
    expect(filesNamingRuntimes(second("/** Runtime `external`. */"))).toEqual([]);
  });
});
