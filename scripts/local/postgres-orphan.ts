import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const OWNER_FILE = "posthouse-owner.pid";
const END_WAIT_MS = 10_000;
const END_POLL_MS = 50;

/**
 * Clears what a killed `npm start` left in `dataDir`: its server, which outlives it, or a pid file whose number now
 * belongs to somebody else. Then marks this process as the owner. Throws while another owner is alive.
 */
export async function endOrphan(dataDir: string, log: (line: string) => void): Promise<void> {
  const pidFile = path.join(dataDir, "postmaster.pid");
  const ownerFile = path.join(dataDir, OWNER_FILE);
  const server = readPid(pidFile);
  if (server !== null && isAlive(server)) {
    const owner = readPid(ownerFile);
    if (!servesDirectory(server, dataDir)) {
      fs.rmSync(pidFile, { force: true });
    } else if (owner !== null && owner !== process.pid && isAlive(owner)) {
      throw new Error(`${dataDir} is in use by process ${owner}; end it, or choose another DATA_DIR`);
    } else {
      log(`ending postgres ${server}, whose owner is gone`);
      await end(server);
    }
  }
  fs.writeFileSync(ownerFile, String(process.pid));
}

function readPid(file: string): number | null {
  if (!fs.existsSync(file)) return null;
  const pid = Number.parseInt(fs.readFileSync(file, "utf8"), 10);
  return Number.isNaN(pid) ? null : pid;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** True when the process is a Postgres on this very directory, not a stranger who got the number later. */
function servesDirectory(pid: number, dataDir: string): boolean {
  const command =
    process.platform === "linux"
      ? fs.readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ")
      : execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" });
  return command.includes("postgres") && command.includes(` ${dataDir} `);
}

async function end(pid: number): Promise<void> {
  process.kill(pid, "SIGINT");
  for (let waited = 0; waited < END_WAIT_MS; waited += END_POLL_MS) {
    if (!isAlive(pid)) return;
    await delay(END_POLL_MS);
  }
  throw new Error(`postgres ${pid} did not end within ${END_WAIT_MS} ms`);
}
