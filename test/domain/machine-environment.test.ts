import { describe, expect, it } from "vitest";
import { machineEnvironment, modelSecrets } from "../../src/domain/machine-environment.ts";

describe("the variables of a machine", () => {
  it("say who its commits are by and where it hangs, and bring its model", () => {
    const facts = { name: "Lead Dev!", role: "leads", parentId: "p", runtime: "claude-code" };
    expect(machineEnvironment(facts, { MODEL_PROVIDER: "sonnet", KEY: "k" })).toEqual({
      GIT_AUTHOR_NAME: "Lead Dev!",
      GIT_AUTHOR_EMAIL: "lead-dev@agents.posthouse.invalid",
      GIT_COMMITTER_NAME: "Lead Dev!",
      GIT_COMMITTER_EMAIL: "lead-dev@agents.posthouse.invalid",
      MOLECULE_AGENT_ROLE: "leads",
      PARENT_ID: "p",
      MODEL: "sonnet",
      MODEL_PROVIDER: "sonnet",
      KEY: "k",
    });
  });

  it("leave out what a workspace does not have, and yield to its secrets", () => {
    const environment = machineEnvironment(
      { name: "§", role: null, parentId: null, runtime: "codex" },
      { GIT_AUTHOR_NAME: "me" },
    );
    expect(environment).toEqual({
      GIT_AUTHOR_NAME: "me",
      GIT_AUTHOR_EMAIL: "agent@agents.posthouse.invalid",
      GIT_COMMITTER_NAME: "§",
      GIT_COMMITTER_EMAIL: "agent@agents.posthouse.invalid",
      MODEL: "anthropic:claude-opus-4-7",
    });
  });

  it("keep the choice of a model, and its provider where it is known", () => {
    expect(modelSecrets("openai/gpt")).toEqual({ MODEL_PROVIDER: "openai/gpt", LLM_PROVIDER: "openrouter" });
    expect(modelSecrets("sonnet")).toEqual({ MODEL_PROVIDER: "sonnet" });
  });
});
