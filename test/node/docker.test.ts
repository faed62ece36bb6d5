import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { describe, expect, it, onTestFinished } from "vitest";
import { dockerService } from "../../scripts/local/docker.ts";

/** Asks its engine what it is asked. */
const WORKER = `export default {
  async fetch(request, env) {
    const { pathname, search } = new URL(request.url);
    const { method, headers, body } = request;
    const answer = await env.DOCKER.fetch("http://docker" + pathname + search, { method, headers, body });
    const text = await answer.text().catch(() => "cut off");
    return Response.json({ status: answer.status, text });
  },
};`;

function aFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "posthouse-docker-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return folder;
}

/** An engine that tells what it was asked. */
const engine: http.RequestListener = async (request, response) => {
  if (request.url === "/304") return void response.writeHead(304).end();
  if (request.url === "/cut") {
    response.writeHead(200, { "content-length": "100" });
    return void response.write("{", () => response.destroy());
  }
  const body = Buffer.concat(await request.toArray());
  const client = (request.socket as TLSSocket).getPeerCertificate?.().subject?.CN ?? null;
  const { "content-type": type = null, host = null, authorization = null } = request.headers;
  response.writeHead(404, { "content-type": "application/json" });
  response.end(
    JSON.stringify({ method: request.method, url: request.url, type, host, authorization, size: body.length, client }),
  );
};

async function listening(server: http.Server | https.Server, where: string | number): Promise<number> {
  if (typeof where === "string") server.listen(where);
  else server.listen(where, "127.0.0.1");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  return typeof where === "string" ? 0 : (server.address() as AddressInfo).port;
}

/** A Worker of `npm start` with the engine that this environment names. */
function aWorker(environment: Record<string, string>) {
  const docker = dockerService(environment);
  if (docker === null) throw new Error("no engine is named");
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: 0,
      cf: false,
      workers: [
        {
          name: "worker",
          compatibilityDate: "2026-08-15",
          modules: [{ type: "ESModule", path: "worker.js", contents: WORKER }],
          serviceBindings: { DOCKER: { node: docker } },
        },
      ],
    }),
  );
  onTestFinished(() => miniflare.dispose());
  return async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(new URL(path, await miniflare.ready), init);
    const { status, text } = (await answer.json()) as { status: number; text: string };
    return { status, text, told: text.startsWith('{"method"') ? JSON.parse(text) : null };
  };
}

function openssl(folder: string, ...args: string[]): void {
  execFileSync("openssl", args, { cwd: folder, stdio: "pipe" });
}

/** An authority, and a certificate of it for the server and for the client. */
function certificates(): string {
  const folder = aFolder();
  const subject = (name: string) => ["-subj", `/CN=${name}`, "-days", "2", "-nodes"];
  const key = (name: string) => ["-newkey", "rsa:2048", "-keyout", `${name}-key.pem`];
  openssl(folder, "req", "-x509", ...key("ca"), "-out", "ca.pem", ...subject("authority"));
  for (const name of ["server", "client"]) {
    const authority = ["-CA", "ca.pem", "-CAkey", "ca-key.pem"];
    const names = ["-addext", "subjectAltName=IP:127.0.0.1"];
    openssl(folder, "req", "-x509", ...authority, ...key(name), "-out", `${name}.pem`, ...subject(name), ...names);
  }
  execFileSync("sh", ["-c", "cp client.pem cert.pem && cp client-key.pem key.pem"], { cwd: folder });
  return folder;
}

describe("the engine of npm start", () => {
  it("is reached through a socket", async () => {
    const socket = join(aFolder(), "docker.sock");
    await listening(http.createServer(engine), socket);
    const ask = aWorker({ DOCKER_HOST: `unix://${socket}` });
    const body = new Uint8Array(2 * 1024 * 1024);
    const headers = { "Content-Type": "application/x-tar", Authorization: "Bearer nobody's business" };
    const { status, told } = await ask("/v1.41/containers/a%2Fb/archive?path=%2Fconfigs", {
      method: "PUT",
      body,
      headers,
    });
    expect({ status, told }).toEqual({
      status: 404,
      told: {
        method: "PUT",
        url: "/v1.41/containers/a%2Fb/archive?path=%2Fconfigs",
        type: "application/x-tar",
        host: expect.any(String),
        authorization: null,
        size: body.length,
        client: null,
      },
    });
    expect(await ask("/304", { method: "POST" })).toMatchObject({ status: 304, text: "" });
  });

  it("is reached under a URL", async () => {
    const port = await listening(http.createServer(engine), 0);
    const ask = aWorker({ DOCKER_HOST: `tcp://127.0.0.1:${port}/prefix` });
    const host = `127.0.0.1:${port}`;
    expect((await ask("/v1.41/info")).told).toMatchObject({ method: "GET", url: "/prefix/v1.41/info", host, size: 0 });
  });

  it("shows an answer that is cut off as cut off, and an engine that is away as one", async () => {
    const socket = join(aFolder(), "docker.sock");
    const server = http.createServer(engine);
    await listening(server, socket);
    const ask = aWorker({ DOCKER_HOST: `unix://${socket}` });
    expect(await ask("/cut")).toMatchObject({ status: 200, text: "cut off" });
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    expect(await ask("/v1.41/info")).toMatchObject({ status: 502, text: expect.stringContaining('{"message":') });
  });

  it("is shown the client's certificate, and has to show one of the authority", async () => {
    const folder = certificates();
    const read = (name: string) => execFileSync("cat", [join(folder, name)]);
    const identity = { cert: read("server.pem"), key: read("server-key.pem"), ca: read("ca.pem") };
    const server = https.createServer({ ...identity, requestCert: true, rejectUnauthorized: true }, engine);
    const DOCKER_HOST = `tcp://127.0.0.1:${await listening(server, 0)}`;
    const known = aWorker({ DOCKER_HOST, DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: folder });
    expect((await known("/v1.41/info")).told).toMatchObject({ client: "client" });
    const stranger = aWorker({ DOCKER_HOST, DOCKER_TLS_VERIFY: "1" });
    expect(await stranger("/v1.41/info")).toMatchObject({ status: 502 });
    const another = aWorker({ DOCKER_HOST, DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: certificates() });
    expect(await another("/v1.41/info")).toMatchObject({ status: 502 });
  });

  it("is none where none is named", () => {
    for (const DOCKER_HOST of [undefined, "", " ", "docker"]) expect(dockerService({ DOCKER_HOST })).toBeNull();
  });

  it("is not started with when its certificates cannot be read", () => {
    const environment = { DOCKER_HOST: "https://127.0.0.1", DOCKER_CERT_PATH: aFolder() };
    expect(() => dockerService(environment)).toThrow("DOCKER_CERT_PATH has no readable ca.pem.");
  });
});
