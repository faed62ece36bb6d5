import { once } from "node:events";
import { createServer } from "node:net";

const HOST = "127.0.0.1";

/** The port asked for, or a free one for 0. Throws when another program listens there. */
export async function claimPort(port: number): Promise<number> {
  const server = createServer().listen(port, HOST);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port was given");
  return address.port;
}
