import http from "node:http";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    /** Base URL of the server that plays the control planes behind /cp/, see upstream.ts. */
    upstreamServer: string;
  }
}

/** A request as the control plane got it. `bytes` are those of its body so far. */
export interface Passed {
  readonly method: string;
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  bytes: number;
}

/**
 * What happens to the next request: `answer` says something else, `reset` cuts the connection, `cut` ends an answer in
 * its middle, `hold` waits for the test before it answers, `drip` in the middle of its answer.
 */
export interface Behaviour {
  readonly act: "answer" | "reset" | "cut" | "hold" | "drip";
  readonly status?: number;
  readonly headers?: http.OutgoingHttpHeaders;
  readonly body?: string;
}

class Upstream {
  readonly received: Passed[] = [];
  readonly next: Behaviour[] = [];
  /** Users by the value of their cookie `session`. */
  members: Record<string, string> = {};
  released = Promise.withResolvers<void>();
}

/** One loopback server for the whole run, with a control plane for each name. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const upstreams = new Map<string, Upstream>();
  const server = http.createServer(async (request, response) => {
    const [, kind = "", name = "", ...rest] = (request.url ?? "").split("/");
    const upstream = upstreams.get(name) ?? new Upstream();
    upstreams.set(name, upstream);
    const path = `/${rest.join("/")}`;
    if (kind === "control") return control(upstream, path, (await request.toArray()).join(""), response);
    const passed: Passed = { method: request.method ?? "", path, headers: request.headers, bytes: 0 };
    upstream.received.push(passed);
    request.on("data", (chunk) => {
      passed.bytes += chunk.length;
    });
    await serve(upstream, passed, response);
  });
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the upstream server got no port");
  project.provide("upstreamServer", `http://127.0.0.1:${address.port}`);
  return async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
}

async function serve(upstream: Upstream, passed: Passed, response: http.ServerResponse): Promise<void> {
  const { act, status = 200, headers = { "content-type": "application/json" }, body } = upstream.next.shift() ?? {};
  const usual = body === undefined ? usualAnswer(upstream, passed) : { status, body };
  switch (act) {
    case "reset":
      return void response.destroy();
    case "cut":
      response.writeHead(status, { "content-length": "1000" });
      return void response.write(usual.body, () => response.destroy());
    case "drip":
      response.writeHead(status, headers).write(usual.body);
      await upstream.released.promise;
      return void response.end();
    case "hold":
      await upstream.released.promise;
      break;
    case "answer":
      return void response.writeHead(status, headers).end(usual.body);
  }
  response.writeHead(usual.status, headers).end(usual.body);
}

function usualAnswer(upstream: Upstream, { method, path, headers }: Passed): { status: number; body: string } {
  if (!path.startsWith("/cp/auth/tenant-member?")) return { status: 200, body: JSON.stringify({ method, path }) };
  const [, cookie = ""] = /(?:^|; )session=([^;]*)/.exec(headers.cookie ?? "") ?? [];
  const userId = path.endsWith("?slug=acme") ? upstream.members[cookie] : undefined;
  if (userId === undefined) return { status: 401, body: '{"error":"unauthorized"}' };
  return { status: 200, body: JSON.stringify({ member: true, user_id: userId }) };
}

function control(upstream: Upstream, what: string, body: string, response: http.ServerResponse): void {
  if (what === "/next") upstream.next.push(...JSON.parse(body));
  if (what === "/members") upstream.members = JSON.parse(body);
  if (what === "/release") upstream.released.resolve();
  response.end(JSON.stringify(upstream.received));
}
