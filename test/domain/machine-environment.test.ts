import { expect, it } from "vitest";
import { machineEnvironment, modelSecrets } from "../../src/domain/machine-environment.ts";

it("a machine always has a model: the one that was chosen, else its runtime's own", () => {
  expect(machineEnvironment("codex", { MODEL_PROVIDER: "sonnet", KEY: "k" })).toEqual({
    MODEL: "sonnet",
    MODEL_PROVIDER: "sonnet",
    KEY: "k",
  });
  expect(machineEnvironment("claude-code", {})).toEqual({ MODEL: "sonnet" });
  expect(machineEnvironment("codex", { MODEL: "own" })).toEqual({ MODEL: "own" });
});

it("the choice of a model keeps its provider, where that is known", () => {
  expect(modelSecrets("openai/gpt")).toEqual({ MODEL_PROVIDER: "openai/gpt", LLM_PROVIDER: "openrouter" });
  expect(modelSecrets("sonnet")).toEqual({ MODEL_PROVIDER: "sonnet" });
});
