import type { Config } from "../../src/config.ts";

type Running = { url: string; database: string; config: Config };

/** What `npm start` prints when the platform is up: where it is, who may enter, what needs attention, what to try. */
export function welcome({ url, database, config }: Running): string {
  return [
    "",
    `Posthouse is ready at ${url}`,
    `Ledgers: ${database}`,
    "",
    ...modeLines(config),
    ...config.findings.filter((finding) => !finding.startsWith("open dev mode")).map((finding) => `Note: ${finding}`),
    "",
    ...tryLines(url, config),
    "",
  ].join("\n");
}

function modeLines(config: Config): string[] {
  if (!config.devMode) return [`Mode: ${config.environment || "admin token required"}`];
  return [
    "  ******************************************************************",
    "  *  OPEN DEV MODE: whoever reaches this port needs no credential. *",
    "  *  Set ADMIN_TOKEN to close it.                                  *",
    "  ******************************************************************",
  ];
}

function tryLines(url: string, config: Config): string[] {
  if (!config.devMode && config.adminTokens.length === 0) return ["Set ADMIN_TOKEN to make agents."];
  const admin = config.devMode ? "" : ' -H "Authorization: Bearer $ADMIN_TOKEN"';
  const agent = '{"name":"my agent","runtime":"external","delivery_mode":"poll"}';
  const message =
    '{"method":"message/send","params":{"message":{"role":"user","parts":[{"kind":"text","text":"hello"}]}}}';
  const asAgent = '-H "Authorization: Bearer $TOKEN"';
  const workspace = `${url}/workspaces/$ID`;
  return [
    `Try it: make an agent, send it a message, read its inbox${admin && " (with ADMIN_TOKEN set in your shell too)"}:`,
    "",
    `AGENT=$(curl -s ${url}/workspaces${admin} -d '${agent}'); ID=$(${pick("workspace_id")}); TOKEN=$(${pick("auth_token")}); echo "agent $ID"`,
    `curl -s ${workspace}/a2a${admin} -d '${message}'; echo`,
    `curl -s "${workspace}/activity?type=a2a_receive" ${asAgent}; echo`,
    "",
    "And send it a file, which it fetches:",
    "",
    `FILE=$(curl -s ${workspace}/chat/uploads${admin} -F 'files=a parcel;filename=parcel.txt' | sed 's|.*"uri":"[^/]*/\\([^"]*\\)".*|\\1|')`,
    `curl -s ${workspace}/pending-uploads/$FILE/content ${asAgent}; echo`,
  ];
}

/** Shell that takes one text out of the JSON in $AGENT, without jq. */
function pick(key: string): string {
  return `printf %s "$AGENT" | sed 's/.*"${key}":"\\([^"]*\\)".*/\\1/'`;
}
