import { PLACEHOLDERS } from "../placeholders.ts";
import { needHelp, REJECTED_TOKEN, type Target } from "./snippet.ts";

const FAILURES = [
  REJECTED_TOKEN,
  `"molecule-mcp: command not found": pip installed for another Python; it must be 3.11 or newer
and its scripts directory must be on the PATH.`,
  `"MCP server molecule already exists": claude mcp remove molecule -s user, then add it again.`,
  `Connection errors: PLATFORM_URL needs its scheme and must not end in a slash.`,
  `The workspace falls back to awaiting_agent: start molecule-mcp, not the bare Python module,
which sends no heartbeats.`,
];

/** The platform's tools for any MCP client, shown for Claude Code. */
export function universalMcpSnippet(target: Target): string {
  const { id, platformUrl } = target;
  return `# Gives any MCP client the tools of the platform: delegate_task, delegate_task_async,
# check_task_status, list_peers, get_workspace_info, send_message_to_user, commit_memory,
# recall_memory. molecule-mcp also registers the workspace and sends a heartbeat every 20 seconds.

# 1. Install it. Needs Python 3.11 or newer.
pip install molecule-ai-workspace-runtime

# 2. Add it to Claude Code. Other clients: command molecule-mcp, with the same three variables.
claude mcp add molecule -s user -- env \\
  WORKSPACE_ID="${id}" \\
  PLATFORM_URL="${platformUrl}" \\
  ${PLACEHOLDERS.universalMcp} \\
  molecule-mcp

${needHelp(target, FAILURES)}`;
}
