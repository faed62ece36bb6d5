/** What the platform knows of one agent runtime; whatever differs between runtimes differs here. */
export interface Runtime {
  readonly name: string;
  /** The model of a workspace that names none; never empty. */
  readonly model: string;
  /** How long a start may take before it counts as failed. */
  readonly provisionTimeoutMs: number;
  /** The agent lives elsewhere: nothing is started, stopped or restarted. */
  readonly isExternal: boolean;
  /** The container image without its tag; null where there is nothing to start. */
  readonly image: string | null;
  /** Whether sessions are kept on a volume of their own. */
  readonly keepsSessions: boolean;
  /** Whether the model goes into HERMES_DEFAULT_MODEL too. */
  readonly wantsHermesModel: boolean;
}

/** The runtime of a row that names none. */
export const DEFAULT_RUNTIME = "langgraph";
/** The runtime of an agent that lives elsewhere. */
export const EXTERNAL_RUNTIME = "external";
/** The model of every runtime without one of its own. */
export const UNIVERSAL_MODEL = "anthropic:claude-opus-4-7";

const IMAGES = "ghcr.io/molecule-ai/workspace-template-";
const DEFAULT_IMAGE = `${IMAGES}${DEFAULT_RUNTIME}`;
const TEN_MINUTES_MS = 10 * 60_000;

function runtime(name: string, differences: Partial<Runtime> = {}): Runtime {
  return {
    name,
    model: UNIVERSAL_MODEL,
    provisionTimeoutMs: TEN_MINUTES_MS,
    isExternal: false,
    image: `${IMAGES}${name}`,
    keepsSessions: false,
    wantsHermesModel: false,
    ...differences,
  };
}

export const RUNTIMES: readonly Runtime[] = [
  runtime("claude-code", { model: "sonnet", keepsSessions: true }),
  runtime("hermes", { provisionTimeoutMs: 30 * 60_000, wantsHermesModel: true }),
  runtime("openclaw"),
  runtime("codex"),
  runtime("langgraph"),
  runtime("crewai"),
  runtime("autogen"),
  runtime("deepagents"),
  runtime("gemini-cli"),
  runtime(EXTERNAL_RUNTIME, { isExternal: true, image: null }),
];

const BY_NAME = new Map(RUNTIMES.map((entry) => [entry.name, entry]));
/** Rows keep whatever name they were given; one that nobody knows is started from the default's image. */
const UNKNOWN = { ...runtime(DEFAULT_RUNTIME), name: "" };

/** The registry's entry, found by the exact name; any other name gets one with the defaults of all. */
export function runtimeOf(name: string): Runtime {
  return BY_NAME.get(name) ?? { ...UNKNOWN, name };
}

/** Whether the agent of a workspace with this runtime lives elsewhere, so that it has no machine here. */
export function isExternal(name: string): boolean {
  return runtimeOf(name).isExternal;
}

/** The image from which a machine is started; whatever has none of its own gets the default's. */
export function imageOf(name: string): string {
  return runtimeOf(name).image ?? DEFAULT_IMAGE;
}

/** The runtime that is written into a generated config.yaml, where only known ones can be started. */
export function renderedRuntime(name: string): string {
  return BY_NAME.has(name) ? name : "claude-code";
}

/** The model of a workspace that names none. */
export function defaultModel(name: string): string {
  return runtimeOf(name).model;
}

const PROVIDERS: ReadonlySet<string> = new Set([
  "minimax",
  "minimax-cn",
  "minimax-oauth",
  "anthropic",
  "gemini",
  "deepseek",
  "zai",
  "kimi-coding",
  "kimi-coding-cn",
  "alibaba",
  "alibaba-coding-plan",
  "xiaomi",
  "arcee",
  "nvidia",
  "ollama-cloud",
  "huggingface",
  "ai-gateway",
  "kilocode",
  "opencode-zen",
  "opencode-go",
  "openrouter",
  "custom",
  "xai",
  "bedrock",
  "tencent-tokenhub",
  "gmi",
  "qwen-oauth",
  "lmstudio",
  "google-gemini-cli",
  "openai-codex",
  "copilot",
  "copilot-acp",
]);

const PROVIDER_ALIASES: ReadonlyMap<string, string> = new Map([
  ["dashscope", "alibaba"],
  ["qwen", "alibaba"],
  ["mimo", "xiaomi"],
  ["arcee-ai", "arcee"],
  ["nim", "nvidia"],
  ["hf", "huggingface"],
  ["aigateway", "ai-gateway"],
  ["nousresearch", "openrouter"],
  ["openai", "openrouter"],
  ["grok", "xai"],
  ["aws", "bedrock"],
  ["tencent", "tencent-tokenhub"],
  ["lm-studio", "lmstudio"],
]);

/** The LLM_PROVIDER of a model, which is the text before its first slash; null when nobody knows that one. */
export function providerOf(model: string): string | null {
  const slash = model.indexOf("/");
  if (slash < 0) return null;
  const name = model.slice(0, slash);
  return PROVIDERS.has(name) ? name : (PROVIDER_ALIASES.get(name) ?? null);
}
