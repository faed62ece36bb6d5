import { describe, expect, it } from "vitest";
import { Refusal } from "../../src/domain/refusal.ts";
import { CREATE_WORKSPACE, checkCreation, hostDirectoryOf, isWithin } from "../../src/domain/workspace-creation.ts";

function check(fields: Record<string, unknown>): string {
  try {
    checkCreation(CREATE_WORKSPACE.parse({ name: "n", ...fields }));
    return "ok";
  } catch (error) {
    if (error instanceof Refusal) return error.message;
    throw error;
  }
}

function fits(fields: Record<string, unknown>): boolean {
  return CREATE_WORKSPACE.safeParse({ name: "n", ...fields }).success;
}

describe("the body of a creation", () => {
  it("needs a name and no more, and ignores what it does not know", () => {
    expect(fits({ colour: "red" })).toBe(true);
    expect(fits({ name: undefined })).toBe(false);
    expect(fits({ name: "" })).toBe(false);
    expect(fits({ name: " " })).toBe(true);
  });

  it("may have null for everything else", () => {
    const nulls = Object.keys(CREATE_WORKSPACE.shape).filter((key) => key !== "name");
    expect(fits(Object.fromEntries(nulls.map((key) => [key, null])))).toBe(true);
  });

  it("refuses wrong types, unstorable texts and numbers that no column holds", () => {
    for (const fields of [
      { name: 7 },
      { name: "a\u0000" },
      { role: "\ud800" },
      { tier: "2" },
      { tier: 2 ** 31 },
      { external: "true" },
      { budget_limit: 1e300 },
      { budget_limit: -1 },
      { budget_limit: "12" },
      { max_concurrent_tasks: 1.5 },
      { canvas: { x: "1" } },
      { secrets: { KEY: 1 } },
      { initial_memories: {} },
      { url: `https://${"a".repeat(2_048)}` },
    ]) {
      expect(fits(fields), JSON.stringify(fields)).toBe(false);
    }
  });
});

it("rounds a limit to whole cents", () => {
  const limit = (budget_limit: unknown) => CREATE_WORKSPACE.parse({ name: "n", budget_limit }).budget_limit;
  expect([12.5, 12.4, 0.2, 0, 7, null].map(limit)).toEqual([13, 12, 0, 0, 7, null]);
});

describe("the field rules", () => {
  it("count bytes, not characters", () => {
    expect(check({ name: "é".repeat(127) })).toBe("ok");
    expect(check({ name: "é".repeat(128) })).toBe("invalid workspace fields");
    expect(check({ role: "r".repeat(1_000), model: "m".repeat(100), runtime: "r".repeat(100) })).toBe("ok");
    for (const fields of [{ role: "r".repeat(1_001) }, { model: "m".repeat(101) }, { runtime: "r".repeat(101) }]) {
      expect(check(fields)).toBe("invalid workspace fields");
    }
  });

  it("keep brackets and line breaks out of name and role, line breaks out of model and runtime", () => {
    for (const character of "{}[]|>*&!\r\n") {
      expect(check({ name: `a${character}b` }), JSON.stringify(character)).toBe("invalid workspace fields");
      expect(check({ role: `a${character}b` })).toBe("invalid workspace fields");
      expect(check({ model: `a${character}b` })).toBe(/[\r\n]/.test(character) ? "invalid workspace fields" : "ok");
    }
    expect(check({ runtime: "a\nb" })).toBe("invalid workspace fields");
  });

  it("let a directory be absolute, outside the system's, without a way up", () => {
    for (const path of ["/data", "/home", "/home/me/..a", "/etcetera", "/usrlocal/x", "/home/etc", "//data/./x/", ""])
      expect(check({ workspace_dir: path })).toBe("ok");
    for (const path of [
      "home",
      "./home",
      "/home/../x",
      "/home/..",
      "/etc",
      "/var/x",
      "/usr/",
      "/proc/1",
      "/run/docker.sock",
      "/root",
      "/lib64",
      "/lib32/x",
      "/libx32",
      "//etc",
      "/./etc",
      "/",
      "/.",
    ]) {
      expect(check({ workspace_dir: path }), path).toBe("invalid workspace directory");
    }
  });

  it("find a directory below a root by whole names, and none without a root", () => {
    const roots = ["/srv/a/", "/data"];
    for (const path of ["/data", "/data/", "/data/shop", "//data/./shop", "/srv/a", "/srv/a/b/c"]) {
      expect(isWithin(path, roots), path).toBe(true);
    }
    for (const path of [
      "/",
      "",
      "data",
      "./data",
      "/data2",
      "/dat",
      "/srv",
      "/srv/ab",
      "/data/../etc",
      "/x/data",
      "/DATA",
    ]) {
      expect(isWithin(path, roots), path).toBe(false);
    }
    expect(isWithin("/data", [])).toBe(false);
    expect(isWithin("/data", ["data", "/x/../data"])).toBe(false);
  });

  it("want a directory for every access but none", () => {
    for (const access of ["", "none", null]) expect(check({ workspace_access: access })).toBe("ok");
    for (const access of ["read_only", "read_write"]) {
      expect(check({ workspace_access: access })).toBe("invalid workspace access");
      expect(check({ workspace_access: access, workspace_dir: "/data" })).toBe("ok");
    }
    expect(check({ workspace_access: "all", workspace_dir: "/data" })).toBe("invalid workspace access");
  });

  it("give a machine nothing of its host without both a directory and an access", () => {
    expect(hostDirectoryOf("/data", "read_only")).toEqual({ path: "/data", readOnly: true });
    expect(hostDirectoryOf("/data", "read_write")).toEqual({ path: "/data", readOnly: false });
    expect([hostDirectoryOf("/data", "none"), hostDirectoryOf(null, "read_write")]).toEqual([null, null]);
  });

  it("know two delivery modes", () => {
    for (const mode of ["", "push", "poll", null]) expect(check({ delivery_mode: mode })).toBe("ok");
    expect(check({ delivery_mode: "pull" })).toBe("delivery_mode must be 'push' or 'poll'");
  });
});
