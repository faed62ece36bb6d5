import { Buffer } from "node:buffer";
import http from "node:http";
import { pipeline, Readable } from "node:stream";
import type { TestProject } from "vitest/node";
import { dockerService } from "../../scripts/local/docker.ts";
import { SmallControlPlane } from "./small-control-plane.ts";
import { SmallDocker } from "./small-docker.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** Base URL of the server that plays control planes and Docker engines, see machine-server.ts. */
    machineServer: string;
    /** Base URL of the Docker engine of this machine; empty where `DOCKER_HOST` names none. */
    realDocker: string;
  }
}

/** A request as a backend got it; the body in base64, because archives are no text. */
export interface ReceivedCall {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * What happens to the next request that matches. `reset` and `hold` come instead of the work, `answer` tells something
 * else without doing it, `lose_answer` does it and cuts the connection, `cut` ends an answer in its middle.
 */
export interface Fault {
  readonly method: string;
  readonly path: string;
  readonly act: "answer" | "reset" | "hold" | "lose_answer" | "cut";
  readonly status?: number;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface Reply {
  readonly status: number;
  readonly body?: string;
  /** What happens once all of the answer was taken. */
  readonly onTaken?: () => void;
}

export interface Machines {
  answer(method: string, url: URL, body: Buffer): Reply;
  /** What tests see of it, and what they put into it. */
  show(): unknown;
  arrange(what: unknown): void;
}

const REAL = "/real";
const PIECE_BYTES = 64 * 1024;

class Player {
  readonly received: ReceivedCall[] = [];
  faults: Fault[] = [];
  readonly controlPlane: Machines = new SmallControlPlane();
  readonly docker: Machines = new SmallDocker();
}

/** One loopback server for the whole run, with a control plane and a Docker engine for each name. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const players = new Map<string, Player>();
  const realDocker = dockerService(process.env);
  const server = http.createServer(async (request, response) => {
    if (realDocker !== null && request.url?.startsWith(REAL)) {
      request.url = request.url.slice(REAL.length);
      return realDocker(request, response);
    }
    const chunks: Buffer[] | null = await request.toArray().catch(() => null);
    if (chunks === null) return;
    const body = Buffer.concat(chunks);
    const [, kind = "", name = "", ...rest] = (request.url ?? "").split("/");
    const path = `/${rest.join("/")}`;
    const player = players.get(name) ?? new Player();
    players.set(name, player);
    if (kind.startsWith("control-")) return control(player, kind, path, body, response);
    player.received.push({
      method: request.method ?? "",
      path,
      headers: Object.fromEntries(Object.entries(request.headers).map(([key, value]) => [key, String(value)])),
      body: body.toString("base64"),
    });
    serve(player, kind === "docker" ? player.docker : player.controlPlane, request.method ?? "", path, body, response);
  });
  // A connection that is closed while it idles would look like a lost call.
  server.keepAliveTimeout = 0;
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the machine server got no port");
  const url = `http://127.0.0.1:${address.port}`;
  project.provide("machineServer", url);
  project.provide("realDocker", realDocker === null ? "" : url + REAL);
  return async () => {
    const closed = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await closed;
  };
}

function serve(
  player: Player,
  machines: Machines,
  method: string,
  path: string,
  body: Buffer,
  response: http.ServerResponse,
): void {
  const url = new URL(path, "http://machines");
  const index = player.faults.findIndex((fault) => fault.method === method && url.pathname.includes(fault.path));
  const [fault] = index < 0 ? [] : player.faults.splice(index, 1);
  switch (fault?.act) {
    case "hold":
      return;
    case "reset":
      return void response.destroy();
    case "answer":
      return void response.writeHead(fault.status ?? 500, fault.headers).end(fault.body);
    case "cut":
      response.writeHead(fault.status ?? 200, { "content-length": "100" });
      return void response.write(fault.body ?? "{", () => response.destroy());
    default: {
      const reply = machines.answer(method, url, body);
      if (fault?.act === "lose_answer") return void response.destroy();
      response.writeHead(reply.status, { "content-type": "application/json" });
      pipeline(Readable.from(piecesOf(reply.body ?? "")), response, (error) => error || reply.onTaken?.());
    }
  }
}

/** Handed over one by one, so that it shows when somebody stops reading. */
function* piecesOf(text: string): Generator<Buffer> {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) yield bytes.subarray(at, at + PIECE_BYTES);
}

function control(player: Player, kind: string, path: string, body: Buffer, response: http.ServerResponse): void {
  const machines = kind === "control-docker" ? player.docker : player.controlPlane;
  if (path === "/faults") player.faults.push(...JSON.parse(body.toString()));
  if (path === "/arrange") machines.arrange(JSON.parse(body.toString()));
  response.end(JSON.stringify(path === "/received" ? player.received : machines.show()));
}
