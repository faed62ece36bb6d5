import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import type { RequestListener } from "node:http";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from "wrangler";
import { parseConfig, pushUrlPolicy } from "../../src/config.ts";
import { tellsMachineUrls } from "../../src/provisioners/backend.ts";
import { tickCrons } from "./cron.ts";
import { LogRelay } from "./log-relay.ts";
import { OUTBOUND_WORKER, operatorsNetwork, outboundWorker } from "./outbound.ts";
import { endProcess, runningProcesses } from "./processes.ts";
import { WRANGLER_CONFIG } from "./project.ts";
import type { Variables } from "./variables.ts";

const HOST = "127.0.0.1";

export type RuntimeOptions = {
  dataDir: string;
  bundle: string;
  port: number;
  variables: Variables;
  docker: RequestListener | null;
  onCrash: (reason: string) => void;
};

export type Runtime = { url: string; stop(): Promise<void> };

/** Runs the bundled Worker in workerd with what wrangler.toml says, its objects and blobs kept under `dataDir`. */
export async function startRuntime(options: RuntimeOptions): Promise<Runtime> {
  markWorkerd(options.dataDir);
  const miniflare = new Miniflare(miniflareOptions(options));
  try {
    await miniflare.ready;
    const stopTicking = tickCrons(unstable_readConfig({ config: WRANGLER_CONFIG }).triggers.crons ?? [], fire);
    return {
      url: `http://${HOST}:${options.port}`,
      async stop() {
        stopTicking();
        await miniflare.dispose();
      },
    };
  } catch (error) {
    await miniflare.dispose();
    throw error;
  }

  async function fire(cron: string, scheduledTime: Date): Promise<void> {
    try {
      const response = await miniflare.dispatchFetch(scheduledAt(cron, scheduledTime));
      if (!response.ok) throw new Error(await response.text());
    } catch (error) {
      console.error(`cron ${cron} failed: ${error instanceof Error ? error.message : error}`);
    }
  }
}

/**
 * Miniflare's own trigger. Its `getWorker()` would stop this thread until workerd answers, and workerd may be waiting
 * for this thread to read its log.
 */
function scheduledAt(cron: string, at: Date): string {
  const query = new URLSearchParams({ cron, time: String(at.getTime()) });
  return `http://${HOST}/cdn-cgi/handler/scheduled?${query}`;
}

function miniflareOptions({ dataDir, bundle, port, variables, docker, onCrash }: RuntimeOptions) {
  const { workerOptions, externalWorkers } = unstable_getMiniflareWorkerOptions(WRANGLER_CONFIG);
  const { vars } = unstable_readConfig({ config: WRANGLER_CONFIG });
  const config = parseConfig({ ...variables, ...(docker && { DOCKER: docker }) });
  const { allowPrivate } = pushUrlPolicy(config);
  const bundleDir = dirname(bundle);
  const worker = {
    ...workerOptions,
    name: "posthouse",
    // The bundle lies in the data directory, which need not be under the project.
    rootPath: bundleDir,
    modulesRoot: bundleDir,
    modules: [{ type: "ESModule" as const, path: bundle }],
    // .dev.vars is for `wrangler dev`: it must not change what was announced at this start.
    bindings: { ...vars, ...variables },
    // Straight to the Worker: Miniflare's own entrance in front of it costs more than half of the throughput.
    unsafeDirectSockets: [{ host: HOST, port }],
    serviceBindings: {
      ...(workerOptions.serviceBindings ?? {}),
      CONTROL_PLANE: operatorsNetwork(),
      ...(docker && { DOCKER: { node: docker } }),
    },
    outboundService: OUTBOUND_WORKER,
  };
  return convertV4MiniflareOptions({
    host: HOST,
    port: 0,
    cf: false,
    unsafeTriggerHandlers: true,
    telemetry: { enabled: false },
    log: new Log(LogLevel.ERROR),
    resourcePersistencePath: join(dataDir, "state"),
    handleStructuredLogs: relayLogs(),
    unsafeHandleRuntimeRestart: () => onCrash("the Worker runtime ended"),
    workers: [worker, outboundWorker(variables, allowPrivate, tellsMachineUrls(config)), ...externalWorkers],
  });
}

function relayLogs(): (log: { level: string; message: string }) => void {
  const output = new LogRelay(process.stdout);
  const errors = new LogRelay(process.stderr);
  return ({ level, message }) => {
    // The stack of workerd at an address that may not be called; the call's own event tells of it.
    if (/^e = kj\/.*blocked by restrictPeers\(\)/.test(message)) return;
    (level === "error" ? errors : output).write(message);
  };
}

function workerdMark(dataDir: string): string {
  return join(dataDir, "run", "workerd");
}

/** Lets workerd run under a path inside the data directory, so that its command line tells whose it is. */
function markWorkerd(dataDir: string): void {
  if (process.platform === "win32") return;
  const mark = workerdMark(dataDir);
  mkdirSync(dirname(mark), { recursive: true });
  rmSync(mark, { force: true });
  const { default: binary } = createRequire(import.meta.url)("workerd") as { default: string };
  symlinkSync(binary, mark);
  process.env.MINIFLARE_WORKERD_PATH = mark;
}

/** The workerd of this data directory, if one runs. */
export function workerdProcesses(dataDir: string): number[] {
  const mark = workerdMark(dataDir);
  return runningProcesses()
    .filter(({ command }) => command[0] === mark)
    .map(({ pid }) => pid);
}

/** A killed start leaves its workerd behind, which still holds the port and writes to the objects. */
export async function endOrphans(dataDir: string): Promise<void> {
  for (const pid of workerdProcesses(dataDir)) {
    console.log(`Ending workerd ${pid}, left by a start that was killed.`);
    await endProcess(pid, "SIGTERM");
  }
}
