import { PLACEHOLDERS } from "../placeholders.ts";
import { needHelp, REJECTED_TOKEN, type Target } from "./snippet.ts";

const FAILURES = [
  REJECTED_TOKEN,
  `400 about the url: the platform must reach AGENT_URL over the public internet.
Without a public address use one of the polling tabs: Universal MCP, Claude Code, Hermes.`,
  `The workspace falls back to awaiting_agent: nobody sends heartbeats, see above.`,
  `403 or an empty 404: keep the Origin header exactly as it is, without a trailing slash.`,
];

/** One registration by hand, for an agent that answers A2A at a public URL. */
export function curlSnippet(target: Target): string {
  const { id, platformUrl } = target;
  return `# Registers the agent once, at the public URL where it answers A2A messages.
export ${PLACEHOLDERS.curl}
export AGENT_URL="https://your-agent.example.com/a2a"

curl -sS -X POST "${platformUrl}/registry/register" \\
  -H "Authorization: Bearer $WORKSPACE_AUTH_TOKEN" \\
  -H "Origin: ${platformUrl}" \\
  -H "Content-Type: application/json" \\
  --data-binary @- <<EOF
{
  "id": "${id}",
  "url": "$AGENT_URL",
  "agent_card": {"name": "my-agent", "description": "What this agent does", "version": "0.1.0"}
}
EOF

# This registers and does nothing more. To stay online, the agent itself must send
# {"workspace_id": "${id}"} to
# ${platformUrl}/registry/heartbeat every 30 seconds, with the same three headers.

${needHelp(target, FAILURES)}`;
}
