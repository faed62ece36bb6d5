import * as z from "zod";
import type { DockerSettings } from "../config.ts";
import { imageOf } from "../domain/runtime.ts";
import { isWithin } from "../domain/workspace-creation.ts";
import { type Exchange, objectOf } from "../exchange.ts";
import {
  AGENT_PORT,
  CONFIG_FOLDER,
  containerName,
  containerOf,
  IMAGE_TAG,
  MANAGED_LABEL,
  NETWORK,
  usesHostNetwork,
  volumesOf,
  WORKSPACE_LABEL,
} from "./docker-container.ts";
import { type DockerEngine, problemOf } from "./docker-engine.ts";
import { secretsOf } from "./machine-env.ts";
import type { MachineRef, Provisioner, Running, StartOrder, StartOutcome, StopOutcome } from "./provisioner.ts";
import { reasonOf } from "./reason.ts";
import { tarOf } from "./tar.ts";

const READABLE_BY_ALL = 0o644;
const READABLE_BY_OWNER = 0o600;
const CONTAINER = z.object({
  Id: z.string().min(1),
  State: z.object({ Running: z.boolean() }),
  Config: z.object({ Labels: z.record(z.string(), z.string()).nullish() }),
  NetworkSettings: z
    .object({ Ports: z.record(z.string(), z.array(z.object({ HostPort: z.string() })).nullish()).nullish() })
    .nullish(),
});
const CREATED = z.object({ Id: z.string().min(1) });

type Container = z.output<typeof CONTAINER>;
type Found =
  | { readonly kind: "found"; readonly container: Container }
  | { readonly kind: "absent" }
  | { readonly kind: "failed"; readonly reason: string };
type Failure = Exclude<StartOutcome, { kind: "started" }>;

/** Machines as containers of a Docker engine. A workspace has at most one, under a name of its own. */
export class DockerProvisioner implements Provisioner {
  readonly name = "docker";
  readonly #settings: DockerSettings;
  readonly #engine: DockerEngine;

  constructor(settings: DockerSettings, engine: DockerEngine) {
    this.#settings = settings;
    this.#engine = engine;
  }

  async start(order: StartOrder): Promise<StartOutcome> {
    const outcome = await this.#start(order);
    return outcome.kind === "started" ? outcome : { ...outcome, reason: reasonOf(outcome.reason, secretsOf(order)) };
  }

  async stop(machine: MachineRef): Promise<StopOutcome> {
    const id = machine.instanceId ?? (await this.#idOf(machine.workspaceId));
    if (id === null) return { kind: "stopped" };
    if (typeof id !== "string") return id;
    return this.#remove(id);
  }

  async isRunning({ workspaceId, instanceId }: MachineRef): Promise<Running> {
    const found = instanceId === null ? await this.#own(workspaceId) : await this.#find(instanceId);
    if (found.kind === "failed") return { kind: "unknown", reason: found.reason };
    return { kind: found.kind === "found" && found.container.State.Running ? "running" : "not_running" };
  }

  async console(): Promise<null> {
    return null;
  }

  async cleanUp(workspaceId: string): Promise<StopOutcome> {
    const outcomes = await Promise.all(Object.values(volumesOf(workspaceId)).map((name) => this.#removeVolume(name)));
    return outcomes.find(({ kind }) => kind === "failed") ?? { kind: "stopped" };
  }

  async #start(order: StartOrder): Promise<StartOutcome> {
    if (order.hostDirectory && !isWithin(order.hostDirectory.path, this.#settings.hostRoots)) {
      return { kind: "refused", reason: "the workspace's directory is in none of WORKSPACE_DIR_ROOTS" };
    }
    const archive = archiveOf(order.files);
    if (archive === null) return { kind: "refused", reason: "a file's path cannot be written" };
    const obstacle = (await this.#prepareNetwork(order)) ?? (await this.#prepareSession(order));
    if (obstacle) return obstacle;
    const created = await this.#create(order);
    if (typeof created !== "string") return created;
    const failure = (await this.#fill(created, archive)) ?? (await this.#launch(created));
    return failure ?? { kind: "started", instanceId: created, url: await this.#urlOf(created) };
  }

  /** The id of a new container; pulls its image and makes room for its name where that is what it takes. */
  async #create(order: StartOrder): Promise<string | Failure> {
    const create = () =>
      this.#engine.createContainer(containerName(order.workspaceId), containerOf(order, this.#settings));
    let answer = await create();
    if (isAnswer(answer, 404)) {
      await this.#engine.pullImage(imageOf(order.runtime), IMAGE_TAG);
      answer = await create();
    }
    if (isAnswer(answer, 409)) {
      const obstacle = await this.#removeStale(order.workspaceId);
      if (obstacle) return obstacle;
      answer = await create();
    }
    if (answer.kind === "lost") return { kind: "unknown", reason: `create: ${answer.reason}` };
    const problem = problemOf("create", answer, [201]);
    if (problem !== null) return { kind: "refused", reason: problem };
    const created = CREATED.safeParse(objectOf(answer.text));
    return created.success ? created.data.Id : { kind: "unknown", reason: "create: Docker told no id" };
  }

  async #fill(id: string, archive: Uint8Array): Promise<Failure | null> {
    const problem = problemOf("write files", await this.#engine.putArchive(id, CONFIG_FOLDER, archive), [200]);
    return problem === null ? null : this.#abandon(id, problem);
  }

  async #launch(id: string): Promise<Failure | null> {
    const answer = await this.#engine.startContainer(id);
    const problem = problemOf("start", answer, [204, 304]);
    if (problem === null) return null;
    return answer.kind === "lost" ? { kind: "unknown", reason: problem } : this.#abandon(id, problem);
  }

  /** Nothing was started once the container is gone again. */
  async #abandon(id: string, reason: string): Promise<Failure> {
    const removed = removal("remove", await this.#engine.removeContainer(id));
    if (removed.kind === "stopped") return { kind: "refused", reason };
    return { kind: "unknown", reason: `${reason}; ${removed.reason}` };
  }

  /** What an earlier start left under the workspace's name goes; what is not ours stays, and is in the way. */
  async #removeStale(workspaceId: string): Promise<Failure | null> {
    const found = await this.#find(containerName(workspaceId));
    if (found.kind === "absent") return null;
    if (found.kind === "failed") return { kind: "unknown", reason: found.reason };
    if (!belongsTo(found.container, workspaceId)) {
      return { kind: "refused", reason: "the container's name is taken by one that is not ours" };
    }
    const removed = removal("remove stale", await this.#engine.removeContainer(found.container.Id));
    return removed.kind === "stopped" ? null : { kind: "unknown", reason: removed.reason };
  }

  async #prepareNetwork({ tier }: StartOrder): Promise<Failure | null> {
    if (usesHostNetwork(tier)) return null;
    const problem = problemOf("create network", await this.#engine.createNetwork(NETWORK), [201, 409]);
    return problem === null ? null : { kind: "refused", reason: problem };
  }

  async #prepareSession({ workspaceId, resetSession }: StartOrder): Promise<Failure | null> {
    if (!resetSession) return null;
    const obstacle = await this.#removeStale(workspaceId);
    if (obstacle) return obstacle;
    const removed = await this.#removeVolume(volumesOf(workspaceId).sessions);
    return removed.kind === "stopped" ? null : { kind: "refused", reason: removed.reason };
  }

  /** Where the agent can be called from this machine, if the engine runs on it. */
  async #urlOf(id: string): Promise<string | null> {
    if (!this.#settings.isLocal) return null;
    const found = await this.#find(id);
    const ports = found.kind === "found" ? found.container.NetworkSettings?.Ports : null;
    const port = ports?.[AGENT_PORT]?.[0]?.HostPort;
    return port ? `http://127.0.0.1:${port}` : null;
  }

  async #idOf(workspaceId: string): Promise<string | null | Extract<StopOutcome, { kind: "failed" }>> {
    const found = await this.#own(workspaceId);
    if (found.kind === "failed") return found;
    return found.kind === "found" ? found.container.Id : null;
  }

  /** The workspace's own container by its name; a stranger's of the same name counts as absent. */
  async #own(workspaceId: string): Promise<Found> {
    const found = await this.#find(containerName(workspaceId));
    return found.kind === "found" && !belongsTo(found.container, workspaceId) ? { kind: "absent" } : found;
  }

  async #find(idOrName: string): Promise<Found> {
    const answer = await this.#engine.inspectContainer(idOrName);
    if (answer.kind === "lost") return failed(`inspect: ${answer.reason}`);
    if (saysGone(answer)) return { kind: "absent" };
    const problem = problemOf("inspect", answer, [200]);
    if (problem !== null) return failed(problem);
    const container = CONTAINER.safeParse(objectOf(answer.text));
    return container.success ? { kind: "found", container: container.data } : failed("inspect: not readable");
  }

  /** A container that does not end by itself is killed, so only the removal counts. */
  async #remove(id: string): Promise<StopOutcome> {
    await this.#engine.stopContainer(id);
    return removal("remove", await this.#engine.removeContainer(id));
  }

  async #removeVolume(name: string): Promise<StopOutcome> {
    return removal(`remove volume ${name}`, await this.#engine.removeVolume(name));
  }
}

/** Containers of older platforms carry no workspace id: their name has to do. */
function belongsTo({ Config: { Labels } }: Container, workspaceId: string): boolean {
  return Labels?.[MANAGED_LABEL] === "true" && (Labels[WORKSPACE_LABEL] ?? workspaceId) === workspaceId;
}

/** Files that begin with a dot hold tokens. */
function archiveOf(files: StartOrder["files"]): Uint8Array | null {
  return tarOf(
    Object.entries(files).map(([path, text]) => ({
      path,
      text,
      mode: /(?:^|\/)\.[^/]*$/.test(path) ? READABLE_BY_OWNER : READABLE_BY_ALL,
    })),
  );
}

/** What is gone is removed. */
function removal(what: string, answer: Exchange): StopOutcome {
  const problem = saysGone(answer) ? null : problemOf(what, answer, [204, 304]);
  return problem === null ? { kind: "stopped" } : failed(problem);
}

/** A 404 of an engine, in its own words: that of anything else under its address tells nothing of machines. */
function saysGone(answer: Exchange): boolean {
  return answer.kind === "answered" && answer.status === 404 && /no such/i.test(String(objectOf(answer.text)?.message));
}

function isAnswer(answer: Exchange, status: number): boolean {
  return answer.kind === "answered" && answer.status === status;
}

function failed(reason: string): { readonly kind: "failed"; readonly reason: string } {
  return { kind: "failed", reason: reasonOf(reason, []) };
}
