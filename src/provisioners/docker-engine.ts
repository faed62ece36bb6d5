import { type Call, type Exchange, exchange, type Fetch, objectOf } from "../exchange.ts";

const API = "/v1.41";
const ANSWER_BYTES_MAX = 1024 * 1024;
const TIMEOUT_MS = 60_000;
const PULL_TIMEOUT_MS = 5 * 60_000;
/** How long a container may take to end by itself before the engine kills it. */
const STOP_GRACE_S = 10;

/** The calls of Docker's Engine API that machines need. Each is made once. */
export class DockerEngine {
  readonly #fetch: Fetch;
  readonly #baseUrl: string;
  readonly #timeoutMs: number;

  constructor(fetch: Fetch, baseUrl: string, timeoutMs = TIMEOUT_MS) {
    this.#fetch = fetch;
    this.#baseUrl = baseUrl;
    this.#timeoutMs = timeoutMs;
  }

  createContainer(name: string, container: object): Promise<Exchange> {
    return this.#call("POST", `/containers/create?${new URLSearchParams({ name })}`, json(container));
  }

  startContainer(id: string): Promise<Exchange> {
    return this.#call("POST", `${containerPath(id)}/start`);
  }

  stopContainer(id: string): Promise<Exchange> {
    return this.#call("POST", `${containerPath(id)}/stop?t=${STOP_GRACE_S}`);
  }

  /** Takes the volumes without a name with it. */
  removeContainer(id: string): Promise<Exchange> {
    return this.#call("DELETE", `${containerPath(id)}?force=true&v=true`);
  }

  inspectContainer(idOrName: string): Promise<Exchange> {
    return this.#call("GET", `${containerPath(idOrName)}/json`);
  }

  /** Unpacks an archive in a container; its files belong to the user that the image runs as. */
  putArchive(id: string, folder: string, archive: Uint8Array): Promise<Exchange> {
    const query = new URLSearchParams({ path: folder, noOverwriteDirNonDir: "true", copyUIDGID: "true" });
    const headers = { "Content-Type": "application/x-tar" };
    return this.#call("PUT", `${containerPath(id)}/archive?${query}`, { headers, body: archive });
  }

  createNetwork(name: string): Promise<Exchange> {
    return this.#call("POST", "/networks/create", json({ Name: name, CheckDuplicate: true }));
  }

  /** The engine answers 200 at once and stops pulling when its answer is not read. */
  pullImage(name: string, tag: string): Promise<Exchange> {
    const query = new URLSearchParams({ fromImage: name, tag });
    return this.#call("POST", `/images/create?${query}`, { timeoutMs: PULL_TIMEOUT_MS, isHeardOut: true });
  }

  removeVolume(name: string): Promise<Exchange> {
    return this.#call("DELETE", `/volumes/${encodeURIComponent(name)}`);
  }

  #call(method: Call["method"], path: string, call: Partial<Call> = {}): Promise<Exchange> {
    const url = this.#baseUrl + API + path;
    return exchange(this.#fetch, {
      method,
      url,
      answerBytesMax: ANSWER_BYTES_MAX,
      timeoutMs: this.#timeoutMs,
      ...call,
    });
  }
}

/** Why an exchange is none of what was hoped for; null when it is. */
export function problemOf(what: string, answer: Exchange, expected: readonly number[]): string | null {
  if (answer.kind === "lost") return `${what}: ${answer.reason}`;
  if (expected.includes(answer.status)) return null;
  const message = objectOf(answer.text)?.message;
  return `${what}: Docker answered ${answer.status}${typeof message === "string" ? `: ${message}` : ""}`;
}

function containerPath(idOrName: string): string {
  return `/containers/${encodeURIComponent(idOrName)}`;
}

function json(value: object): Partial<Call> {
  return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) };
}
