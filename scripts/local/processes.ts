import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const END_LIMIT_MS = 10_000;
const LOOK_AGAIN_MS = 50;

export type RunningProcess = { pid: number; parent: number; command: readonly string[] };

/** Every process that this user can see, with its command line. */
export function runningProcesses(): RunningProcess[] {
  return existsSync("/proc/self/cmdline") ? fromProc() : process.platform === "win32" ? [] : fromPs();
}

function fromProc(): RunningProcess[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      const command = readProc(pid, "cmdline").split("\0").slice(0, -1);
      // The name in parentheses may hold blanks; after it come the state and the parent.
      const [, parent] = readProc(pid, "stat").split(") ").at(-1)?.split(" ") ?? [];
      return command.length > 0 ? [{ pid: Number(pid), parent: Number(parent), command }] : [];
    });
}

function readProc(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return ""; // it ended while we looked
  }
}

function fromPs(): RunningProcess[] {
  const lines = execFileSync("ps", ["-A", "-ww", "-o", "pid=,ppid=,args="], { encoding: "utf8" }).trim().split("\n");
  return lines.map((line) => {
    const [pid, parent, ...command] = line.trim().split(/\s+/);
    return { pid: Number(pid), parent: Number(parent), command };
  });
}

/** The processes that descend from one, without itself. */
export function descendantsOf(pid: number): RunningProcess[] {
  const all = runningProcesses();
  const family = new Set([pid]);
  for (let size = 0; size < family.size; ) {
    size = family.size;
    for (const { pid: child, parent } of all) if (family.has(parent)) family.add(child);
  }
  return all.filter((candidate) => candidate.pid !== pid && family.has(candidate.pid));
}

/** Asks a process to end, and makes it end when it does not. */
export async function endProcess(pid: number, signal: NodeJS.Signals): Promise<void> {
  send(pid, signal);
  const deadline = Date.now() + END_LIMIT_MS;
  while (isRunning(pid) && Date.now() < deadline) await sleep(LOOK_AGAIN_MS);
  if (!isRunning(pid)) return;
  send(pid, "SIGKILL");
  while (isRunning(pid)) await sleep(LOOK_AGAIN_MS);
}

/** One that ended but was not yet collected by its parent has no command line, and counts as gone. */
export function isRunning(pid: number): boolean {
  return runningProcesses().some((running) => running.pid === pid);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    const isGone = error instanceof Error && "code" in error && error.code === "ESRCH";
    if (!isGone) throw error;
  }
}

/** Memory that a process holds now; 0 where it cannot be told. */
export function residentBytes(pid: number): number {
  const status = readProc(String(pid), "status");
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}
