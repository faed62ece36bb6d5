import { describe, expect, it } from "vitest";
import { parseOrgTemplate } from "../../src/domain/org-template.ts";
import { Refusal } from "../../src/domain/refusal.ts";
import {
  type Org,
  type OrgSummary,
  readImportRequest,
  readOrgDirectory,
  readOrgInline,
  readYaml,
  summarizeOrg,
} from "../../src/org-import/read.ts";

const OPTIONS = { defaultTier: 3 };

function read(files: Record<string, string>, options: Parameters<typeof readOrgDirectory>[2] = OPTIONS): Org {
  return readOrgDirectory("team", new Map(Object.entries(files)), options);
}

function summarize(files: Record<string, string>): OrgSummary | null {
  return summarizeOrg("team", new Map(Object.entries(files)));
}

function names({ tree }: Org): string[] {
  return tree.roots.flatMap((root) => [root.name, ...root.children.map(({ name }) => name)]);
}

function refusalOf(work: () => unknown): { code: string; error: string; reason?: unknown; field?: unknown } {
  try {
    work();
  } catch (error) {
    if (error instanceof Refusal) return { code: error.code, error: error.message, ...error.options.details };
    throw error;
  }
  throw new Error("nothing was refused");
}

function reasonAgainst(files: Record<string, string>): unknown {
  const { code, error, reason } = refusalOf(() => read(files));
  expect([code, error]).toEqual(["org.expansion_failed", "org template expansion failed"]);
  return reason;
}

describe("the request of an import", () => {
  it("names a directory, which wins, or brings a template with a name", () => {
    expect(readImportRequest({ dir: "team", template: { name: 7 } })).toEqual({
      source: { dir: "team" },
      mode: "merge",
      dryRun: false,
    });
    expect(readImportRequest({ dir: "", template: { name: "Org" }, mode: "replace", dry_run: true })).toEqual({
      source: { template: { name: "Org" } },
      mode: "replace",
      dryRun: true,
    });
    expect(readImportRequest({ dir: "./team/", force: true }).source).toEqual({ dir: "team" });
  });

  it("may write its keys in any case, those of a template inside it too, but no names of its own", () => {
    expect(readImportRequest({ Dir: "team", DRY_RUN: true })).toMatchObject({ source: { dir: "team" }, dryRun: true });
    const routing = { category_routing: { Bugs: ["Lead"] } };
    const defaults = { Category_Routing: routing.category_routing };
    const template = {
      NAME: "Org",
      Defaults: defaults,
      Workspaces: [{ Name: "a", Required_Env: [{ Any_Of: ["A"] }] }],
    };
    expect(readImportRequest({ Template: template }).source).toEqual({
      template: { name: "Org", defaults: routing, workspaces: [{ name: "a", required_env: [{ any_of: ["A"] }] }] },
    });
  });

  it.each([{}, { dir: "" }, { dir: null, template: null }, { template: {} }, { template: { name: "" } }])(
    "is refused without either: %j",
    (body) => {
      expect(refusalOf(() => readImportRequest(body)).error).toBe("provide 'dir' or 'template'");
    },
  );

  it.each(["../other", "/etc", "a/../../b", "a\\b", "a\u0000", "\ud800"])(
    "may not leave the templates by %j",
    (dir) => {
      expect(refusalOf(() => readImportRequest({ dir }))).toEqual({
        code: "org.invalid_directory",
        error: "invalid org directory",
      });
    },
  );

  it.each([
    [{ dir: 7 }, "dir"],
    [{ template: [] }, "template"],
    [{ dir: "a", mode: "force" }, "mode"],
    [{ dir: "a", dry_run: "yes" }, "dry_run"],
    [{ template: { name: "Org", workspaces: [{ tier: "x" }] } }, "workspaces.0.tier"],
  ])("has the documented types: %j", (body, field) => {
    expect(refusalOf(() => readImportRequest(body))).toEqual({
      code: "request.invalid",
      error: "invalid request body",
      field,
    });
  });
});

describe("a template in a directory", () => {
  it("has its keys exactly as they are documented, as all YAML", () => {
    expect(read({ "org.yaml": "Name: x\nWorkspaces: [{ name: a }]\n" })).toMatchObject({
      name: "",
      tree: { roots: [] },
    });
  });

  it("is not found without its org.yaml, which an org.yml does not replace", () => {
    for (const files of [null, new Map<string, string>(), new Map([["org.yml", "name: x"]])]) {
      expect(refusalOf(() => readOrgDirectory("team", files, OPTIONS))).toEqual({
        code: "org.template_not_found",
        error: "org template not found: team",
      });
    }
  });

  it("is read with anchors and merges", () => {
    const org = read({
      "org.yaml":
        "name: Org\nworkspaces:\n  - &a {name: A, runtime: codex}\n  - {<<: *a, name: B}\nrequired_env: [KEY]",
    });
    expect(org.name).toBe("Org");
    expect(org.env.required).toEqual(["KEY"]);
    expect(org.tree.roots).toMatchObject([
      { name: "A", runtime: "codex" },
      { name: "B", runtime: "codex" },
    ]);
  });

  it("of the wrong shape is no template", () => {
    for (const text of ["- a", "just text", "", "name: [1]", "workspaces: {a: 1}"]) {
      expect(refusalOf(() => read({ "org.yaml": text })).error).toBe("invalid org template");
    }
  });

  it.each(["a: [", "a: 1\na: 2", "a: *nobody", "--- 1\n--- 2", "\t- x: :\n\t-"])(
    "is refused as YAML like %j",
    (text) => {
      expect(reasonAgainst({ "org.yaml": text })).toMatch(/^org\.yaml: /);
    },
  );
});

describe("!include", () => {
  it("puts a file in its place, relative to the file that includes it", () => {
    const org = read({
      "org.yaml": "workspaces:\n  - !include teams/dev.yaml\n  - !include ./shared.yaml",
      "teams/dev.yaml": "name: Dev\nchildren: !include people/all.yaml",
      "teams/people/all.yaml": "- name: Ann\n- !include ../../shared.yaml",
      "shared.yaml": "name: Shared",
    });
    expect(names(org)).toEqual(["Dev", "Ann", "Shared", "Shared"]);
  });

  it("may be the whole document", () => {
    expect(names(read({ "org.yaml": "!include real.yaml", "real.yaml": "workspaces: [{name: A}]" }))).toEqual(["A"]);
  });

  it.each([
    [{ "org.yaml": "workspaces: !include missing.yaml" }, "missing.yaml is missing"],
    [{ "org.yaml": "workspaces: !include ../x.yaml" }, "!include ../x.yaml leaves the template"],
    [{ "org.yaml": "workspaces: !include /etc/passwd" }, "!include /etc/passwd leaves the template"],
    [{ "org.yaml": "a: !include org.yaml" }, "org.yaml includes itself"],
    [{ "org.yaml": "a: !include b.yaml", "b.yaml": "c: !include ./org.yaml" }, "org.yaml includes itself"],
    [{ "org.yaml": 'a: !include ""' }, " is missing"],
  ])("is refused in %j", (files, reason) => {
    expect(reasonAgainst(files)).toBe(reason);
  });

  it("reaches 16 levels deep and no deeper", () => {
    const chain = (levels: number): Record<string, string> => ({
      "org.yaml": "workspaces: !include 1.yaml",
      ...Object.fromEntries(
        Array.from({ length: levels - 1 }, (_, index) => [`${index + 1}.yaml`, `!include ${index + 2}.yaml`]),
      ),
      [`${levels}.yaml`]: "[{name: Deep}]",
    });
    expect(names(read(chain(16)))).toEqual(["Deep"]);
    expect(reasonAgainst(chain(17))).toBe("17.yaml is included more than 16 levels deep");
  });

  it("is nothing but an object for a template that came with the request", () => {
    expect(names(readOrgInline(parseOrgTemplate({ workspaces: [{ name: "!include a.yaml" }] }), OPTIONS))).toEqual([
      "!include a.yaml",
    ]);
    expect(readYaml("!include a.yaml")).toBeNull();
  });
});

describe("a template that is made to exhaust the platform", () => {
  it("is refused for aliases of aliases", () => {
    const levels = Array.from({ length: 12 }, (_, index) => {
      const items = index === 0 ? "x" : Array.from({ length: 9 }, () => `*a${index - 1}`).join(",");
      return `a${index}: &a${index} [${items}]`;
    });
    reasonAgainst({ "org.yaml": levels.join("\n") });
  });

  it("is refused for aliases of a large text", () => {
    const text = `big: &big ${"x".repeat(100_000)}\nall: [${Array.from({ length: 100 }, () => "*big").join(",")}]`;
    expect(reasonAgainst({ "org.yaml": text })).toBe("the template is too large");
  });

  it("is refused for files that include the next one over and over", () => {
    const files = Object.fromEntries(
      Array.from({ length: 15 }, (_, index) => [
        `${index}.yaml`,
        `[${Array.from({ length: 8 }, () => `!include ${index + 1}.yaml`).join(",")}]`,
      ]),
    );
    expect(reasonAgainst({ ...files, "org.yaml": "a: !include 0.yaml", "15.yaml": "[1]" })).toBe(
      "the template has too many includes",
    );
  });

  it("is refused for more values than any template has", () => {
    reasonAgainst({ "org.yaml": `a: &a [${"1,".repeat(1_000)}1]\nb: [${"*a,".repeat(200)}1]` });
  });

  it("is refused for nesting and for length", () => {
    expect(reasonAgainst({ "org.yaml": `a: ${"[".repeat(300)}${"]".repeat(300)}` })).toBe("the template is too large");
    reasonAgainst({ "org.yaml": `a: ${"[".repeat(50_000)}` });
    expect(reasonAgainst({ "org.yaml": "#".repeat(256 * 1024 + 1) })).toBe("org.yaml: Error: the text is too long");
  });

  it("is read in time however many keys a map has", () => {
    const keys = Array.from({ length: 20_000 }, (_, index) => `k${index}: 1`);
    expect(readYaml(keys.join("\n"))).not.toBeNull();
  });

  it("does not change what objects are", () => {
    read({ "org.yaml": "__proto__: {polluted: true}\nworkspaces: [{__proto__: {polluted: true}}]" });
    expect("polluted" in {}).toBe(false);
  });

  it("is refused for a prompt that many workspaces refer to", () => {
    const workspaces = Array.from({ length: 20 }, (_, index) => `  - {name: w${index}, initial_prompt_file: big.md}`);
    const files = { "org.yaml": `workspaces:\n${workspaces.join("\n")}`, "big.md": "x".repeat(500_000) };
    expect(refusalOf(() => read(files))).toMatchObject({
      code: "org.invalid_template",
      reason: "the workspaces are too large together",
    });
  });
});

describe("files that a template refers to", () => {
  const ORG = `
defaults: {initial_prompt_file: prompts/start.md, idle_prompt_file: idle.md}
workspaces:
  - name: Lead
    files_dir: lead
    initial_prompt_file: start.md
    schedules: [{cron_expr: "0 9 * * *", prompt_file: ../prompts/daily.md}]
    children:
      - {name: Own, idle_prompt: own, idle_prompt_file: missing.md}
`;
  const FILES = {
    "org.yaml": ORG,
    "prompts/start.md": "start",
    "prompts/daily.md": "daily",
    "idle.md": "idle",
    "lead/start.md": "lead's start",
  };

  it("are looked for in the workspace's folder, the defaults' in the root; a text that stands there itself wins", () => {
    const [lead] = read(FILES).tree.roots;
    expect(lead).toMatchObject({
      config: { initialPrompt: "lead's start", idlePrompt: "idle", orgFiles: { dir: "team", folder: "lead" } },
      schedules: [{ prompt: "daily" }],
      children: [{ config: { initialPrompt: "start", idlePrompt: "own", orgFiles: null } }],
    });
  });

  it("are missed when they are missing, outside the template or no text", () => {
    expect(reasonAgainst({ ...FILES, "lead/start.md": "a\u0000" })).toBe("lead/start.md is no text");
    expect(reasonAgainst({ "org.yaml": ORG, "prompts/start.md": "start" })).toBe("idle.md is missing");
    expect(
      refusalOf(() => read({ "org.yaml": "workspaces: [{files_dir: ../x, initial_prompt_file: a}]", a: "" })),
    ).toMatchObject({ code: "org.invalid_template", reason: "files_dir ../x leaves its folder" });
    expect(reasonAgainst({ "org.yaml": "defaults: {initial_prompt_file: ../x.md}" })).toBe(
      "initial_prompt_file ../x.md leaves the template",
    );
  });

  it("cannot come with a request", () => {
    const template = parseOrgTemplate({ workspaces: [{ initial_prompt_file: "start.md" }] });
    expect(refusalOf(() => readOrgInline(template, OPTIONS))).toMatchObject({
      code: "org.invalid_template",
      reason: "initial_prompt_file needs a template directory",
    });
  });

  it("give secrets by .env, the workspace's own before those of the root", () => {
    const org = read(
      {
        "org.yaml": `workspaces: [{name: A, files_dir: a, workspace_dir: '/$\{BASE}/$\{HOST}'}, {name: B}]`,
        ".env":
          '# comment\nBASE=root\r\nTOKEN="quoted value"\nexport X = \' y \'\nEMPTY=\nQUOTED_EMPTY=""\nno line\n1BAD=x\nONE="\nNUL=\u0000',
        "a/.env": "BASE=own",
      },
      { ...OPTIONS, variables: { HOST: "host", BASE: "platform" } },
    );
    const root = { BASE: "root", TOKEN: "quoted value", X: " y ", ONE: '"' };
    expect(org.tree.roots).toMatchObject([
      { secrets: { ...root, BASE: "own" }, workspaceDir: "/own/host" },
      { secrets: root },
    ]);
  });
});

describe("the list of templates", () => {
  it("tells of each what it needs and how many workspaces it has, without reading its prompts", () => {
    const template = `
name: Org
description: Everything
required_env: [B, {any_of: [C, D]}]
workspaces: [{name: A, required_env: [A], initial_prompt_file: gone.md, children: [{name: B}]}]
`;
    expect(summarize({ "org.yaml": template, "org.yml": "name: other" })).toEqual({
      dir: "team",
      name: "Org",
      description: "Everything",
      workspaces: 2,
      required_env: ["A", "B", { any_of: ["C", "D"] }],
      recommended_env: [],
    });
  });

  it("shows an org.yml too, with empty arrays where nothing is needed", () => {
    expect(summarize({ "org.yml": "{}" })).toEqual({
      dir: "team",
      name: "",
      description: "",
      workspaces: 0,
      required_env: [],
      recommended_env: [],
    });
    expect(summarize({ "readme.md": "" })).toBeNull();
  });

  it("gets a refusal for a broken one", () => {
    expect(refusalOf(() => summarize({ "org.yaml": "a: !include b.yaml" })).code).toBe("org.expansion_failed");
    expect(refusalOf(() => summarize({ "org.yaml": "[]" })).code).toBe("org.invalid_template");
  });
});

it("a config.yaml is read by itself, and a broken one is none", () => {
  expect(readYaml("name: x\ntier: 2")).toEqual({ value: { name: "x", tier: 2 } });
  expect(readYaml("a: [")).toBeNull();
});
