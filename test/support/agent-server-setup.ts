import http from "node:http";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    /** Base URL of the server that plays the push agents, see agent-server.ts. */
    agentServer: string;
  }
}

interface Agent {
  readonly received: { body: string; headers: http.IncomingHttpHeaders }[];
  readonly released: PromiseWithResolvers<void>;
  script: string[];
}

type Behaviour = (response: http.ServerResponse, argument: string, agent: Agent, body: string) => void | Promise<void>;

const METADATA_URL = "http://169.254.169.254/latest/meta-data/";

const BEHAVIOURS: Record<string, Behaviour> = {
  echo: (response, _argument, _agent, body) => {
    const parts = [{ kind: "text", text: "echo" }];
    answer(response, 200, JSON.stringify({ jsonrpc: "2.0", id: idOf(body), result: { parts } }));
  },
  status: (response, code) => answer(response, Number(code), JSON.stringify({ error: `agent says ${code}` })),
  text: (response, code) => answer(response, Number(code), "<html>words</html>", { "content-type": "text/html" }),
  task: (response, state, _agent, body) => {
    const message = { role: "agent", parts: [{ kind: "text", text: `it is ${state}` }] };
    const result = { kind: "task", id: "t", status: { state, message } };
    answer(response, 200, JSON.stringify({ jsonrpc: "2.0", id: idOf(body), result }));
  },
  type: (response, type) => answer(response, 200, "{}", { "content-type": decodeURIComponent(type) }),
  disposition: (response, value) => {
    const headers = { "content-type": "text/html", "content-disposition": decodeURIComponent(value) };
    answer(response, 200, "<script></script>", { ...headers, "content-length": 17 });
  },
  hold: async (response, argument, agent, body) => {
    await agent.released.promise;
    await behave(response, argument === "" ? "echo" : argument, agent, body);
  },
  cut: (response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "100" });
    response.write('{"result":', () => response.destroy());
  },
  reset: (response) => void response.destroy(),
  large: (response, bytes) => {
    const frame = JSON.stringify({ result: "" });
    answer(response, 200, JSON.stringify({ result: "x".repeat(Number(bytes) - frame.length) }));
  },
  redirect: (response) => answer(response, 302, "{}", { location: METADATA_URL }),
  cloudflare: (response, code) => answer(response, Number(code), `error code: ${code}`, { server: "cloudflare" }),
  script: async (response, _argument, agent, body) => {
    const next = (agent.script.length > 1 ? agent.script.shift() : agent.script[0]) ?? "echo";
    await behave(response, next, agent, body);
  },
};

/** One loopback server for the whole run that plays every push agent of every test. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const agents = new Map<string, Agent>();
  const agentOf = (name: string): Agent => {
    const agent = agents.get(name) ?? { received: [], released: Promise.withResolvers(), script: [] };
    agents.set(name, agent);
    return agent;
  };
  const server = http.createServer(async (request, response) => {
    const chunks = await request.toArray().catch(() => null);
    // Whoever was cut off said nothing.
    if (chunks === null) return;
    const body = chunks.join("");
    const [, kind = "", name = "", ...rest] = (request.url ?? "").split("/");
    const agent = agentOf(name);
    if (kind === "control") return control(response, rest[0] ?? "", agent, body);
    agent.received.push({ body, headers: request.headers });
    // The agent of a container is called at the root of its port.
    await behave(response, rest.join("/") || "echo", agent, body);
  });
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the agent server got no port");
  project.provide("agentServer", `http://127.0.0.1:${address.port}`);
  return async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
}

function control(response: http.ServerResponse, what: string, agent: Agent, body: string): void {
  if (what === "release") agent.released.resolve();
  if (what === "script") agent.script = JSON.parse(body);
  answer(response, 200, JSON.stringify(what === "received" ? agent.received : {}));
}

async function behave(response: http.ServerResponse, path: string, agent: Agent, body: string): Promise<void> {
  const [name = "", ...argument] = path.split("/");
  const behaviour = BEHAVIOURS[name];
  if (behaviour) await behaviour(response, argument.join("/"), agent, body);
  else answer(response, 404, JSON.stringify({ error: "no such behaviour" }));
}

function answer(
  response: http.ServerResponse,
  status: number,
  body: string,
  headers: http.OutgoingHttpHeaders = { "content-type": "application/json" },
): void {
  response.writeHead(status, headers).end(body);
}

function idOf(body: string): unknown {
  try {
    return JSON.parse(body).id ?? null;
  } catch {
    return null;
  }
}
