import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { connectionPayload } from "../../src/connections/payload.ts";

const ID = "6f1c2d3e-4a5b-4c6d-8e7f-0a1b2c3d4e5f";
const URL = "https://platform.example.com";
const TOKEN = `mol_${"x".repeat(71)}`;

const SHELL_SNIPPETS = [
  "curl_register_template",
  "claude_code_channel_snippet",
  "universal_mcp_snippet",
  "hermes_channel_snippet",
  "codex_snippet",
  "openclaw_snippet",
] as const;
type SnippetName = (typeof SHELL_SNIPPETS)[number] | "python_snippet";

const hasPython = spawnSync("python3", ["-c", "import tomllib"]).status === 0;
const hasCurl = spawnSync("curl", ["--version"]).status === 0;

/** A snippet as an operator copies it from the canvas. */
function filled(name: SnippetName, { token = TOKEN, platformUrl = URL } = {}): string {
  return connectionPayload({ id: ID, platformUrl, token })[name].replace(/<paste[^>]*>/, token);
}

interface Call {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/**
 * A home of its own, where every program that a snippet starts is a stand-in that only notes how it was called. The
 * files that snippets write and the shell that runs them are real.
 */
class Machine {
  readonly home = mkdtempSync(join(tmpdir(), "posthouse-machine-"));
  readonly #bin = join(this.home, "bin");

  constructor(standIns = ["npm", "pip", "claude", "hermes", "openclaw", "codex-channel-molecule", "curl"]) {
    onTestFinished(() => rmSync(this.home, { recursive: true, force: true }));
    mkdirSync(this.#bin);
    for (const command of standIns) {
      const path = join(this.#bin, command);
      writeFileSync(path, `#!${process.execPath}\n${STAND_IN}`);
      chmodSync(path, 0o755);
    }
    writeFileSync(join(this.home, "calls"), "");
  }

  /** Pastes a text into a shell; answers what it printed. */
  async paste(text: string): Promise<string> {
    const shell = spawn("bash", ["--noprofile", "--norc"], {
      env: { HOME: this.home, PATH: `${this.#bin}:${process.env.PATH}`, CALLS: join(this.home, "calls") },
    });
    let output = "";
    shell.stdout.on("data", (chunk) => {
      output += chunk;
    });
    shell.stderr.on("data", (chunk) => {
      output += chunk;
    });
    shell.stdin.end(`set -eu\n${text}\nwait\n`);
    const code = await new Promise((resolve) => shell.on("close", resolve));
    expect(code, output).toBe(0);
    return output;
  }

  calls(command: string): Call[] {
    const lines = this.read("calls").split("\n").slice(0, -1);
    return lines.map((line) => JSON.parse(line) as Call).filter((call) => call.command === command);
  }

  read(path: string): string {
    return readFileSync(join(this.home, path), "utf8");
  }

  write(path: string, text: string): void {
    mkdirSync(join(this.home, path, ".."), { recursive: true });
    writeFileSync(join(this.home, path), text);
  }

  mode(path: string): number {
    return statSync(join(this.home, path)).mode & 0o777;
  }
}

const STAND_IN = `
const { appendFileSync } = require("node:fs");
const { basename } = require("node:path");
const { CALLS, ...env } = process.env;
const call = { command: basename(process.argv[1]), args: process.argv.slice(2), env };
appendFileSync(CALLS, JSON.stringify(call) + "\\n");
`;

function toml(text: string): unknown {
  const code = "import json, sys, tomllib; print(json.dumps(tomllib.loads(sys.stdin.read())))";
  const { status, stdout, stderr } = spawnSync("python3", ["-c", code], { input: text, encoding: "utf8" });
  expect(status, stderr).toBe(0);
  return JSON.parse(stdout);
}

describe.each(SHELL_SNIPPETS)("%s", (name) => {
  it.each([
    ["with its placeholder", connectionPayload({ id: ID, platformUrl: URL, token: "" })[name]],
    ["with the token", filled(name)],
    ["with an empty token", filled(name, { token: "" })],
    ["for a host that holds shell syntax", filled(name, { platformUrl: "https://a$(touch x)`b`'\".example" })],
  ])("is valid shell %s", (_case, snippet) => {
    const { status, stderr } = spawnSync("bash", ["-n"], { input: snippet, encoding: "utf8" });
    expect(status, stderr).toBe(0);
  });
});

describe("the codex snippet", () => {
  const molecule = {
    command: "molecule-mcp",
    startup_timeout_sec: 30,
    env: { WORKSPACE_ID: ID, PLATFORM_URL: URL, MOLECULE_WORKSPACE_TOKEN: TOKEN },
  };

  it.skipIf(!hasPython)("writes TOML that Codex can read (needs python3 with tomllib)", async () => {
    const machine = new Machine();
    await machine.paste(filled("codex_snippet"));
    expect(toml(machine.read(".codex/config.toml"))).toEqual({ mcp_servers: { molecule } });
    expect(machine.mode(".codex/config.toml")).toBe(0o600);
  });

  it.skipIf(!hasPython)(
    "replaces its own table and keeps all others, pasted ever so often (needs python3)",
    async () => {
      const machine = new Machine();
      const others = `model = "o4"\n[mcp_servers.docs]\ncommand = "docs"\n[mcp_servers.molecule]\ncommand = "old"\n[mcp_servers.molecule.env]\nMOLECULE_WORKSPACE_TOKEN = "old"\n[tui]\nnotifications = true`;
      machine.write(".codex/config.toml", others);
      await machine.paste(filled("codex_snippet", { token: "first" }));
      await machine.paste(filled("codex_snippet"));
      expect(toml(machine.read(".codex/config.toml"))).toEqual({
        model: "o4",
        mcp_servers: { docs: { command: "docs" }, molecule },
        tui: { notifications: true },
      });
    },
  );

  it("starts the bridge with the token that it stored, and not with one of another server", async () => {
    const machine = new Machine();
    machine.write(".codex/config.toml", '[mcp_servers.other.env]\nMOLECULE_WORKSPACE_TOKEN = "other"\n');
    await machine.paste(filled("codex_snippet"));
    const [bridge, ...more] = machine.calls("codex-channel-molecule");
    expect(more).toEqual([]);
    expect(bridge?.env).toMatchObject({ WORKSPACE_ID: ID, PLATFORM_URL: URL, MOLECULE_WORKSPACE_TOKEN: TOKEN });
    expect(machine.read(".codex-channel-molecule/daemon.log")).toBe("");
  });
});

describe("the openclaw snippet", () => {
  it("sets the server by JSON with the token in it, and starts a gateway on loopback", async () => {
    const machine = new Machine();
    await machine.paste(filled("openclaw_snippet"));
    const [set, gateway] = machine.calls("openclaw");
    expect(set?.args.slice(0, 3)).toEqual(["mcp", "set", "molecule"]);
    expect(JSON.parse(set?.args[3] ?? "")).toEqual({
      command: "molecule-mcp",
      env: { WORKSPACE_ID: ID, PLATFORM_URL: URL, MOLECULE_WORKSPACE_TOKEN: TOKEN },
    });
    expect(gateway?.args).toEqual(["gateway", "--port", "18789", "--bind", "loopback"]);
  });
});

describe("the Claude Code channel snippet", () => {
  it("stores the credentials for the owner alone and starts the channel by the development flag", async () => {
    const machine = new Machine();
    await machine.paste(filled("claude_code_channel_snippet"));
    expect(machine.read(".claude/channels/molecule/.env").split("\n")).toEqual([
      `MOLECULE_PLATFORM_URL=${URL}`,
      `MOLECULE_WORKSPACE_IDS=${ID}`,
      `MOLECULE_WORKSPACE_TOKENS=${TOKEN}`,
      "",
    ]);
    expect(machine.mode(".claude/channels/molecule/.env")).toBe(0o600);
    const [claude] = machine.calls("claude");
    // Claude Code takes the channel as the value of this flag; `--channels` beside it does not extend to it.
    expect(claude?.args).toEqual([
      "--dangerously-load-development-channels",
      "plugin:molecule@molecule-mcp-claude-channel",
    ]);
  });
});

describe("the universal MCP snippet", () => {
  it("adds molecule-mcp with its three variables", async () => {
    const machine = new Machine();
    await machine.paste(filled("universal_mcp_snippet"));
    expect(machine.calls("claude").map(({ args }) => args.join(" "))).toEqual([
      `mcp add molecule -s user -- env WORKSPACE_ID=${ID} PLATFORM_URL=${URL} MOLECULE_WORKSPACE_TOKEN=${TOKEN} molecule-mcp`,
    ]);
  });
});

describe("the Hermes snippet", () => {
  it("leaves exactly one gateway block, pasted ever so often, and starts the gateway with the credentials", async () => {
    const machine = new Machine();
    machine.write(".hermes/config.yaml", "model: hermes-4");
    await machine.paste(filled("hermes_channel_snippet"));
    await machine.paste(filled("hermes_channel_snippet"));
    const block = "gateway:\n  plugin_platforms:\n    molecule:\n      enabled: true\n";
    expect(machine.read(".hermes/config.yaml")).toBe(`model: hermes-4\n${block}`);
    expect(machine.calls("hermes")[0]).toMatchObject({
      args: ["gateway", "--replace"],
      env: { MOLECULE_WORKSPACE_ID: ID, MOLECULE_PLATFORM_URL: URL, MOLECULE_WORKSPACE_TOKEN: TOKEN },
    });
  });

  it("leaves a gateway block of the operator alone and says what it needs", async () => {
    const machine = new Machine();
    machine.write(".hermes/config.yaml", "gateway:\n  port: 1\n");
    expect(await machine.paste(filled("hermes_channel_snippet"))).toContain("plugin_platforms.molecule.enabled: true");
    expect(machine.read(".hermes/config.yaml")).toBe("gateway:\n  port: 1\n");
  });

  it("registers the workspace for polling, with JSON that parses", async () => {
    const machine = new Machine();
    await machine.paste(filled("hermes_channel_snippet"));
    const [curl] = machine.calls("curl");
    expect(curl?.args).toContain(`Authorization: Bearer ${TOKEN}`);
    expect(curl?.args).toContain(`${URL}/registry/register`);
    expect(JSON.parse(curl?.args.at(-1) ?? "")).toMatchObject({ id: ID, delivery_mode: "poll" });
  });
});

describe("the curl snippet", () => {
  it.skipIf(!hasCurl)("posts one registration as the contract has it (needs curl)", async () => {
    const seen: { url?: string | undefined; headers: Record<string, unknown>; body: string }[] = [];
    const server = createServer(async (request, response) => {
      const body = (await request.toArray()).join("");
      seen.push({ url: request.url, headers: request.headers, body });
      response.end("{}");
    });
    onTestFinished(() => void server.close());
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const platformUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await new Machine([]).paste(filled("curl_register_template", { platformUrl }));
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    expect(seen[0]).toMatchObject({
      url: "/registry/register",
      headers: { authorization: `Bearer ${TOKEN}`, origin: platformUrl, "content-type": "application/json" },
    });
    expect(JSON.parse(seen[0]?.body ?? "")).toEqual({
      id: ID,
      url: "https://your-agent.example.com/a2a",
      agent_card: { name: "my-agent", description: expect.any(String), version: "0.1.0" },
    });
  });
});

describe.skipIf(!hasPython)("the Python snippet (needs python3)", () => {
  it("compiles", () => {
    const machine = new Machine([]);
    machine.write("agent.py", filled("python_snippet"));
    const { status, stderr } = spawnSync("python3", ["-m", "py_compile", join(machine.home, "agent.py")]);
    expect(status, String(stderr)).toBe(0);
  });

  it("registers with the token, reads a message of the platform and answers it", () => {
    const machine = new Machine([]);
    machine.write("agent.py", filled("python_snippet"));
    // The two libraries as far as the snippet uses them.
    machine.write("requests.py", "class Session:\n    def __init__(self): self.headers = {}\n");
    machine.write(
      "molecule_agent.py",
      `import asyncio, json
class RemoteAgentClient:
    def __init__(self, workspace_id, platform_url, agent_card, reported_url, session):
        self.shown = dict(id=workspace_id, platform=platform_url, url=reported_url, headers=session.headers)
    def save_token(self, token): self.shown["saved"] = token
    def register(self): self.shown["registered"] = True
    def run_heartbeat_loop(self): print(json.dumps({**self.shown, "answer": A2AServer.answer}))
class A2AServer:
    def __init__(self, agent_id, inbound_url, message_handler, port):
        message = {"role": "user", "parts": [{"kind": "text", "text": "hello"}]}
        A2AServer.answer = asyncio.run(message_handler({"method": "message/send", "params": {"message": message}}))
    def start_in_background(self): pass
    def stop(self): pass
`,
    );
    const { stdout, stderr } = spawnSync("python3", [join(machine.home, "agent.py")], { encoding: "utf8" });
    expect(stderr).toBe("");
    expect(JSON.parse(stdout)).toEqual({
      id: ID,
      platform: URL,
      url: "https://your-agent.example.com/a2a/inbound",
      headers: { Authorization: `Bearer ${TOKEN}`, Origin: URL },
      saved: TOKEN,
      registered: true,
      answer: { parts: [{ kind: "text", text: "You said: hello" }] },
    });
  });
});
