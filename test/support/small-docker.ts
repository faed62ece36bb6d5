import type { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import type { Machines, Reply } from "./machine-server-setup.ts";

interface ContainerBody {
  readonly Image: string;
  readonly Env: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly HostConfig: {
    readonly NetworkMode?: string;
    readonly PortBindings?: Readonly<Record<string, readonly { HostPort: string }[]>>;
    readonly Mounts?: readonly { Type: string; Source: string; Target: string }[];
    readonly [other: string]: unknown;
  };
}

export interface ShownContainer {
  readonly id: string;
  readonly name: string;
  readonly isRunning: boolean;
  readonly body: ContainerBody;
  /** What was unpacked in it: folder and archive in base64. */
  readonly archives: readonly { folder: string; archive: string }[];
}

export interface ShownDocker {
  readonly containers: readonly ShownContainer[];
  readonly volumes: readonly string[];
  readonly networks: readonly string[];
  readonly images: readonly string[];
}

/** `registry` is what can be pulled; null is everything. */
export interface DockerArrangement {
  readonly registry?: readonly string[];
  /** How much an engine tells of the progress of a pull. */
  readonly pullBytes?: number;
  /** The port that containers are published at from now on. */
  readonly hostPort?: string;
  readonly stranger?: { readonly name: string; readonly labels: Readonly<Record<string, string>> };
}

type Container = { -readonly [Key in keyof ShownContainer]: ShownContainer[Key] };

const CREATED_AT = "2026-05-05T01:02:03.123456789Z";

/** As much of a Docker engine as its client can see: its states, its statuses and its words (Engine API v1.41). */
export class SmallDocker implements Machines {
  readonly #containers = new Map<string, Container>();
  readonly #volumes = new Set<string>();
  readonly #networks = new Set(["bridge", "host", "none"]);
  readonly #images = new Set<string>();
  #registry: ReadonlySet<string> | null = null;
  #pullBytes = 0;
  #hostPort = "49153";

  answer(method: string, url: URL, body: Buffer): Reply {
    const [, , family, second = "", third = ""] = url.pathname.split("/").map(decodeURIComponent);
    const query = url.searchParams;
    switch (`${method} ${family} ${family === "volumes" ? "" : third || second}`.trim()) {
      case "POST networks create":
        return this.#createNetwork(JSON.parse(body.toString()).Name);
      case "POST images create":
        return this.#pull(`${query.get("fromImage")}:${query.get("tag")}`);
      case "POST containers create":
        return this.#create(query.get("name") ?? "", JSON.parse(body.toString()));
      case "POST containers start":
        return this.#with(second, (container) => this.#start(container));
      case "POST containers stop":
        return this.#with(second, (container) => this.#stop(container));
      case "GET containers json":
        return this.#with(second, (container) => inspected(container, this.#hostPort));
      case "PUT containers archive":
        return this.#with(second, (container) => unpack(container, query.get("path") ?? "", body));
      case "DELETE volumes":
        return this.#removeVolume(second);
      default:
        if (method === "DELETE" && family === "containers") {
          return this.#with(second, (container) => this.#remove(container, query.get("force") === "true"));
        }
        return failed(404, "page not found");
    }
  }

  show(): ShownDocker {
    return {
      containers: [...this.#containers.values()],
      volumes: [...this.#volumes],
      networks: [...this.#networks],
      images: [...this.#images],
    };
  }

  arrange(what: unknown): void {
    const { registry, pullBytes = 0, stranger, hostPort = this.#hostPort } = what as DockerArrangement;
    this.#hostPort = hostPort;
    this.#pullBytes = pullBytes;
    if (registry) this.#registry = new Set(registry);
    if (stranger) this.#add(stranger.name, { Image: "postgres", Env: [], Labels: stranger.labels, HostConfig: {} });
  }

  #createNetwork(name: string): Reply {
    if (this.#networks.has(name)) return failed(409, `network with name ${name} already exists`);
    this.#networks.add(name);
    return said(201, { Id: anId(), Warning: "" });
  }

  #pull(image: string): Reply {
    const name = image.slice(0, image.lastIndexOf(":"));
    if (this.#registry !== null && !this.#registry.has(image)) {
      const message = `pull access denied for ${name}, repository does not exist or may require 'docker login': denied`;
      return failed(404, message);
    }
    const lines = [{ status: `Pulling from ${name}`, id: "latest" }, { status: `Status: Downloaded ${image}` }];
    const body = lines.map((line) => `${JSON.stringify(line)}\r\n`).join("");
    return { status: 200, body: body.padEnd(this.#pullBytes, "\n"), onTaken: () => this.#images.add(image) };
  }

  #create(name: string, body: ContainerBody): Reply {
    if (!this.#images.has(body.Image)) return failed(404, `No such image: ${body.Image}`);
    const other = this.#find(name);
    if (other) {
      const message = `Conflict. The container name "/${name}" is already in use by container "${other.id}". You have to remove (or rename) that container to be able to reuse that name.`;
      return failed(409, message);
    }
    for (const { Type, Source } of body.HostConfig.Mounts ?? []) if (Type === "volume") this.#volumes.add(Source);
    return said(201, { Id: this.#add(name, body), Warnings: [] });
  }

  #add(name: string, body: ContainerBody): string {
    const id = anId();
    this.#containers.set(id, { id, name, isRunning: false, body, archives: [] });
    return id;
  }

  #start(container: Container): Reply {
    const network = container.body.HostConfig.NetworkMode ?? "bridge";
    if (!this.#networks.has(network)) return failed(404, `network ${network} not found`);
    if (container.isRunning) return { status: 304 };
    container.isRunning = true;
    return { status: 204 };
  }

  #stop(container: Container): Reply {
    if (!container.isRunning) return { status: 304 };
    container.isRunning = false;
    return { status: 204 };
  }

  #remove(container: Container, isForced: boolean): Reply {
    if (container.isRunning && !isForced) {
      const message = `cannot remove container "/${container.name}": container is running: stop the container before removing or force remove`;
      return failed(409, message);
    }
    this.#containers.delete(container.id);
    return { status: 204 };
  }

  #removeVolume(name: string): Reply {
    if (!this.#volumes.has(name)) return failed(404, `get ${name}: no such volume`);
    const user = [...this.#containers.values()].find(({ body }) =>
      body.HostConfig.Mounts?.some(({ Source }) => Source === name),
    );
    if (user) return failed(409, `remove ${name}: volume is in use - [${user.id}]`);
    this.#volumes.delete(name);
    return { status: 204 };
  }

  #with(idOrName: string, then: (container: Container) => Reply): Reply {
    const container = this.#find(idOrName);
    return container ? then(container) : failed(404, `No such container: ${idOrName}`);
  }

  #find(idOrName: string): Container | undefined {
    return this.#containers.get(idOrName) ?? [...this.#containers.values()].find(({ name }) => name === idOrName);
  }
}

function inspected({ id, name, isRunning, body }: Container, hostPort: string): Reply {
  const published = Object.keys(body.HostConfig.PortBindings ?? {});
  return said(200, {
    Id: id,
    Created: CREATED_AT,
    Name: `/${name}`,
    State: { Status: isRunning ? "running" : "created", Running: isRunning, Paused: false, ExitCode: 0 },
    Config: { Image: body.Image, Env: body.Env, Labels: body.Labels },
    NetworkSettings: {
      Ports: Object.fromEntries(published.map((port) => [port, [{ HostIp: "127.0.0.1", HostPort: hostPort }]])),
    },
  });
}

function unpack(container: Container, folder: string, archive: Buffer): Reply {
  const isMounted = container.body.HostConfig.Mounts?.some(({ Target }) => Target === folder);
  if (!isMounted) return failed(404, `Could not find the file ${folder} in container ${container.id}`);
  container.archives = [...container.archives, { folder, archive: archive.toString("base64") }];
  return { status: 200 };
}

function said(status: number, value: object): Reply {
  return { status, body: JSON.stringify(value) };
}

function failed(status: number, message: string): Reply {
  return said(status, { message });
}

function anId(): string {
  return randomBytes(32).toString("hex");
}
