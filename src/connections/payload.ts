import { claudeCodeChannelSnippet } from "./snippets/claude-code-channel.ts";
import { codexSnippet } from "./snippets/codex.ts";
import { curlSnippet } from "./snippets/curl.ts";
import { hermesChannelSnippet } from "./snippets/hermes-channel.ts";
import { openclawSnippet } from "./snippets/openclaw.ts";
import { pythonSnippet } from "./snippets/python.ts";
import { universalMcpSnippet } from "./snippets/universal-mcp.ts";

/** What the operator of an external agent needs to connect it. `token` is "" where it cannot be shown. */
export function connectionPayload({ id, platformUrl, token }: { id: string; platformUrl: string; token: string }) {
  const base = platformUrl.replace(/\/$/, "");
  const target = { id, platformUrl: inert(base) };
  return {
    workspace_id: id,
    platform_url: base,
    auth_token: token,
    registry_endpoint: `${base}/registry/register`,
    heartbeat_endpoint: `${base}/registry/heartbeat`,
    curl_register_template: curlSnippet(target),
    python_snippet: pythonSnippet(target),
    claude_code_channel_snippet: claudeCodeChannelSnippet(target),
    universal_mcp_snippet: universalMcpSnippet(target),
    hermes_channel_snippet: hermesChannelSnippet(target),
    codex_snippet: codexSnippet(target),
    openclaw_snippet: openclawSnippet(target),
  };
}

/**
 * A URL in which no shell, Python or TOML finds anything to act on: a host name may hold `$`, quotes and backticks,
 * and it can come from the request's Host header.
 */
function inert(url: string): string {
  return url.replace(/[^\w:/.~%[\]-]/gu, (character) =>
    Array.from(new TextEncoder().encode(character), (byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""),
  );
}
