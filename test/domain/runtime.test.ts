import { describe, expect, it } from "vitest";
import {
  DEFAULT_RUNTIME,
  defaultModel,
  imageOf,
  isExternal,
  providerOf,
  RUNTIMES,
  renderedRuntime,
  runtimeOf,
} from "../../src/domain/runtime.ts";

const UNIVERSAL = "anthropic:claude-opus-4-7";

describe("the model of a workspace that names none", () => {
  it.each([
    ["claude-code", "sonnet"],
    ["hermes", UNIVERSAL],
    ["openclaw", UNIVERSAL],
    ["codex", UNIVERSAL],
    ["langgraph", UNIVERSAL],
    ["crewai", UNIVERSAL],
    ["autogen", UNIVERSAL],
    ["deepagents", UNIVERSAL],
    ["gemini-cli", UNIVERSAL],
    ["external", UNIVERSAL],
  ])("is for %s %s", (runtime, model) => {
    expect(defaultModel(runtime)).toBe(model);
  });

  it.each(["", " ", "CLAUDE-CODE", "Claude-Code", "claude-code ", "nobody-knows", "constructor", "__proto__"])(
    "is the universal one for %j, which is no runtime's exact name",
    (runtime) => {
      expect(defaultModel(runtime)).toBe(UNIVERSAL);
    },
  );

  it("is never empty", () => {
    for (const { model } of RUNTIMES) expect(model).not.toBe("");
  });
});

describe("the registry of runtimes", () => {
  it("has the ten runtimes, each once, the default among them", () => {
    expect(RUNTIMES.map(({ name }) => name)).toEqual([
      "claude-code",
      "hermes",
      "openclaw",
      "codex",
      "langgraph",
      "crewai",
      "autogen",
      "deepagents",
      "gemini-cli",
      "external",
    ]);
    expect(DEFAULT_RUNTIME).toBe("langgraph");
  });

  it("gives hermes thirty minutes to start, and ten to all others and to unknown ones", () => {
    for (const { name, provisionTimeoutMs } of [...RUNTIMES, runtimeOf("nobody-knows")]) {
      expect(provisionTimeoutMs, name).toBe(name === "hermes" ? 1_800_000 : 600_000);
    }
  });

  it("starts everything but external agents, each from its own image", () => {
    for (const { name, image } of RUNTIMES) {
      expect(isExternal(name), name).toBe(name === "external");
      expect(image).toBe(name === "external" ? null : `ghcr.io/molecule-ai/workspace-template-${name}`);
    }
  });

  it("starts an unknown runtime from the default's image and keeps its name", () => {
    expect(runtimeOf("mine")).toEqual({ ...runtimeOf("langgraph"), name: "mine" });
    for (const name of ["mine", "", "Codex", "external"]) expect(imageOf(name)).toBe(imageOf("langgraph"));
    expect(isExternal("External")).toBe(false);
  });

  it("writes only known runtimes into a config, claude-code for any other", () => {
    expect([renderedRuntime("codex"), renderedRuntime(""), renderedRuntime("mine")]).toEqual([
      "codex",
      "claude-code",
      "claude-code",
    ]);
  });
});

describe("the provider of a model", () => {
  it.each([
    ["minimax/m2", "minimax"],
    ["minimax-oauth/m2", "minimax-oauth"],
    ["anthropic/claude/opus", "anthropic"],
    ["kimi-coding-cn/k2", "kimi-coding-cn"],
    ["opencode-go/x", "opencode-go"],
    ["copilot-acp/x", "copilot-acp"],
    ["dashscope/x", "alibaba"],
    ["qwen/x", "alibaba"],
    ["mimo/x", "xiaomi"],
    ["arcee-ai/x", "arcee"],
    ["nim/x", "nvidia"],
    ["hf/x", "huggingface"],
    ["aigateway/x", "ai-gateway"],
    ["nousresearch/hermes", "openrouter"],
    ["openai/gpt", "openrouter"],
    ["grok/x", "xai"],
    ["aws/x", "bedrock"],
    ["tencent/x", "tencent-tokenhub"],
    ["lm-studio/x", "lmstudio"],
  ])("of %s is %s", (model, provider) => {
    expect(providerOf(model)).toBe(provider);
  });

  it.each(["", "sonnet", UNIVERSAL, "/x", "nobody/x", "constructor/x", "anthropic"])("of %j is unknown", (model) => {
    expect(providerOf(model)).toBeNull();
  });
});
