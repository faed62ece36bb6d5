import { PLACEHOLDERS } from "../placeholders.ts";
import { needHelp, REJECTED_TOKEN, type Target } from "./snippet.ts";

const FAILURES = [
  REJECTED_TOKEN,
  `ModuleNotFoundError: molecule_agent: install from git as in the first line; it is not on PyPI.`,
  `400 about the url, or no message arrives: INBOUND_URL must be a public HTTPS address that
leads to PORT on this machine, for example through ngrok or a Cloudflare Tunnel.`,
  `Behind a firewall without any tunnel: use one of the polling tabs instead.`,
];

/** An agent in Python with a server of its own, for machines with a public HTTPS address. */
export function pythonSnippet(target: Target): string {
  const { id, platformUrl } = target;
  return `# pip install "git+https://github.com/Molecule-AI/molecule-sdk-python.git@main"
# Needs a public HTTPS address, because the platform calls this agent.

import requests
from molecule_agent import A2AServer, RemoteAgentClient

WORKSPACE_ID  = "${id}"
PLATFORM_URL  = "${platformUrl}"
${PLACEHOLDERS.python}
INBOUND_URL   = "https://your-agent.example.com/a2a/inbound"  # public; must end in /a2a/inbound
PORT          = 8000                                          # local; where INBOUND_URL leads


async def answer(request: dict) -> dict:
    """Answers one A2A message; replace the echo by your agent."""
    message = request.get("params", {}).get("message", request)
    text = "".join(part.get("text", "") for part in message.get("parts", []))
    return {"parts": [{"kind": "text", "text": f"You said: {text}"}]}


def main() -> None:
    # Registration needs the token too, so it goes onto every request.
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {AUTH_TOKEN}"
    session.headers["Origin"] = PLATFORM_URL

    client = RemoteAgentClient(
        workspace_id=WORKSPACE_ID,
        platform_url=PLATFORM_URL,
        agent_card={"name": "my-agent", "description": "What this agent does", "version": "0.1.0"},
        reported_url=INBOUND_URL,
        session=session,
    )
    client.save_token(AUTH_TOKEN)
    server = A2AServer(agent_id=WORKSPACE_ID, inbound_url=INBOUND_URL, message_handler=answer, port=PORT)
    server.start_in_background()
    client.register()
    client.run_heartbeat_loop()  # returns when the workspace is paused or deleted
    server.stop()


if __name__ == "__main__":
    main()

${needHelp(target, FAILURES)}`;
}
