import { once } from "node:events";
import { connect, type Socket } from "node:net";

const HEAD_END = Buffer.from("\r\n\r\n");
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

export type Answer = { status: number; body: Buffer };
export type Request = { method: string; path: string; headers?: Record<string, string>; body?: Buffer };
export type LoadResult = {
  count: number;
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
  statuses: Map<number, number>;
};

export type LoadOptions = {
  port: number;
  connections: number;
  secondsMax: number;
  countMax: number;
  /** The bytes of one request, made by `encode`; called once per request. */
  request: (connection: number, index: number) => Buffer;
};

/** The bytes of a request on a kept connection. */
export function encode({ method, path, headers = {}, body = Buffer.alloc(0) }: Request): Buffer {
  const all = { Host: "127.0.0.1", ...headers, ...(method === "GET" ? {} : { "Content-Length": body.byteLength }) };
  const head = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.concat([Buffer.from(`${method} ${path} HTTP/1.1\r\n${head.join("")}\r\n`), body]);
}

/**
 * One kept HTTP connection, one request at a time. It does no more than a measurement needs, because the load shares
 * the machine with what it measures.
 */
export class Connection {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  static async open(port: number): Promise<Connection> {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    await once(socket, "connect");
    return new Connection(socket);
  }

  exchange(request: Buffer): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const reader = new AnswerReader();
      const socket = this.#socket;
      const finish = () => {
        socket.off("data", take);
        socket.off("close", cut);
      };
      const take = (chunk: Buffer) => {
        const answer = reader.take(chunk);
        if (!answer) return;
        finish();
        resolve(answer);
      };
      const cut = () => {
        finish();
        reject(new Error("the connection was closed before the answer was complete"));
      };
      socket.on("data", take);
      socket.once("close", cut);
      socket.write(request);
    });
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Puts an answer together from what arrives. */
class AnswerReader {
  #head: { status: number; length: number | null } | null = null;
  #chunks: Buffer[] = [];
  #size = 0;

  take(chunk: Buffer): Answer | null {
    this.#chunks.push(chunk);
    this.#size += chunk.byteLength;
    if (!this.#head && !this.#readHead()) return null;
    const { status, length } = this.#head ?? { status: 0, length: 0 };
    const isWhole = length === null ? this.#tail(LAST_CHUNK.byteLength).equals(LAST_CHUNK) : this.#size >= length;
    return isWhole ? { status, body: Buffer.concat(this.#chunks) } : null;
  }

  #readHead(): boolean {
    const received = Buffer.concat(this.#chunks);
    const end = received.indexOf(HEAD_END);
    if (end < 0) return false;
    const text = received.toString("latin1", 0, end);
    const length = /^content-length: *(\d+)/im.exec(text)?.[1];
    this.#head = { status: Number(text.split(" ", 2)[1]), length: length === undefined ? null : Number(length) };
    this.#chunks = [received.subarray(end + HEAD_END.byteLength)];
    this.#size = this.#chunks[0]?.byteLength ?? 0;
    return true;
  }

  #tail(bytes: number): Buffer {
    const last = this.#chunks.at(-1) ?? Buffer.alloc(0);
    return (last.byteLength >= bytes ? last : Buffer.concat(this.#chunks)).subarray(-bytes);
  }
}

/** Sends requests over some connections at once until the time or the count is used up. */
export async function load(options: LoadOptions): Promise<LoadResult> {
  const { port, connections, secondsMax, countMax, request } = options;
  const statuses = new Map<number, number>();
  const latenciesMs: number[] = [];
  let sent = 0;
  const start = performance.now();
  const deadline = start + secondsMax * 1_000;
  const run = async (_: unknown, number: number) => {
    const connection = await Connection.open(port);
    for (let index = 0; sent < countMax && performance.now() < deadline; index++) {
      sent++;
      const began = performance.now();
      const { status } = await connection.exchange(request(number, index));
      latenciesMs.push(performance.now() - began);
      statuses.set(status, (statuses.get(status) ?? 0) + 1);
    }
    connection.close();
  };
  await Promise.all(Array.from({ length: connections }, run));
  const seconds = (performance.now() - start) / 1_000;
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number) => latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0;
  return { count: sent, perSecond: sent / seconds, p50Ms: at(0.5), p99Ms: at(0.99), statuses };
}
