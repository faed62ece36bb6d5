import { PLACEHOLDERS } from "../placeholders.ts";
import { needHelp, REJECTED_TOKEN, type Target } from "./snippet.ts";

const FAILURES = [
  `Messages from the canvas do not wake OpenClaw: this connection is outbound only.`,
  REJECTED_TOKEN,
  `The gateway does not start: read ~/.openclaw/gateway.log. Without any configuration run
openclaw onboard first; if port 18789 is taken, another gateway runs already.`,
  `The tools are missing: openclaw mcp show molecule prints what is stored; molecule-mcp must be
on the PATH of the gateway. Restart the gateway after a change.`,
];

/** OpenClaw with the platform's tools. Nothing reaches it from outside. */
export function openclawSnippet(target: Target): string {
  const { id, platformUrl } = target;
  return `# Gives OpenClaw the tools of the platform. Outbound only: it can call, messages do not wake it.

# 1. Install. Needs Python 3.11 or newer. A new machine also wants: openclaw onboard --mode local
npm install -g openclaw@latest
pip install molecule-ai-workspace-runtime

# 2. Add the tools.
${PLACEHOLDERS.openclaw}
openclaw mcp set molecule '{
  "command": "molecule-mcp",
  "env": {
    "WORKSPACE_ID": "${id}",
    "PLATFORM_URL": "${platformUrl}",
    "MOLECULE_WORKSPACE_TOKEN": "'"$WORKSPACE_TOKEN"'"
  }
}'

# 3. Start the gateway, reachable from this machine only.
mkdir -p ~/.openclaw
nohup openclaw gateway --port 18789 --bind loopback >> ~/.openclaw/gateway.log 2>&1 &

${needHelp(target, FAILURES)}`;
}
