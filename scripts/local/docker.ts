import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { parseDockerHost } from "../../src/domain/docker-host.ts";
import { StartProblem } from "./start-problem.ts";

type Environment = Record<string, string | undefined>;

const BAD_GATEWAY = 502;

/**
 * Passes requests on to the engine of `DOCKER_HOST`, from Node: it can open sockets and show client certificates
 * (`DOCKER_CERT_PATH`). Null where no engine is named; what is named wrongly the Worker reports.
 */
export function dockerService(environment: Environment): http.RequestListener | null {
  const host = parseDockerHost(environment.DOCKER_HOST?.trim() ?? "", environment.DOCKER_TLS_VERIFY === "1");
  if (host === null) return null;
  if (host.kind === "socket") return passOn(http, { socketPath: host.path }, "http://docker");
  const isTls = host.url.startsWith("https:");
  return isTls ? passOn(https, certificatesOf(environment), host.url) : passOn(http, {}, host.url);
}

function certificatesOf({ DOCKER_CERT_PATH: folder }: Environment): https.RequestOptions {
  if (!folder) return {};
  const read = (name: string) => {
    try {
      return readFileSync(join(folder, name));
    } catch {
      throw new StartProblem(`DOCKER_CERT_PATH has no readable ${name}.`);
    }
  };
  return { ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") };
}

function passOn(client: typeof http | typeof https, options: https.RequestOptions, baseUrl: string) {
  return (request: http.IncomingMessage, response: http.ServerResponse) => {
    const { method, url, headers } = request;
    const call = client.request(`${baseUrl}${url}`, { ...options, method, headers: kept(headers) }, (answer) => {
      response.writeHead(answer.statusCode ?? BAD_GATEWAY, kept(answer.headers));
      pipeline(answer, response, () => {});
    });
    call.on("error", ({ message }) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(BAD_GATEWAY, { "content-type": "application/json" }).end(JSON.stringify({ message }));
    });
    // The engine stops what nobody waits for any more.
    response.on("close", () => call.destroy());
    request.pipe(call);
  };
}

/** What tells of a body; the rest belongs to one connection. */
function kept(headers: http.IncomingHttpHeaders): http.OutgoingHttpHeaders {
  const { "content-type": type, "content-length": length } = headers;
  return { ...(type && { "content-type": type }), ...(length && { "content-length": length }) };
}
