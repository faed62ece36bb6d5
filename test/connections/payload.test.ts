import { describe, expect, it } from "vitest";
import { connectionPayload } from "../../src/connections/payload.ts";

const ID = "6f1c2d3e-4a5b-4c6d-8e7f-0a1b2c3d4e5f";
const URL = "https://platform.example.com";
const TOKEN = "mol_secret";

/** The contract's placeholders, and what the canvas puts in their place. Written out here on purpose. */
const SITES = [
  ["curl_register_template", 'WORKSPACE_AUTH_TOKEN="<paste from create response>"', `WORKSPACE_AUTH_TOKEN="${TOKEN}"`],
  ["python_snippet", 'AUTH_TOKEN    = "<paste from create response>"', `AUTH_TOKEN    = "${TOKEN}"`],
  [
    "claude_code_channel_snippet",
    "MOLECULE_WORKSPACE_TOKENS=<paste auth_token from create response>",
    `MOLECULE_WORKSPACE_TOKENS=${TOKEN}`,
  ],
  [
    "universal_mcp_snippet",
    'MOLECULE_WORKSPACE_TOKEN="<paste from create response>"',
    `MOLECULE_WORKSPACE_TOKEN="${TOKEN}"`,
  ],
  [
    "hermes_channel_snippet",
    'MOLECULE_WORKSPACE_TOKEN="<paste from create response>"',
    `MOLECULE_WORKSPACE_TOKEN="${TOKEN}"`,
  ],
  [
    "codex_snippet",
    'MOLECULE_WORKSPACE_TOKEN = "<paste from create response>"',
    `MOLECULE_WORKSPACE_TOKEN = "${TOKEN}"`,
  ],
  ["openclaw_snippet", 'WORKSPACE_TOKEN="<paste from create response>"', `WORKSPACE_TOKEN="${TOKEN}"`],
] as const;

const payload = connectionPayload({ id: ID, platformUrl: URL, token: TOKEN });

describe("the connection payload", () => {
  it("has exactly the twelve keys that the canvas reads", () => {
    expect(Object.keys(payload).sort()).toEqual(
      [
        "workspace_id",
        "platform_url",
        "auth_token",
        "registry_endpoint",
        "heartbeat_endpoint",
        ...SITES.map(([name]) => name),
      ].sort(),
    );
  });

  it("trims one slash from the platform's URL and builds the endpoints on it", () => {
    expect(connectionPayload({ id: ID, platformUrl: `${URL}/`, token: "" })).toMatchObject({
      workspace_id: ID,
      platform_url: URL,
      auth_token: "",
      registry_endpoint: `${URL}/registry/register`,
      heartbeat_endpoint: `${URL}/registry/heartbeat`,
    });
    expect(connectionPayload({ id: ID, platformUrl: `${URL}//`, token: "" }).platform_url).toBe(`${URL}/`);
  });

  it("hands a strange host on as it is, and into snippets with nothing that a shell acts on", () => {
    const strange = connectionPayload({ id: ID, platformUrl: "https://a$(id)`x`'\"{{é.example:8080", token: "" });
    expect(strange.platform_url).toContain("$(id)");
    for (const [name] of SITES) {
      expect(strange[name]).toContain("https://a%24%28id%29%60x%60%27%22%7b%7b%c3%a9.example:8080");
      expect(strange[name]).not.toContain("$(id)");
    }
  });
});

describe.each(SITES)("%s", (name, placeholder, filled) => {
  const snippet = payload[name];

  it("has its placeholder byte for byte, once, and is complete when the canvas has replaced it", () => {
    expect(snippet.split(placeholder)).toHaveLength(2);
    const shown = snippet.replace(placeholder, filled);
    expect(shown).not.toMatch(/<paste|create response|\{\{/);
    expect(shown.split(TOKEN)).toHaveLength(2);
  });

  it("never holds the token itself, so that a copy of it is no secret", () => {
    expect(snippet).not.toContain(TOKEN);
  });

  it("names this workspace and this platform", () => {
    expect(snippet).toContain(ID);
    expect(snippet).toContain(URL);
  });

  it("asks for no variable that only the server knows", () => {
    expect(snippet).not.toContain("MOLECULE_ORG_ID");
  });

  it("ends with help: the guide, a health check that exists, and the common errors", () => {
    const help = snippet.slice(snippet.lastIndexOf("# Need help?"));
    expect(help).toContain("https://doc.moleculesai.app/docs/");
    expect(help).toContain(`curl -fsS "${URL}/health"`);
    expect(help).not.toContain("healthz");
    expect(help.match(/^# {3}- /gm)?.length).toBeGreaterThanOrEqual(3);
    expect(help.trimEnd().split("\n")).toSatisfy((lines: string[]) => lines.every((line) => line.startsWith("#")));
  });
});

describe("what each snippet conveys", () => {
  it.each([
    ["curl_register_template", `"${URL}/registry/register"`],
    ["curl_register_template", '"Authorization: Bearer $WORKSPACE_AUTH_TOKEN"'],
    ["curl_register_template", `"Origin: ${URL}"`],
    ["python_snippet", "git+https://github.com/Molecule-AI/molecule-sdk-python.git@main"],
    ["python_snippet", "from molecule_agent import A2AServer, RemoteAgentClient"],
    ["claude_code_channel_snippet", "/plugin marketplace add Molecule-AI/molecule-mcp-claude-channel"],
    ["claude_code_channel_snippet", "/plugin install molecule@molecule-mcp-claude-channel"],
    ["claude_code_channel_snippet", "--dangerously-load-development-channels"],
    ["claude_code_channel_snippet", "--channels plugin:molecule@molecule-mcp-claude-channel"],
    ["universal_mcp_snippet", "pip install molecule-ai-workspace-runtime"],
    ["universal_mcp_snippet", "claude mcp add molecule -s user -- env"],
    ["hermes_channel_snippet", "git+https://github.com/Molecule-AI/hermes-channel-molecule.git"],
    ["hermes_channel_snippet", "hermes gateway --replace"],
    ["codex_snippet", "npm install -g @openai/codex@latest"],
    ["codex_snippet", "pip install codex-channel-molecule"],
    ["codex_snippet", "Messages from the canvas do not wake Codex"],
    ["codex_snippet", "its log, ~/.codex-channel-molecule/daemon.log"],
    ["openclaw_snippet", "npm install -g openclaw@latest"],
    ["openclaw_snippet", "Outbound only"],
  ] as const)("%s: %s", (name, words) => {
    expect(payload[name]).toContain(words);
  });
});
