import { PLACEHOLDERS } from "../placeholders.ts";
import { needHelp, REJECTED_TOKEN, type Target } from "./snippet.ts";

const FAILURES = [
  `Messages from the canvas do not wake Codex: only the bridge of step 3 does that. See that it
runs (pgrep -f codex-channel-molecule) and read its log, ~/.codex-channel-molecule/daemon.log`,
  REJECTED_TOKEN,
  `"duplicate key" when Codex starts: config.toml may have the molecule table once; paste step 2
again, which replaces it.`,
  `The molecule server times out or is not listed: molecule-mcp must be on the PATH of Codex, and
Codex must be 0.57 or newer (codex --version).`,
  `Running step 3 twice starts two bridges: end the old one first (pkill -f codex-channel-molecule).`,
];

/**
 * Codex with the platform's tools, and the bridge that wakes it. The bridge reads the token from Codex's own
 * configuration, so that there is one place to fill in.
 */
export function codexSnippet(target: Target): string {
  const { id, platformUrl } = target;
  return `# Gives Codex the tools of the platform, and a bridge that wakes it when a message arrives.

# 1. Install. Codex 0.57 or newer, Python 3.11 or newer.
npm install -g @openai/codex@latest
pip install molecule-ai-workspace-runtime
pip install codex-channel-molecule

# 2. Add the tools. An earlier molecule table is taken out first: TOML allows a table only once.
mkdir -p ~/.codex && touch ~/.codex/config.toml && chmod 600 ~/.codex/config.toml
other_tables="$(awk '/^\\[/ { skip = /^\\[mcp_servers\\.molecule[].]/ } !skip' ~/.codex/config.toml)" &&
  printf '%s\\n' "$other_tables" > ~/.codex/config.toml &&
  cat >> ~/.codex/config.toml <<'EOF'

[mcp_servers.molecule]
command = "molecule-mcp"
startup_timeout_sec = 30

[mcp_servers.molecule.env]
WORKSPACE_ID = "${id}"
PLATFORM_URL = "${platformUrl}"
${PLACEHOLDERS.codex}
EOF

# 3. Start the bridge. Codex does not pass MCP notifications on to the session yet
#    (https://github.com/openai/codex/issues/17543), so the bridge watches the inbox and resumes
#    the session for each message. It uses the token that step 2 has stored.
mkdir -p ~/.codex-channel-molecule
WORKSPACE_ID="${id}" \\
PLATFORM_URL="${platformUrl}" \\
MOLECULE_WORKSPACE_TOKEN="$(
  sed -n '/^\\[mcp_servers\\.molecule\\.env\\]/,/^\\[/s/^MOLECULE_WORKSPACE_TOKEN = "\\(.*\\)"$/\\1/p' ~/.codex/config.toml
)" \\
  nohup codex-channel-molecule >> ~/.codex-channel-molecule/daemon.log 2>&1 &

${needHelp(target, FAILURES)}`;
}
