import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Answer, Connection, encode, type LoadResult, load } from "./local/load.ts";
import { claimPort } from "./local/ports.ts";
import { descendantsOf, residentBytes } from "./local/processes.ts";
import { spawnPlatform } from "./local/spawn-platform.ts";
import { type Agent, fileIdOf, Wire } from "./local/wire.ts";

const CONNECTIONS = 8;
const SECONDS_MAX = 5;
const COUNT_MAX = 40_000;
const WARM_UP_COUNT = 400;
const POLL_ROWS = 100;
const SMALL_FILE_BYTES = 10 * 1024;
const LARGE_FILE_BYTES = 24 * 1024 * 1024;
const LARGE_UPLOADS = 4;
const MEGABYTE = 1_000_000;
const MEBIBYTE = 1024 * 1024;
const SAMPLE_MS = 20;
const BOUNDARY = "posthouse-bench";

/** The original server, measured with 8 connections on 2 cores, its Postgres and Redis beside it. */
const ORIGINAL = {
  emptyPoll: 1_170,
  fullPoll: 320,
  heartbeat: 450,
  message: 380,
  delegation: 96,
  refusedToken: 2_490,
  uploadMegabytes: 53,
} as const;

type Line = { action: string; figure: string; original: string; ratio: string; p50: string; p99: string };

const dataDir = mkdtempSync(join(tmpdir(), "posthouse-bench-"));
const port = await claimPort(0);
const platform = spawnPlatform({ command: [process.execPath, "scripts/start.ts"], dataDir, port });
process.once("SIGINT", () => process.kill(platform.pid, "SIGTERM"));
try {
  const wire = new Wire(await platform.ready);
  console.log(`${CONNECTIONS} connections, at most ${SECONDS_MAX} s or ${COUNT_MAX} requests a line. Please wait.`);
  print({ action: "action", figure: "posthouse", original: "original", ratio: "ratio", p50: "p50", p99: "p99" });
  for await (const entry of requestLines(wire)) print(entry);
  print(await parcelLine(wire));
  print(await largeUploadLine(wire));
} finally {
  process.kill(platform.pid, "SIGTERM");
  await platform.exited;
  rmSync(dataDir, { recursive: true, force: true });
}

/** The lines whose figure is requests per second. */
async function* requestLines(wire: Wire): AsyncGenerator<Line> {
  const reader = await wire.createAgent("reader");
  for (let row = 0; row < POLL_ROWS; row++) await wire.sendMessage(reader.id, `message ${row}`);
  const [newest] = await wire.poll(reader, { limit: "1" });
  const target = await wire.createAgent("target");
  const beaters = await Promise.all(
    Array.from({ length: CONNECTIONS }, (_, index) => wire.createAgent(`beater ${index}`)),
  );
  const activity = `/workspaces/${reader.id}/activity?type=a2a_receive`;
  const read = (query: string) => get(`${activity}&${query}`, reader.token);
  yield await line("empty poll", ORIGINAL.emptyPoll, 200, () => read(`since_id=${newest?.id}`));
  yield await line(`poll of ${POLL_ROWS} rows`, ORIGINAL.fullPoll, 200, () => read("since_secs=3600"));
  yield await line("heartbeat", ORIGINAL.heartbeat, 200, (connection) => beat(beaters[connection] ?? reader));
  yield await line("message to a poll target", ORIGINAL.message, 200, (connection, index) =>
    message(target, `${connection}/${index}`),
  );
  const caller = await wire.createAgent("caller");
  yield await line("delegation to a poll target", ORIGINAL.delegation, 202, (connection, index) =>
    delegation(caller, target, `${connection}/${index}`),
  );
  yield await line("refused token", ORIGINAL.refusedToken, 401, () => get(activity, `mol_${"x".repeat(71)}`));
}

async function line(
  action: string,
  original: number,
  expected: number,
  request: (connection: number, index: number) => Buffer,
): Promise<Line> {
  await load({ port, connections: CONNECTIONS, secondsMax: SECONDS_MAX, countMax: WARM_UP_COUNT, request });
  const result = await load({ port, connections: CONNECTIONS, secondsMax: SECONDS_MAX, countMax: COUNT_MAX, request });
  const others = [...result.statuses].filter(([status]) => status !== expected);
  const unexpected = others.map(([status, count]) => `, ${count} × ${status}`).join("");
  return rateLine(action + unexpected, result, original);
}

function rateLine(action: string, { perSecond, p50Ms, p99Ms }: LoadResult, original: number | null): Line {
  return {
    action,
    figure: `${Math.round(perSecond).toLocaleString("en")}/s`,
    original: original === null ? "" : `${original.toLocaleString("en")}/s`,
    ratio: original === null ? "" : `${(perSecond / original).toFixed(1)}×`,
    p50: `${p50Ms.toFixed(1)} ms`,
    p99: `${p99Ms.toFixed(1)} ms`,
  };
}

/** Whole journeys of a small file: upload, fetch, acknowledge. */
async function parcelLine(wire: Wire): Promise<Line> {
  const agent = await wire.createAgent("parcels");
  const request = upload(agent, randomBytes(SMALL_FILE_BYTES));
  const latenciesMs: number[] = [];
  const start = performance.now();
  const deadline = start + SECONDS_MAX * 1_000;
  const run = async () => {
    const connection = await Connection.open(port);
    while (performance.now() < deadline) {
      const began = performance.now();
      const fileId = uploadedId(await connection.exchange(request));
      const path = `/workspaces/${agent.id}/pending-uploads/${fileId}`;
      expect(200, await connection.exchange(get(`${path}/content`, agent.token)));
      expect(200, await connection.exchange(encode({ method: "POST", path: `${path}/ack`, headers: bearer(agent) })));
      latenciesMs.push(performance.now() - began);
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, run));
  const perSecond = latenciesMs.length / ((performance.now() - start) / 1_000);
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number) => latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0;
  const result = { count: latenciesMs.length, perSecond, p50Ms: at(0.5), p99Ms: at(0.99), statuses: new Map() };
  return rateLine(`upload + fetch + ack of ${SMALL_FILE_BYTES / 1024} KiB`, result, null);
}

/** Large uploads at once: throughput, and what they cost workerd in memory. */
async function largeUploadLine(wire: Wire): Promise<Line> {
  const agent = await wire.createAgent("large");
  const request = upload(agent, randomBytes(LARGE_FILE_BYTES));
  const workerd = descendantsOf(platform.pid).find(({ command }) => command[0]?.endsWith("workerd"))?.pid ?? 0;
  const before = residentBytes(workerd);
  let highest = before;
  const sampling = setInterval(() => {
    highest = Math.max(highest, residentBytes(workerd));
  }, SAMPLE_MS);
  const connections = await Promise.all(Array.from({ length: LARGE_UPLOADS }, () => Connection.open(port)));
  const start = performance.now();
  for (const answer of await Promise.all(connections.map((connection) => connection.exchange(request))))
    expect(200, answer);
  const seconds = (performance.now() - start) / 1_000;
  clearInterval(sampling);
  for (const connection of connections) connection.close();
  const perSecond = (LARGE_UPLOADS * LARGE_FILE_BYTES) / MEGABYTE / seconds;
  const mebibytes = (bytes: number) => Math.round(bytes / MEBIBYTE);
  return {
    action: `${LARGE_UPLOADS} uploads of 24 MiB at once`,
    figure: `${perSecond.toFixed(0)} MB/s, ${mebibytes(before)} → ${mebibytes(highest)} MiB`,
    original: `${ORIGINAL.uploadMegabytes} MB/s, 33 → 906 MiB`,
    ratio: `${(perSecond / ORIGINAL.uploadMegabytes).toFixed(1)}×`,
    p50: "",
    p99: "",
  };
}

function bearer({ token }: { token: string }): Record<string, string> {
  return { Authorization: `Bearer ${token}` };
}

function get(path: string, token: string): Buffer {
  return encode({ method: "GET", path, headers: bearer({ token }) });
}

function post(path: string, body: unknown, headers: Record<string, string> = {}): Buffer {
  const all = { ...headers, "Content-Type": "application/json" };
  return encode({ method: "POST", path, headers: all, body: Buffer.from(JSON.stringify(body)) });
}

function beat(agent: Agent): Buffer {
  const body = { workspace_id: agent.id, error_rate: 0, sample_error: "", active_tasks: 0, uptime_seconds: 60 };
  return post("/registry/heartbeat", body, bearer(agent));
}

function delegation(caller: Agent, target: Agent, task: string): Buffer {
  const body = Buffer.from(JSON.stringify({ target_id: target.id, task }));
  const headers = { ...bearer(caller), "Content-Type": "application/json" };
  return encode({ method: "POST", path: `/workspaces/${caller.id}/delegate`, headers, body });
}

function message({ id }: Agent, text: string): Buffer {
  const parts = [{ kind: "text", text }];
  return post(`/workspaces/${id}/a2a`, { method: "message/send", params: { message: { role: "user", parts } } });
}

function upload({ id }: Agent, bytes: Buffer): Buffer {
  const disposition = 'Content-Disposition: form-data; name="files"; filename="bench.bin"';
  const head = `--${BOUNDARY}\r\n${disposition}\r\nContent-Type: application/octet-stream\r\n\r\n`;
  const body = Buffer.concat([Buffer.from(head), bytes, Buffer.from(`\r\n--${BOUNDARY}--\r\n`)]);
  const headers = { "Content-Type": `multipart/form-data; boundary=${BOUNDARY}` };
  return encode({ method: "POST", path: `/workspaces/${id}/chat/uploads`, headers, body });
}

function uploadedId(answer: Answer): string {
  expect(200, answer);
  const { files }: { files: { uri: string }[] } = JSON.parse(answer.body.toString());
  return fileIdOf(files[0]?.uri ?? "");
}

function expect(status: number, answer: Answer): void {
  if (answer.status !== status)
    throw new Error(`expected ${status}, got ${answer.status}: ${answer.body.toString("utf8", 0, 300)}`);
}

function print(entry: Line): void {
  const { action, figure, original, ratio, p50, p99 } = entry;
  const columns = [figure.padStart(26), original.padStart(24), ratio.padStart(6), p50.padStart(9), p99.padStart(9)];
  console.log(action.padEnd(30) + columns.join(" "));
}
