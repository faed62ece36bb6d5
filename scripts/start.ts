#!/usr/bin/env node
import { resolve } from "node:path";
import { type Platform, startPlatform } from "./local/platform.ts";
import { PROJECT_ROOT } from "./local/project.ts";
import { StartProblem } from "./local/start-problem.ts";
import { welcome } from "./local/welcome.ts";

const PORT_DEFAULT = 8787;
const PORT_MAX = 65_535;
const PARENT_LOOK_MS = 250;
/** Of Node, and of Miniflare when another program was faster. */
const PORT_TAKEN = new Set<unknown>(["EADDRINUSE", "ERR_ADDRESS_IN_USE"]);

const port = Number(process.env.PORT || PORT_DEFAULT);
if (!Number.isInteger(port) || port < 0 || port > PORT_MAX) fail(`PORT must be a number from 0 to ${PORT_MAX}.`);
const dataDir = resolve(PROJECT_ROOT, process.env.DATA_DIR || ".data");

let platform: Platform | null = null;
let isEndWanted = false;
process.on("SIGINT", wantEnd);
process.on("SIGTERM", wantEnd);
if (process.env.npm_lifecycle_event) watchParent();

try {
  platform = await startPlatform({ dataDir, port, environment: process.env, onCrash });
} catch (error) {
  if (isEndWanted) process.exit(0);
  fail(explain(error));
}
if (isEndWanted) await end(platform, 0);
console.log(welcome(platform));

function wantEnd(): void {
  isEndWanted = true;
  if (platform) void end(platform, 0);
}

/** The shell that npm puts between does not hand SIGTERM on: that it is gone is the only sign. */
function watchParent(): void {
  const parent = process.ppid;
  const look = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(look);
    wantEnd();
  }, PARENT_LOOK_MS).unref();
}

function onCrash(reason: string): void {
  console.error(`Posthouse stops: ${reason} unexpectedly. What was acknowledged is kept; start it again.`);
  if (platform) void end(platform, 1);
  else process.exit(1);
}

async function end(running: Platform, code: number): Promise<never> {
  await running.stop();
  process.exit(code);
}

function explain(error: unknown): string {
  if (error instanceof StartProblem) return error.message;
  if (error instanceof Error && "code" in error && PORT_TAKEN.has(error.code)) {
    return `Port ${port} is in use. Choose another one: PORT=${port + 1} npm start`;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
