import {
  ConsoleFailure,
  type MachineRef,
  type Provisioner,
  type Running,
  type StartOrder,
  type StartOutcome,
  type StopOutcome,
} from "./provisioner.ts";

type Verb = "start" | "stop" | "isRunning" | "console" | "cleanUp";

/**
 * What goes wrong with one call: the backend refuses; the call is lost and nothing was done; it was done and the answer
 * is lost.
 */
export type Mishap = "refuse" | "lose_call" | "lose_answer";

export interface RecordedCall {
  readonly verb: Verb;
  readonly workspaceId: string;
  /** Of a stop or a look. */
  readonly instanceId?: string | null;
  /** Of a start. */
  readonly order?: StartOrder;
}

/** The machines of one name, kept as long as the isolate lives, with a script of mishaps and a record of all calls. */
export class InMemoryMachines {
  readonly calls: RecordedCall[] = [];
  readonly #workspaceOf = new Map<string, string>();
  readonly #scripts = new Map<string, Mishap[]>();

  /** Lets the next calls of this kind for a workspace go wrong, one after another. */
  play(workspaceId: string, verb: Verb, ...mishaps: Mishap[]): void {
    const key = `${workspaceId} ${verb}`;
    this.#scripts.set(key, [...(this.#scripts.get(key) ?? []), ...mishaps]);
  }

  callsFor(workspaceId: string): RecordedCall[] {
    return this.calls.filter((call) => call.workspaceId === workspaceId);
  }

  /** The machines that run for a workspace: more than one is a leak. */
  runningFor(workspaceId: string): string[] {
    return [...this.#workspaceOf].filter(([, owner]) => owner === workspaceId).map(([instanceId]) => instanceId);
  }

  record(call: RecordedCall): Mishap | null {
    this.calls.push(call);
    return this.#scripts.get(`${call.workspaceId} ${call.verb}`)?.shift() ?? null;
  }

  add(workspaceId: string): string {
    const instanceId = `machine-${crypto.randomUUID()}`;
    this.#workspaceOf.set(instanceId, workspaceId);
    return instanceId;
  }

  remove({ workspaceId, instanceId }: MachineRef): void {
    for (const id of instanceId === null ? this.runningFor(workspaceId) : [instanceId]) this.#workspaceOf.delete(id);
  }

  isRunning({ workspaceId, instanceId }: MachineRef): boolean {
    const running = this.runningFor(workspaceId);
    return instanceId === null ? running.length > 0 : running.includes(instanceId);
  }
}

const named = new Map<string, InMemoryMachines>();

export function inMemoryMachines(name = "default"): InMemoryMachines {
  const machines = named.get(name) ?? new InMemoryMachines();
  named.set(name, machines);
  return machines;
}

/** For tests: starts nothing, remembers everything, and fails when it is told to. */
export class InMemoryProvisioner implements Provisioner {
  readonly name = "in_memory";
  readonly #machines: InMemoryMachines;

  constructor(machines = inMemoryMachines()) {
    this.#machines = machines;
  }

  async start(order: StartOrder): Promise<StartOutcome> {
    const { workspaceId } = order;
    const mishap = this.#machines.record({ verb: "start", workspaceId, order });
    if (mishap === "refuse") return { kind: "refused", reason: "refused by the script" };
    if (mishap === "lose_call") return { kind: "unknown", reason: "the call was lost" };
    const instanceId = this.#machines.add(workspaceId);
    if (mishap === "lose_answer") return { kind: "unknown", reason: "the answer was lost" };
    return { kind: "started", instanceId, url: null };
  }

  async stop(machine: MachineRef): Promise<StopOutcome> {
    const mishap = this.#machines.record({ verb: "stop", ...machine });
    if (mishap === null || mishap === "lose_answer") this.#machines.remove(machine);
    return mishap === null ? { kind: "stopped" } : { kind: "failed", reason: mishap };
  }

  async isRunning(machine: MachineRef): Promise<Running> {
    const mishap = this.#machines.record({ verb: "isRunning", ...machine });
    if (mishap !== null) return { kind: "unknown", reason: mishap };
    return { kind: this.#machines.isRunning(machine) ? "running" : "not_running" };
  }

  async console(workspaceId: string): Promise<string> {
    const mishap = this.#machines.record({ verb: "console", workspaceId });
    if (mishap !== null) throw new ConsoleFailure(mishap);
    return `console of ${workspaceId}`;
  }

  async cleanUp(workspaceId: string): Promise<StopOutcome> {
    const mishap = this.#machines.record({ verb: "cleanUp", workspaceId });
    return mishap === null ? { kind: "stopped" } : { kind: "failed", reason: mishap };
  }
}
