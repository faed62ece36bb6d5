/** One start of a machine. It is kept until the backend has confirmed that the machine is gone. Times in ms since 1970. */
export interface Machine {
  /** Number of the start; a later one is higher. */
  readonly start: number;
  /** Number of the wish that it serves. */
  readonly wish: number;
  /** `unknown`: the start may have taken effect or not. */
  readonly state: "starting" | "running" | "unknown";
  /** Null while nobody knows it; then it is stopped by the workspace's id. */
  readonly instanceId: string | null;
  readonly stopping: boolean;
  readonly stopFailures: number;
  /** When its stop is tried again. */
  readonly nextAt: number;
}

/** What is wanted of a workspace's machine. A later wish replaces the one before, however many came between. */
export interface Wish {
  readonly number: number;
  readonly machine: "running" | "stopped";
  /** A running one has its verdict: a machine, or a failure. */
  readonly served: boolean;
}

export interface Lifecycle {
  readonly wish: Wish;
  readonly machines: readonly Machine[];
}

/** What is to be done next; `until` null: nothing before something happens. */
export type Step =
  | { readonly kind: "wait"; readonly until: number | null }
  | { readonly kind: "start" }
  | { readonly kind: "stop"; readonly machine: Machine };

/** How a call to start ended, as the law sees it. */
export type StartEnd =
  | { readonly kind: "started"; readonly instanceId: string }
  | { readonly kind: "refused" }
  | { readonly kind: "unknown" };

/** `verdict` null: the start served a wish that nobody has any more. */
export interface AfterStart {
  readonly lifecycle: Lifecycle;
  readonly verdict: "started" | "failed" | null;
}

const STOP_AGAIN_MIN_MS = 30_000;
const STOP_AGAIN_MAX_MS = 10 * 60_000;

/**
 * One operation at a time. What no wish keeps is stopped first; a machine that could not be stopped does not hold up
 * the next start, because its own stop goes on until it is confirmed.
 */
export function nextStep({ wish, machines }: Lifecycle, now: number): Step {
  if (machines.some((machine) => machine.stopping || machine.state === "starting"))
    return { kind: "wait", until: null };
  const stale = machines.filter((machine) => isLeaving(machine, wish));
  const due = stale.find(({ nextAt }) => nextAt <= now);
  if (due) return { kind: "stop", machine: due };
  if (wish.machine === "running" && !wish.served) return { kind: "start" };
  return { kind: "wait", until: stale.length === 0 ? null : Math.min(...stale.map(({ nextAt }) => nextAt)) };
}

/** The machine that begins to start for a wish. */
export function begin(wish: Wish, start: number): Machine {
  return {
    start,
    wish: wish.number,
    state: "starting",
    instanceId: null,
    stopping: false,
    stopFailures: 0,
    nextAt: 0,
  };
}

/** What became of a start. An unknown one counts as failed, and its machine, if there is one, is stopped. */
export function afterStart({ wish, machines }: Lifecycle, start: number, end: StartEnd): AfterStart {
  const machine = machines.find((candidate) => candidate.start === start);
  if (machine?.state !== "starting") return { lifecycle: { wish, machines }, verdict: null };
  const others = machines.filter((candidate) => candidate !== machine);
  const kept = end.kind === "refused" ? others : [...others, { ...machine, ...stateOf(end) }];
  const isWanted = machine.wish === wish.number && wish.machine === "running";
  return {
    lifecycle: { wish: isWanted ? { ...wish, served: true } : wish, machines: kept },
    verdict: isWanted ? (end.kind === "started" ? "started" : "failed") : null,
  };
}

/** What became of a stop: the machine is gone, or its stop is tried again later. */
export function afterStop({ wish, machines }: Lifecycle, start: number, stopped: boolean, now: number): Lifecycle {
  return {
    wish,
    machines: machines.flatMap((machine) => {
      if (machine.start !== start || !machine.stopping) return [machine];
      if (stopped) return [];
      const wait = Math.min(STOP_AGAIN_MIN_MS * 2 ** machine.stopFailures, STOP_AGAIN_MAX_MS);
      return [{ ...machine, stopping: false, stopFailures: machine.stopFailures + 1, nextAt: now + wait }];
    }),
  };
}

/** A new wish; whatever waited for the one before waits no longer. */
export function wished({ wish, machines }: Lifecycle, machine: Wish["machine"]): Lifecycle {
  return { wish: { number: wish.number + 1, machine, served: machine === "stopped" }, machines };
}

/** Machines that are on their way out. */
export function stopsPending({ wish, machines }: Lifecycle): number {
  return machines.filter((machine) => isLeaving(machine, wish)).length;
}

/** Whether time or a report has something to bring about yet. */
export function isUnsettled({ wish, machines }: Lifecycle): boolean {
  return !wish.served || machines.some((machine) => machine.state === "starting" || isLeaving(machine, wish));
}

/** The machine that serves the wish, once it runs; null while there is none. */
export function servingMachine<Known extends Machine>(lifecycle: {
  readonly wish: Wish;
  readonly machines: readonly Known[];
}): Known | null {
  const { wish, machines } = lifecycle;
  if (wish.machine !== "running") return null;
  return machines.find((known) => known.wish === wish.number && known.state === "running" && !known.stopping) ?? null;
}

const HOUR_MS = 60 * 60_000;

/**
 * When machines of a workspace were started anew because they had stopped by themselves, one more included; null when
 * that has happened too often within an hour. Times in ms since 1970.
 */
export function oneMoreRestart(earlier: readonly number[], perHour: number, now: number): readonly number[] | null {
  const recent = earlier.filter((at) => at > now - HOUR_MS);
  return recent.length < perHour ? [...recent, now] : null;
}

/** What people read of a machine that is not started anew any more. */
export function diedText(perHour: number): string {
  return perHour === 0
    ? "the machine stopped by itself — see its log, then restart the workspace"
    : `the machine stopped by itself more than ${perHour} times within an hour — see its log, then restart the workspace`;
}

/** Whether no wish keeps a machine: it is stopped, or on its way there. */
export function isLeaving(machine: Machine, wish: Wish): boolean {
  return wish.machine === "stopped" || machine.wish !== wish.number || machine.state === "unknown";
}

function stateOf(end: StartEnd): Pick<Machine, "state" | "instanceId"> {
  return end.kind === "started"
    ? { state: "running", instanceId: end.instanceId }
    : { state: "unknown", instanceId: null };
}

/** How far a provisioning got that takes too long; its text says where to look. */
export type Stage = "waiting" | "starting" | "started";

const TIMED_OUT: Record<Stage, string> = {
  waiting:
    "provisioning timed out — the machine before this one could not be stopped, so no new one was started. Check the provisioning backend.",
  starting:
    "provisioning timed out — the provisioning backend did not finish starting the machine. Check the provisioning backend.",
  started:
    "provisioning timed out — container started but never called /registry/register. Check container logs and network connectivity to the platform.",
};

export function timeOutText(stage: Stage): string {
  return TIMED_OUT[stage];
}

export function stageOf({ wish, machines }: Lifecycle): Stage {
  const current = machines.find((machine) => machine.wish === wish.number);
  if (!current) return "waiting";
  return current.state === "running" ? "started" : "starting";
}

const LOG_TAIL_BYTES = 8_192;

/** What a failed bootstrap leaves to be read: its error and the end of its log, cut between characters. */
export function bootstrapFailure(error: string, logTail: string): { error: string; logTail: string; text: string } {
  const said = error.trim() === "" ? "bootstrap failed — see log_tail" : error.trim();
  const tail = lastBytes(logTail, LOG_TAIL_BYTES);
  const text = tail === "" ? said : `${said}\n\n${tail}`;
  return { error: said, logTail: tail, text: firstBytes(text, LOG_TAIL_BYTES) };
}

function lastBytes(text: string, max: number): string {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= max) return text;
  let from = bytes.length - max;
  while (isContinuation(bytes[from])) from += 1;
  return `...(truncated)...\n${new TextDecoder().decode(bytes.subarray(from))}`;
}

function firstBytes(text: string, max: number): string {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length <= max) return text;
  let end = max;
  while (isContinuation(bytes[end])) end -= 1;
  return new TextDecoder().decode(bytes.subarray(0, end));
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80;
}
