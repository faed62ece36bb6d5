import { describe, expect, it } from "vitest";
import { NO_CONFIG, type NodeConfig, type OrgNode } from "../../src/domain/org-node.ts";
import { machineFiles, withMachineFiles } from "../../src/org-import/machine-files.ts";
import { anOrgNode } from "../support/org-node.ts";

const NONE = { template: () => null, folder: () => null };

function aNode(config: Partial<NodeConfig> = {}, fields: Partial<OrgNode> = {}): OrgNode {
  const lead = { name: "lead", runtime: "claude-code", model: "sonnet", config: { ...NO_CONFIG, ...config } };
  return anOrgNode({ ...lead, ...fields });
}

describe("the files of a machine", () => {
  it("have a config.yaml that says what the workspace is", () => {
    expect(machineFiles(aNode(), NONE)).toEqual({
      "config.yaml": 'name: "lead"\nruntime: claude-code\ntier: 3\nmodel: "sonnet"\n',
    });
    expect(machineFiles(aNode({}, { runtime: "unheard-of" }), NONE)["config.yaml"]).toContain("runtime: claude-code\n");
  });

  it("come from a folder of their own before the template, and bring prompts, plugins and routing along", () => {
    const sources = {
      template: () => new Map([["TEMPLATE.md", "t"]]),
      folder: (path: string) =>
        new Map([
          ["config.yaml", "name: own\nplugins: [a]"],
          ["FOLDER.md", path],
        ]),
    };
    const config = {
      template: "t",
      systemPrompt: "be brief",
      plugins: ["b"],
      initialPrompt: "hello",
      idlePrompt: "look",
      idleIntervalSeconds: 60,
      categoryRouting: { bugs: ["lead"] },
    };
    expect(machineFiles(aNode({ ...config, orgFiles: { dir: "org", folder: "lead" } }), sources)).toEqual({
      "FOLDER.md": "lead",
      "system-prompt.md": "be brief",
      "config.yaml":
        'name: own\nplugins: [a]\ncategory_routing: {"bugs":["lead"]}\ninitial_prompt: "hello"\nidle_prompt: "look"\nidle_interval_seconds: 60\n',
    });
    const files = machineFiles(aNode({ template: "t", files: { "own.md": "o" } }), sources);
    expect(Object.keys(files).sort()).toEqual(["TEMPLATE.md", "config.yaml", "own.md"]);
  });

  it("are left out of what runs elsewhere, and bounded for one machine and for all together", () => {
    const tree = (...roots: OrgNode[]) => withMachineFiles({ name: "org", roots, globalMemories: [] }, NONE);
    const external = aNode({ files: { "a.md": "a" } }, { external: true, children: [aNode()] });
    const [root] = tree(external).roots;
    expect(root?.config.files).toEqual({});
    expect(Object.keys(root?.children[0]?.config.files ?? {})).toEqual(["config.yaml"]);
    const large = aNode({ files: { "a.md": "a".repeat(1024 * 1024) } });
    expect(() => tree(large)).toThrow("invalid org template");
    const half = aNode({ files: { "a.md": "a".repeat(900 * 1024) } });
    expect(() => tree(...Array<OrgNode>(20).fill(half))).toThrow("invalid org template");
  });
});
