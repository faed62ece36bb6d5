import type { Config } from "../config.ts";
import { pushUrlPolicy } from "../config.ts";
import { Refusal } from "../domain/refusal.ts";
import { checkPushUrl } from "../domain/url-guard.ts";

/** An agent with a URL of its own, and the secret that shows it that the platform calls. */
export interface FileAgent {
  readonly url: string | null;
  readonly inboundSecret: string;
  readonly external: boolean;
}

const INGEST_PATH = "/internal/chat/uploads/ingest";
const READ_PATH = "/internal/file/read";
const CALL_TIMEOUT_MS = 120_000;
const READABLE_ROOT = /^\/(configs|workspace|home|plugins)(\/|$)/;

/** Streams an upload to a push agent; its status and body come back with nothing but their Content-Type. */
export async function forwardUpload(agent: FileAgent, request: Request, config: Config): Promise<Response> {
  const url = agentUrl(agent, INGEST_PATH, "upload", config);
  const answer = await callAgent(url, {
    method: "POST",
    headers: { ...authorization(agent), "Content-Type": request.headers.get("Content-Type") ?? "" },
    body: request.body,
  });
  return passedOn(answer, ["Content-Type"]);
}

/** Reads a file of a push agent by its path, checked in the contract's order. */
export async function readAgentFile(agent: FileAgent, path: string, config: Config): Promise<Response> {
  const url = agentUrl(agent, `${READ_PATH}?path=${encodeURIComponent(path)}`, "download", config);
  const answer = await callAgent(url, { headers: authorization(agent) });
  return passedOn(answer, ["Content-Type", "Content-Length", "Content-Disposition"]);
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
function agentUrl({ url, external }: FileAgent, path: string, what: "upload" | "download", config: Config): string {
  if (url === null && external) {
    const error = `workspace has no callback URL — chat ${what} requires push-mode + public URL`;
    throw new Refusal("upload.no_callback_url", { error });
  }
  if (url === null) throw new Refusal("upload.url_not_registered");
  const check = checkPushUrl(url, pushUrlPolicy(config));
  if (!check.ok) throw new Refusal("a2a.not_routable");
  return url.replace(/\/+$/, "") + path;
}

function authorization({ inboundSecret }: FileAgent): Record<string, string> {
  return { Authorization: `Bearer ${inboundSecret}` };
}

async function callAgent(url: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, { ...init, redirect: "manual", signal: AbortSignal.timeout(CALL_TIMEOUT_MS) });
  } catch {
    throw new Refusal("upload.agent_unreachable");
  }
}

function passedOn(answer: Response, names: readonly string[]): Response {
  const headers = new Headers();
  for (const name of names) {
    const value = answer.headers.get(name);
    if (value !== null) headers.set(name, value);
  }
  return new Response(answer.body, { status: answer.status, headers });
}
