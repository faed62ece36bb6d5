import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { Connection, encode } from "../../scripts/local/load.ts";
import { pg } from "../../scripts/local/pg.ts";
import { claimPort } from "../../scripts/local/ports.ts";
import { startPostgres } from "../../scripts/local/postgres.ts";
import { descendantsOf, isRunning, runningProcesses } from "../../scripts/local/processes.ts";
import { type SpawnedPlatform, spawnPlatform } from "../../scripts/local/spawn-platform.ts";
import { type Agent, fileIdOf, type Row, textOf, UnexpectedAnswer, Wire } from "../../scripts/local/wire.ts";

const KIB = 1024;
const LARGE_FILE_BYTES = 24 * KIB * KIB;
const SMALL_FILE_BYTES = 64 * KIB;
const PAGE_ROWS = 50;
const SENDERS = 4;
const MESSAGES_BEFORE_KILL = 100;
const MESSAGES_MIN = 20;
const BUSY_CONNECTIONS = 8;
const BUSY_REQUESTS = 3_000;
/** What the others of eight may be given meanwhile; a starved connection waited until they had had enough. */
const OVERTAKEN_MAX = 600;
const END_LIMIT_MS = 20_000;
const LOOK_AGAIN_MS = 50;

type Place = { dataDir: string; port: number };

async function aPlace(): Promise<Place> {
  const dataDir = mkdtempSync(join(tmpdir(), "posthouse-e2e-"));
  chmodSync(dataDir, 0o755); // Postgres may run as another user than the test
  onTestFinished(async () => {
    const orphans = runningProcesses().filter(({ command }) => command.some((word) => word.startsWith(dataDir)));
    for (const { pid } of orphans) kill(pid, "SIGKILL");
    await allGone(orphans.map(({ pid }) => pid));
    rmSync(dataDir, { recursive: true, force: true });
  });
  return { dataDir, port: await claimPort(0) };
}

/** `npm start`, as the README says. Whatever becomes of the test, nothing of it stays behind. */
function start(place: Place, environment: Record<string, string> = {}): SpawnedPlatform {
  const platform = spawnPlatform({ command: ["npm", "start"], ...place, environment });
  onTestFinished(async () => {
    const family = familyOf(platform);
    for (const pid of family) kill(pid, "SIGKILL");
    await allGone(family);
  });
  return platform;
}

function familyOf(platform: SpawnedPlatform): number[] {
  return [platform.pid, ...descendantsOf(platform.pid).map(({ pid }) => pid)];
}

/** The process of this platform whose command line has the word. */
function processWith(platform: SpawnedPlatform, word: string): number {
  const found = descendantsOf(platform.pid).find(({ command }) => command.some((part) => part.endsWith(word)));
  if (!found) throw new Error(`no process with ${word}`);
  return found.pid;
}

function kill(pid: number, signal: NodeJS.Signals): void {
  if (isRunning(Math.abs(pid))) process.kill(pid, signal);
}

async function allGone(pids: readonly number[]): Promise<void> {
  const deadline = Date.now() + END_LIMIT_MS;
  while (pids.some(isRunning)) {
    if (Date.now() > deadline) throw new Error(`still running: ${pids.filter(isRunning).join(", ")}`);
    await sleep(LOOK_AGAIN_MS);
  }
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** The whole inbox, page by page, as a client with a cursor reads it. */
async function inboxOf(wire: Wire, agent: Agent): Promise<Row[]> {
  const newestFirst = await wire.poll(agent, { since_secs: "3600", limit: "500" });
  const [first] = newestFirst.reverse();
  const rows = first ? [first] : [];
  for (;;) {
    const cursor = rows.at(-1);
    if (!cursor) return rows;
    const page = await wire.poll(agent, { since_id: cursor.id, limit: String(PAGE_ROWS) });
    if (page.length === 0) return rows;
    rows.push(...page);
  }
}

/** Sends until the platform is gone, and keeps what was acknowledged. */
async function sendUntilGone(send: (index: number) => Promise<void>): Promise<void> {
  for (let index = 0; ; index++) {
    try {
      await send(index);
    } catch (error) {
      if (error instanceof UnexpectedAnswer) throw error;
      return; // the connection broke: nothing was promised
    }
  }
}

describe("npm start", () => {
  it("brings a message and files to a polling agent, and keeps them over a restart and a kill", async () => {
    const place = await aPlace();
    let platform = start(place);
    let wire = new Wire(await platform.ready);
    const agent = await wire.createAgent("traveller");
    expect(await wire.register(agent)).toMatchObject({ status: "registered", delivery_mode: "poll" });
    expect(await wire.heartbeat(agent)).toMatchObject({ status: "ok" });
    expect(await wire.sendMessage(agent.id, "before")).toMatchObject({ status: "queued", delivery_mode: "poll" });

    const large = randomBytes(LARGE_FILE_BYTES);
    const tricky = Buffer.from(
      "\r\n------formdata-undici-0\r\nContent-Disposition: form-data\r\n\r\n--\r\n".repeat(500),
    );
    const files = await wire.upload(agent.id, [new File([large], "large.bin"), new File([tricky], "tricky.txt")]);
    const [largeId = "", trickyId = ""] = files.map(({ uri }) => fileIdOf(uri));
    expect(digestOf(await wire.fetchFile(agent, trickyId))).toBe(digestOf(tricky));
    expect(await wire.ackFile(agent, trickyId)).toEqual({ acked: true });

    const family = familyOf(platform);
    kill(platform.pid, "SIGTERM");
    await allGone(family);
    platform = start(place);
    wire = new Wire(await platform.ready);

    const rows = await inboxOf(wire, agent);
    expect(rows.map(({ method }) => method)).toEqual(["message/send", "chat_upload_receive", "chat_upload_receive"]);
    expect(rows.slice(0, 1).map(textOf)).toEqual(["before"]);
    expect(digestOf(await wire.fetchFile(agent, largeId))).toBe(digestOf(large));
    await expect(wire.fetchFile(agent, trickyId)).rejects.toMatchObject({ status: 404 });

    const orphans = descendantsOf(platform.pid).map(({ pid }) => pid);
    kill(processWith(platform, "start.ts"), "SIGKILL");
    await platform.exited.catch(() => null);
    platform = start(place);
    wire = new Wire(await platform.ready);
    await allGone(orphans);

    expect(digestOf(await wire.fetchFile(agent, largeId))).toBe(digestOf(large));
    expect(await wire.ackFile(agent, largeId)).toEqual({ acked: true });
    expect(await wire.notify(agent, "got both")).toEqual({ status: "sent" });
    expect((await inboxOf(wire, agent)).map(({ method }) => method)).toEqual([
      ...rows.map(({ method }) => method),
      "notify",
    ]);
  });

  it("has every acknowledged message and file after everything was killed in the middle of the traffic", async () => {
    const place = await aPlace();
    let platform = start(place);
    let wire = new Wire(await platform.ready);
    const agent = await wire.createAgent("survivor");
    const messages: string[] = [];
    const files = new Map<string, string>();
    const enough = Promise.withResolvers<void>();

    const traffic = [
      ...Array.from({ length: SENDERS }, (_, sender) =>
        sendUntilGone(async (index) => {
          const text = `${sender}/${index}`;
          await wire.sendMessage(agent.id, text);
          if (messages.push(text) === MESSAGES_BEFORE_KILL) enough.resolve();
        }),
      ),
      sendUntilGone(async (index) => {
        const bytes = randomBytes(SMALL_FILE_BYTES);
        const [file] = await wire.upload(agent.id, [new File([bytes], `${index}.bin`)]);
        files.set(fileIdOf(file?.uri ?? ""), digestOf(bytes));
      }),
    ];
    await Promise.race([enough.promise, ...traffic]);
    const family = familyOf(platform);
    for (const pid of family) kill(pid, "SIGKILL");
    await Promise.all(traffic);
    await allGone(family);
    platform = start(place);
    wire = new Wire(await platform.ready);

    const rows = await inboxOf(wire, agent);
    const texts = rows.filter(({ method }) => method === "message/send").map(textOf);
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts).toEqual(expect.arrayContaining(messages));
    for (let sender = 0; sender < SENDERS; sender++) {
      const own = texts.filter((text) => text.startsWith(`${sender}/`));
      expect(own).toEqual(own.map((_, index) => `${sender}/${index}`));
    }
    expect(files.size).toBeGreaterThan(0);
    for (const [fileId, digest] of files) expect(digestOf(await wire.fetchFile(agent, fileId))).toBe(digest);
  });

  it("shows a message and a file to whoever pastes the lines that it prints", async () => {
    const platform = start(await aPlace());
    await platform.ready;
    const lines = await printedLines(platform);
    const printed = execFileSync("sh", ["-c", lines], { encoding: "utf8" });
    expect(printed).toMatch(/^agent [0-9a-f-]{36}\n/);
    expect(printed).toContain('"delivery_mode":"poll"');
    expect(printed.trimEnd().split("\n").slice(2)).toEqual([expect.stringContaining('"text":"hello"'), "a parcel"]);
  });

  it("announces open dev mode loudly, and keeps strangers out once ADMIN_TOKEN is set", async () => {
    const place = await aPlace();
    const open = start(place);
    await open.ready;
    await printedLines(open);
    expect(open.output()).toContain("OPEN DEV MODE");
    kill(-open.pid, "SIGINT");
    await open.exited;

    const closed = start(place, { ADMIN_TOKEN: "correct horse" });
    const url = await closed.ready;
    const lines = await printedLines(closed);
    expect(closed.output()).not.toContain("OPEN DEV MODE");
    expect(closed.output()).not.toContain("correct horse");
    await expect(new Wire(url).createAgent("stranger")).rejects.toMatchObject({ status: 401 });
    const environment = { ...process.env, ADMIN_TOKEN: "correct horse" };
    expect(execFileSync("sh", ["-c", lines], { encoding: "utf8", env: environment })).toContain('"text":"hello"');
  });

  it("knows who is signed in at a control plane on this machine, and passes its pages on", async () => {
    let looks = 0;
    const upstream = createHttpServer(({ url, headers }, response) => {
      if (url?.startsWith("/cp/auth/tenant-member")) looks++;
      const isMember = url === "/cp/auth/tenant-member?slug=acme" && headers.cookie === "session=ada";
      response.end(JSON.stringify({ url, member: isMember, user_id: "user_ada" }));
    }).listen(0, "127.0.0.1");
    onTestFinished(() => void upstream.close());
    await once(upstream, "listening");
    const { port } = upstream.address() as AddressInfo;
    const canvas = { CORS_ORIGINS: "http://localhost:3000", MOLECULE_ORG_SLUG: "acme" };
    const variables = { CP_UPSTREAM_URL: `http://localhost:${port}`, ...canvas };
    const url = await start(await aPlace(), { ADMIN_TOKEN: "correct horse", ...variables }).ready;
    expect(await (await fetch(`${url}/cp/auth/me`)).json()).toMatchObject({ url: "/cp/auth/me" });
    const list = async (cookie: string) => {
      const headers = { Origin: "http://localhost:3000", Cookie: cookie };
      return (await fetch(`${url}/workspaces`, { headers })).status;
    };
    const all = await Promise.all(Array.from({ length: BUSY_CONNECTIONS }, () => list("session=ada")));
    expect(all).toEqual(all.map(() => 200));
    expect(looks).toBe(1);
    expect(await list("session=eve")).toBe(401);
  });

  it("keeps its keys and its state to itself", async () => {
    const place = await aPlace();
    await start(place).ready;
    expect(statSync(join(place.dataDir, "keys.json")).mode & 0o777).toBe(0o600);
    expect(statSync(join(place.dataDir, "state")).mode & 0o777).toBe(0o700);
  });

  it("leaves no process behind after Ctrl-C, and does not call that a crash", async () => {
    const platform = start(await aPlace());
    await platform.ready;
    const family = familyOf(platform);
    expect(family.length).toBeGreaterThan(3);
    kill(-platform.pid, "SIGINT");
    await platform.exited;
    await allGone(family);
    expect(platform.output()).not.toContain("unexpectedly");
  });

  it("refuses a data directory that another start uses, by one line, and does it no harm", async () => {
    const place = await aPlace();
    const first = start(place);
    const url = await first.ready;
    const second = start({ ...place, port: await claimPort(0) });
    expect(await second.exited).toBe(1);
    expect(linesOf(second)).toEqual([expect.stringContaining(`${place.dataDir} is in use by another start`)]);
    expect((await fetch(`${url}/health`)).status).toBe(200);
  });

  it("says in one line that its port is in use", async () => {
    const place = await aPlace();
    const other = createServer().listen(place.port, "127.0.0.1");
    onTestFinished(() => void other.close());
    const platform = start(place);
    expect(await platform.exited).toBe(1);
    expect(linesOf(platform)).toEqual([expect.stringContaining(`Port ${place.port} is in use`)]);
  });

  it("keeps its ledgers in the Postgres that DATABASE_URL names", async () => {
    const place = await aPlace();
    const server = await startPostgres({ dataDir: join(place.dataDir, "theirs"), port: 0, durable: false });
    onTestFinished(() => server.stop());
    const platform = start(place, { DATABASE_URL: server.url });
    const wire = new Wire(await platform.ready);
    const { id } = await wire.createAgent("bookkeeper");
    await wire.sendMessage(id, "for the books");

    expect(await ledgerRowsOf(server.url, id)).toEqual([
      expect.objectContaining({ activity_type: "a2a_receive", method: "message/send" }),
    ]);
    expect(readdirSync(place.dataDir)).not.toContain("postgres");
  });

  it("starts without the database of DATABASE_URL, and brings its ledgers up to date once it is there", async () => {
    const place = await aPlace();
    const cluster = { dataDir: join(place.dataDir, "theirs"), port: 0, durable: false };
    const away = await startPostgres(cluster);
    await away.stop();
    const url = new URL(away.url);
    url.password = "secret";
    const platform = start(place, { DATABASE_URL: url.href });
    const wire = new Wire(await platform.ready);
    expect(linesOf(platform)[0]).toContain(`127.0.0.1:${away.port} is away (connect ECONNREFUSED`);
    const agent = await wire.createAgent("bookkeeper");
    await wire.sendMessage(agent.id, "for the books");
    expect((await inboxOf(wire, agent)).map(textOf)).toEqual(["for the books"]);

    const server = await startPostgres({ ...cluster, port: away.port });
    onTestFinished(() => server.stop());
    await until(() => platform.output().includes("is there, and migrated."));
    expect(await ledgerRowsOf(server.url, agent.id)).toEqual([expect.objectContaining({ method: "message/send" })]);
    expect(platform.output()).not.toContain("secret");
  });

  it("says in one line that the database of DATABASE_URL refuses", async () => {
    const place = await aPlace();
    const server = await startPostgres({ dataDir: join(place.dataDir, "theirs"), port: 0, durable: false });
    onTestFinished(() => server.stop());
    const platform = start(place, { DATABASE_URL: server.url.replace(/postgres$/, "nothing") });
    expect(await platform.exited).toBe(1);
    expect(linesOf(platform)).toEqual([
      `The database at 127.0.0.1:${server.port} cannot be used: database "nothing" does not exist`,
    ]);
  });

  it("takes and hands out messages while Postgres is away, and has each in the ledger once afterwards", async () => {
    const place = await aPlace();
    const platform = start(place);
    const wire = new Wire(await platform.ready);
    let sentCount = 0;
    const isBack = () => platform.output().includes("Postgres is back.");
    const converse = async () => {
      const agent = await wire.createAgent("correspondent");
      const rows: Row[] = [];
      while (rows.length < MESSAGES_MIN || !isBack()) {
        await wire.sendMessage(agent.id, `${rows.length}`);
        sentCount++;
        const cursor = rows.at(-1);
        rows.push(...(await wire.poll(agent, cursor ? { since_id: cursor.id } : { since_secs: "3600" })));
      }
      expect(rows.map(textOf)).toEqual(rows.map((_, index) => `${index}`));
      return { agent, ids: rows.map(({ id }) => id) };
    };
    const conversations = Array.from({ length: SENDERS }, converse);
    await until(() => sentCount > SENDERS);
    kill(processWith(platform, "/bin/postgres"), "SIGKILL");
    await until(() => platform.output().includes("Postgres ended unexpectedly"));
    const countWhenAway = sentCount;

    for (const { agent, ids } of await Promise.all(conversations)) {
      const rows = await ledgerRowsOf(embeddedUrl(place), agent.id, ids.length);
      expect(rows.map(({ id }) => id)).toEqual(ids);
    }
    expect(sentCount).toBeGreaterThan(countWhenAway);
  });

  it("ends altogether at Ctrl-C, also while Postgres is started again", async () => {
    const platform = start(await aPlace());
    await platform.ready;
    kill(processWith(platform, "/bin/postgres"), "SIGKILL");
    await until(() => platform.output().includes("Postgres ended unexpectedly"));
    const family = familyOf(platform);
    kill(-platform.pid, "SIGINT");
    await platform.exited;
    await allGone(family);
    expect(platform.output()).not.toContain("Posthouse stops");
  });

  it("answers no connection long after the others that keep it busy", async () => {
    const place = await aPlace();
    const wire = new Wire(await start(place).ready);
    const [caller, target] = [await wire.createAgent("caller"), await wire.createAgent("target")];
    const headers = { Authorization: `Bearer ${caller.token}`, "Content-Type": "application/json" };
    const path = `/workspaces/${caller.id}/delegate`;
    let answered = 0;
    let overtakenMost = 0;
    const send = async (connection: number) => {
      const line = await Connection.open(place.port);
      while (answered < BUSY_REQUESTS) {
        const before = answered;
        const body = Buffer.from(JSON.stringify({ target_id: target.id, task: `${connection} after ${before}` }));
        expect((await line.exchange(encode({ method: "POST", path, headers, body }))).status).toBe(202);
        overtakenMost = Math.max(overtakenMost, answered - before);
        answered += 1;
      }
      line.close();
    };
    await Promise.all(Array.from({ length: BUSY_CONNECTIONS }, (_, connection) => send(connection)));
    expect(overtakenMost).toBeLessThan(OVERTAKEN_MAX);
  });

  it("reports that the Worker runtime crashed, and ends with an error and nothing left", async () => {
    const platform = start(await aPlace());
    await platform.ready;
    const family = familyOf(platform);
    kill(processWith(platform, "/run/workerd"), "SIGKILL");
    expect(await platform.exited).not.toBe(0);
    expect(platform.output()).toContain("the Worker runtime ended unexpectedly");
    await allGone(family);
  });
});

async function until(isReached: () => boolean): Promise<void> {
  const deadline = Date.now() + END_LIMIT_MS;
  while (!isReached()) {
    if (Date.now() > deadline) throw new Error(`not in time: ${isReached}`);
    await sleep(LOOK_AGAIN_MS);
  }
}

/** Postgres writes its port into the fourth line. */
function embeddedUrl({ dataDir }: Place): string {
  const port = readFileSync(join(dataDir, "postgres", "postmaster.pid"), "utf8").split("\n")[3];
  return `postgresql://postgres@127.0.0.1:${port}/postgres`;
}

/** What our own program printed, without npm's words around it. */
function linesOf(platform: SpawnedPlatform): string[] {
  const lines = platform.output().split("\n");
  return lines.filter((line) => line !== "" && !line.startsWith("> ") && !line.startsWith("npm "));
}

/** The activity of a workspace in the ledger, once there is so much of it: it follows shortly after the answer. */
async function ledgerRowsOf(databaseUrl: string, workspaceId: string, countMin = 1): Promise<Row[]> {
  const database = new pg.Client({ connectionString: databaseUrl });
  await database.connect();
  onTestFinished(() => database.end());
  const query = "SELECT * FROM activity_logs WHERE workspace_id = $1 ORDER BY seq";
  const deadline = Date.now() + END_LIMIT_MS;
  for (;;) {
    const { rows } = await database.query(query, [workspaceId]);
    if (rows.length >= countMin || Date.now() > deadline) return rows;
    await sleep(LOOK_AGAIN_MS);
  }
}

/** The lines to paste; they come right after the line that says ready. */
async function printedLines(platform: SpawnedPlatform): Promise<string> {
  const deadline = Date.now() + END_LIMIT_MS;
  for (;;) {
    const lines = linesOf(platform).filter((line) => /^(AGENT=|FILE=|curl )/.test(line));
    if (lines.length === 5) return lines.join("\n");
    if (Date.now() > deadline) throw new Error(platform.output());
    await sleep(LOOK_AGAIN_MS);
  }
}
