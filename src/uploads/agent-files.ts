import type { Config } from "../config.ts";
import { pushUrlPolicy } from "../config.ts";
import { sanitiseFilename, sanitiseFilenameBytes } from "../domain/filename.ts";
import { MACHINE_CALL_HEADER } from "../domain/machine-call.ts";
import { UNKNOWN_MIME_TYPE } from "../domain/mime-type.ts";
import { Refusal } from "../domain/refusal.ts";
import { checkPushUrl, MACHINE_URL_POLICY } from "../domain/url-guard.ts";
import { ForwardedBody } from "./forward-body.ts";
import { attachment, filenameOf, parseHeaderValue } from "./header-value.ts";

/** An agent with a URL of its own, and the secret that shows it that the platform calls. */
export interface FileAgent {
  readonly url: string | null;
  readonly inboundSecret: string;
  readonly external: boolean;
  /** The machine whose URL it is, where the platform's own backend has told it. */
  readonly instanceId?: string;
}

const INGEST_PATH = "/internal/chat/uploads/ingest";
const READ_PATH = "/internal/file/read";
const CALL_TIMEOUT_MS = 120_000;
const READABLE_ROOT = /^\/(configs|workspace|home|plugins)(\/|$)/;

/** JSON and nothing else: of two types in one header browsers take the last. */
const JSON_TYPE = /^application\/json *(?:;[^,]*)?$/i;
/** An agent's words are shown, and never run under the platform's origin. */
const INERT = { "Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff" };

/** Streams an upload to a push agent; its status and body come back, as JSON or else as a file. */
export async function forwardUpload(agent: FileAgent, request: Request, config: Config): Promise<Response> {
  const url = agentUrl(agent, INGEST_PATH, "upload", config);
  const body = new ForwardedBody(request, config.UPLOAD_REQUEST_BYTES);
  const headers = { ...ownHeaders(agent), "Content-Type": request.headers.get("Content-Type") ?? "" };
  const sent = callAgent(url, { method: "POST", headers, body: body.stream, signal: body.fault });
  const answer = await sent.catch(async (error) => {
    throw (await body.giveUp()) ?? error;
  });
  if (!answer.ok) await body.giveUp();
  const type = answer.headers.get("Content-Type") ?? "";
  const described = JSON_TYPE.test(type)
    ? { "Content-Type": type }
    : { "Content-Type": UNKNOWN_MIME_TYPE, "Content-Disposition": "attachment" };
  return new Response(answer.body, { status: answer.status, headers: { ...INERT, ...described } });
}

/** Reads a file of a push agent by its checked path; it comes back as a file to be saved, whatever the agent says. */
export async function readAgentFile(agent: FileAgent, path: string, config: Config): Promise<Response> {
  const url = agentUrl(agent, `${READ_PATH}?path=${encodeURIComponent(path)}`, "download", config);
  const answer = await callAgent(url, { headers: ownHeaders(agent) });
  const length = answer.headers.get("Content-Length");
  const headers = {
    ...INERT,
    "Content-Type": answer.headers.get("Content-Type") ?? UNKNOWN_MIME_TYPE,
    "Content-Disposition": attachment(nameOf(answer.headers.get("Content-Disposition"), path)),
    ...(length === null ? {} : { "Content-Length": length }),
  };
  return new Response(answer.body, { status: answer.status, headers });
}

/** The path of a download, or the refusal of the first rule that it breaks. */
export function checkReadablePath(path: string | undefined): string {
  if (!path) throw new Refusal("download.path_required");
  if (!path.startsWith("/")) throw new Refusal("download.path_not_absolute");
  if (!READABLE_ROOT.test(path)) throw new Refusal("download.path_outside");
  const segments = path.split("/").slice(1);
  if (segments.some((segment) => segment === "" || segment === "." || segment === "..")) {
    throw new Refusal("download.path_invalid");
  }
  return path;
}

/** Refuses an agent without a URL: one that was never to have one, and one that is still starting. */
function agentUrl(agent: FileAgent, path: string, what: "upload" | "download", config: Config): string {
  const { url, external, instanceId } = agent;
  if (url === null && external) {
    const error = `workspace has no callback URL — chat ${what} requires push-mode + public URL`;
    throw new Refusal("upload.no_callback_url", { error });
  }
  if (url === null) throw new Refusal("upload.url_not_registered");
  const check = checkPushUrl(url, instanceId === undefined ? pushUrlPolicy(config) : MACHINE_URL_POLICY);
  if (!check.ok) throw new Refusal("a2a.not_routable");
  return url.replace(/\/+$/, "") + path;
}

function ownHeaders({ inboundSecret, instanceId }: FileAgent): Record<string, string> {
  const mark = instanceId === undefined ? {} : { [MACHINE_CALL_HEADER]: "1" };
  return { Authorization: `Bearer ${inboundSecret}`, ...mark };
}

async function callAgent(url: string, { signal, ...init }: RequestInit): Promise<Response> {
  const signals = [AbortSignal.timeout(CALL_TIMEOUT_MS), ...(signal ? [signal] : [])];
  try {
    return await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.any(signals) });
  } catch {
    throw new Refusal("upload.agent_unreachable");
  }
}

/** The name that the agent gives its file, else the one on its disk; sanitised. */
function nameOf(disposition: string | null, path: string): string {
  const header = parseHeaderValue(disposition ?? "");
  const given = header === null ? new Uint8Array(0) : filenameOf(header);
  return given.length === 0 ? sanitiseFilename(path) : sanitiseFilenameBytes(given);
}
