import { PLACEHOLDERS } from "../placeholders.ts";
import { needHelp, REJECTED_TOKEN, type Target } from "./snippet.ts";

const FAILURES = [
  REJECTED_TOKEN,
  `"plugin not installed": repeat step 1 inside Claude Code, then type /reload-plugins. If the
marketplace lists it as molecule-channel, use that name in steps 1 and 3.`,
  `"not on the approved channels allowlist", or silence in a Team or Enterprise organization: an
administrator must enable channels and allow the plugin (channelsEnabled, allowedChannelPlugins).
After that, --channels plugin:molecule@molecule-mcp-claude-channel does in step 3 too.`,
  `"bun: command not found": the plugin runs on Bun, see https://bun.sh`,
  `"since_id not supported": MOLECULE_PLATFORM_URL does not lead to this platform.`,
];

/** A Claude Code session that gets its messages as turns. It polls, so it works behind any firewall. */
export function claudeCodeChannelSnippet(target: Target): string {
  const { id, platformUrl } = target;
  return `# Brings messages for this workspace into a Claude Code session as turns. The plugin polls
# (GET /workspaces/:id/activity, at first with since_secs=), so it needs no tunnel or public address.

# 1. Once: install Bun from https://bun.sh, then type inside Claude Code
#      /plugin marketplace add Molecule-AI/molecule-mcp-claude-channel
#      /plugin install molecule@molecule-mcp-claude-channel

# 2. Store the credentials. This replaces the file: to watch several workspaces, put comma
#    separated lists into both IDS and TOKENS, in the same order.
mkdir -p ~/.claude/channels/molecule
touch ~/.claude/channels/molecule/.env
chmod 600 ~/.claude/channels/molecule/.env
cat > ~/.claude/channels/molecule/.env <<'EOF'
MOLECULE_PLATFORM_URL=${platformUrl}
MOLECULE_WORKSPACE_IDS=${id}
${PLACEHOLDERS.claudeCodeChannel}
EOF

# 3. Start Claude Code with the channel. The plugin is the value of the flag, which lets a
#    channel run that is not on the public allowlist.
claude --dangerously-load-development-channels plugin:molecule@molecule-mcp-claude-channel

${needHelp(target, FAILURES)}`;
}
