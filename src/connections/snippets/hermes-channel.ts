import { PLACEHOLDERS } from "../placeholders.ts";
import { needHelp, REJECTED_TOKEN, type Target } from "./snippet.ts";

const FAILURES = [
  REJECTED_TOKEN,
  `The gateway does not start: read ~/.hermes/gateway.log. Most often config.yaml has two gateway
blocks; there must be exactly one.`,
  `Nothing arrives: the variables must be exported in the shell that starts the gateway, and
pip show hermes-channel-molecule must find the plugin in the Python of hermes.`,
  `"cannot import molecule_runtime": set MOLECULE_MCP_PYTHON to the Python that has the wheel.`,
];

/** A Hermes gateway that treats the workspace as one more messaging platform. */
export function hermesChannelSnippet(target: Target): string {
  const { id, platformUrl } = target;
  return `# Makes the workspace a messaging platform of your Hermes gateway. The plugin polls, so no
# tunnel or public address is needed.

# 1. Install the runtime and the plugin into the Python of Hermes. Needs 3.11 or newer.
pip install molecule-ai-workspace-runtime
pip install "git+https://github.com/Molecule-AI/hermes-channel-molecule.git"

# 2. Credentials, in the shell that starts the gateway.
export MOLECULE_WORKSPACE_ID="${id}"
export MOLECULE_PLATFORM_URL="${platformUrl}"
export ${PLACEHOLDERS.hermesChannel}

# 3. Switch the platform on. YAML allows one gateway block, so an existing one is left to you.
mkdir -p ~/.hermes
touch ~/.hermes/config.yaml
if grep -q '^gateway:' ~/.hermes/config.yaml; then
  echo "Make sure that the gateway block of ~/.hermes/config.yaml has plugin_platforms.molecule.enabled: true"
else
  cat >> ~/.hermes/config.yaml <<'EOF'

gateway:
  plugin_platforms:
    molecule:
      enabled: true
EOF
fi

# 4. Register once, because the plugin does not; then start the gateway anew.
curl -sS -X POST "$MOLECULE_PLATFORM_URL/registry/register" \\
  -H "Authorization: Bearer $MOLECULE_WORKSPACE_TOKEN" \\
  -H "Origin: $MOLECULE_PLATFORM_URL" \\
  -H "Content-Type: application/json" \\
  -d '{"id": "${id}", "delivery_mode": "poll", "agent_card": {"name": "hermes"}}'
hermes gateway --replace

${needHelp(target, FAILURES)}`;
}
