import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { convertV4MiniflareOptions, Miniflare } from "miniflare";
import { expect, it, onTestFinished } from "vitest";
import { OUTBOUND_WORKER, operatorsNetwork, outboundWorker } from "../../scripts/local/outbound.ts";
import { MACHINE_CALL_HEADER } from "../../src/domain/machine-call.ts";

/** Calls what the path names, with the body that it got. */
const CALLER = `export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    const network = request.headers.has("x-operators") ? env.CONTROL_PLANE : globalThis;
    const mark = request.headers.get("x-mark");
    const headers = mark === null ? {} : { [mark]: "1" };
    const init = { method: "POST", headers, body: request.body, redirect: "manual" };
    const answer = await network.fetch(decodeURIComponent(pathname.slice(1)), init)
      .catch((error) => new Response(error.message, { status: 599 }));
    const reason = answer.headers.get("x-posthouse-not-sent");
    return new Response(reason ?? answer.body, { status: answer.status });
  },
};`;

const REFUSED = { status: 599, body: "address not allowed, or certificate not trusted" };

async function anEchoOnLoopback(): Promise<number> {
  const server = createServer((request, response) => {
    if (request.url === "/moved") response.writeHead(302, { Location: "/" });
    if (request.headers[MACHINE_CALL_HEADER]) response.writeHead(418);
    request.pipe(response);
  }).listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

/** Calls a URL from inside workerd, behind the outbound Worker. */
function aCaller(options: { endpoint?: string; allowPrivate: boolean; hasMachines?: boolean }) {
  const variables = options.endpoint ? { NEON_FETCH_ENDPOINT: options.endpoint } : {};
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      host: "127.0.0.1",
      port: 0,
      cf: false,
      handleStructuredLogs: () => {}, // workerd logs each refusal with its stack
      workers: [
        {
          name: "caller",
          compatibilityDate: "2026-08-15",
          compatibilityFlags: ["global_fetch_strictly_public"],
          modules: [{ type: "ESModule", path: "caller.js", contents: CALLER }],
          serviceBindings: { CONTROL_PLANE: operatorsNetwork() },
          outboundService: OUTBOUND_WORKER,
        },
        outboundWorker(variables, options.allowPrivate, options.hasMachines),
      ],
    }),
  );
  onTestFinished(() => miniflare.dispose());
  return async (url: string, body = "a parcel", headers: Record<string, string> = {}) => {
    const target = new URL(encodeURIComponent(url), await miniflare.ready);
    const answer = await fetch(target, { method: "POST", body, headers });
    return { status: answer.status, body: await answer.text() };
  };
}

it("reaches nothing private by whatever name, except the database's endpoint", async () => {
  const [agent, database] = await Promise.all([anEchoOnLoopback(), anEchoOnLoopback()]);
  const call = aCaller({ endpoint: `http://127.0.0.1:${database}/sql`, allowPrivate: false });
  expect(await call(`http://localhost:${agent}/`)).toEqual(REFUSED);
  expect(await call(`http://ip6-localhost:${agent}/`)).toMatchObject({ status: 599 });
  expect(await call(`http://127.0.0.1:${agent}/`)).toEqual(REFUSED);
  expect(await call(`http://localhost:${database}/sql`)).toEqual(REFUSED);
  expect(await call(`http://127.0.0.1:${database}/sql`)).toEqual({ status: 200, body: "a parcel" });
});

it("reaches agents on this machine in open dev mode, follows no redirect and passes large bodies on", async () => {
  const agent = await anEchoOnLoopback();
  const call = aCaller({ allowPrivate: true });
  const large = "x".repeat(4 * 1024 * 1024);
  expect(await call(`http://localhost:${agent}/`, large)).toEqual({ status: 200, body: large });
  expect(await call(`http://localhost:${agent}/moved`)).toMatchObject({ status: 302 });
  expect(await call("http://169.254.169.254/")).toEqual(REFUSED);
});

it("reaches a control plane on this machine whatever is closed to agents, but nothing link-local", async () => {
  const controlPlane = await anEchoOnLoopback();
  const call = aCaller({ allowPrivate: false });
  const operators = { "x-operators": "1" };
  expect(await call(`http://localhost:${controlPlane}/`, "who?", operators)).toEqual({ status: 200, body: "who?" });
  expect(await call(`http://127.0.0.1:${controlPlane}/moved`, "", operators)).toMatchObject({ status: 302 });
  expect(await call("http://169.254.169.254/", "", operators)).toMatchObject({ status: 599 });
  expect(await call(`http://localhost:${controlPlane}/`)).toEqual(REFUSED);
});

it("says of a call for which no connection comes about that nothing was sent", async () => {
  const call = aCaller({ allowPrivate: true });
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  expect(await call(`http://localhost:${port}/`)).toEqual({
    status: 502,
    body: `nothing listens at localhost:${port}`,
  });
});

it("lets marked calls pass to containers on this machine, unmarked, and only where there are any", async () => {
  const container = await anEchoOnLoopback();
  const url = `http://127.0.0.1:${container}/`;
  const call = aCaller({ allowPrivate: false, hasMachines: true });
  expect(await call(url, "a parcel", { "x-mark": MACHINE_CALL_HEADER })).toEqual({ status: 200, body: "a parcel" });
  expect(await call(url)).toEqual(REFUSED);
  expect(await call("http://192.168.0.1/", "a parcel", { "x-mark": MACHINE_CALL_HEADER })).toMatchObject({
    status: 599,
  });
  const without = aCaller({ allowPrivate: false });
  expect(await without(url, "a parcel", { "x-mark": MACHINE_CALL_HEADER })).toEqual(REFUSED);
});

it("says of a container that does not listen that nothing was sent, in open dev mode and outside it", async () => {
  for (const allowPrivate of [true, false]) {
    const call = aCaller({ allowPrivate, hasMachines: true });
    const answer = await call("http://127.0.0.1:9/", "a parcel", { "x-mark": MACHINE_CALL_HEADER });
    expect(answer).toEqual({ status: 502, body: "nothing listens at 127.0.0.1:9" });
  }
});
