import { randomInt } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";

const HOST = "127.0.0.1";
/** Below what systems give to outgoing connections, one of which could take a port before its program listens. */
const FREE_PORTS = { from: 20_000, to: 32_000 } as const;
const FREE_PORT_ATTEMPTS = 20;

/** The port asked for, or a free one for 0. Throws when another program listens there. */
export async function claimPort(port: number): Promise<number> {
  if (port !== 0) return listenOnce(port);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await listenOnce(randomInt(FREE_PORTS.from, FREE_PORTS.to));
    } catch (error) {
      if (attempt === FREE_PORT_ATTEMPTS) throw error;
    }
  }
}

async function listenOnce(port: number): Promise<number> {
  const server = createServer().listen(port, HOST);
  await once(server, "listening");
  server.close();
  await once(server, "close");
  return port;
}
