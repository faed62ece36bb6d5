/** Where a Docker engine listens: a URL, or a socket that only a process on the same machine can open. */
export type DockerHost =
  | { readonly kind: "url"; readonly url: string; readonly isLocal: boolean }
  | { readonly kind: "socket"; readonly path: string };

const SOCKET = /^unix:\/\/(\/.+)$/;
const TCP_WITHOUT_PORT = /^tcp:\/\/(?!.*:\d+(?:\/|$))/i;
const PLAIN_PORT = 2375;
const TLS_PORT = 2376;

/** Reads `DOCKER_HOST`; null where it cannot be one. `tcp` is HTTP, or HTTPS when the engine's certificate is verified. */
export function parseDockerHost(text: string, verifiesTls: boolean): DockerHost | null {
  const socket = SOCKET.exec(text)?.[1];
  if (socket !== undefined) return { kind: "socket", path: socket };
  const url = URL.parse(text.replace(/^tcp:\/\//i, verifiesTls ? "https://" : "http://"));
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return null;
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") return null;
  if (TCP_WITHOUT_PORT.test(text)) url.port = String(verifiesTls ? TLS_PORT : PLAIN_PORT);
  const isLocal = /^(?:localhost|127(?:\.\d+){3}|\[::1\])$/.test(url.hostname);
  return { kind: "url", url: url.href.replace(/\/+$/, ""), isLocal };
}
