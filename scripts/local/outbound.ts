import { getCACertificates } from "node:tls";
import { MACHINE_CALL_HEADER } from "../../src/domain/machine-call.ts";
import { NOT_SENT_HEADER } from "../../src/durable-objects/outbound-call/not-sent.ts";
import type { Variables } from "./variables.ts";

export const OUTBOUND_WORKER = "outbound";

const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"];

const SCRIPT = `export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.origin === env.DATABASE_ORIGIN) return env.DATABASE.fetch(request);
    if (env.MACHINES && request.headers.has("${MACHINE_CALL_HEADER}")) {
      if (!(await answers(env.MACHINES, url))) return nothingListens(url);
      const call = new Request(request);
      call.headers.delete("${MACHINE_CALL_HEADER}");
      return env.MACHINES.fetch(call);
    }
    if (env.PROBES && !(await answers(env.NETWORK, url))) {
      return nothingListens(url);
    }
    try {
      return await env.NETWORK.fetch(request);
    } catch (error) {
      // That is all that workerd tells of either.
      if (error.message.startsWith("internal error")) throw new Error("address not allowed, or certificate not trusted");
      throw error;
    }
  },
};

function nothingListens({ host }) {
  return new Response(null, { status: 502, headers: { "${NOT_SENT_HEADER}": "nothing listens at " + host } });
}

// Whether a connection comes about: what none took along has surely not been delivered. An address that is not allowed
// is the fetch's to refuse; workerd says of it that it may be of a service to fetch from.
async function answers(network, { hostname, port, protocol }) {
  const address = { hostname, port: Number(port) || (protocol === "https:" ? 443 : 80) };
  try {
    const socket = network.connect(address);
    await socket.opened;
    await socket.close();
    return true;
  } catch (error) {
    return error.message.includes("fetch");
  }
}`;

/**
 * The Worker that every outgoing call passes. It leads to the database's local endpoint and otherwise to a network that
 * judges the address a name resolved to: what `global_fetch_strictly_public` does for a deployment. In open dev mode
 * agents may be called on this machine, and one that does not listen is told from one that broke off. Where containers
 * run here, calls to those may be made in every mode: only the platform itself can mark a call as such.
 */
export function outboundWorker({ NEON_FETCH_ENDPOINT }: Variables, allowPrivate: boolean, hasMachines = false) {
  const database = NEON_FETCH_ENDPOINT ? new URL(NEON_FETCH_ENDPOINT) : null;
  return {
    name: OUTBOUND_WORKER,
    compatibilityDate: "2026-08-15",
    modules: [{ type: "ESModule" as const, path: "outbound.js", contents: SCRIPT }],
    bindings: { DATABASE_ORIGIN: database?.origin ?? "", PROBES: allowPrivate },
    serviceBindings: {
      NETWORK: allowPrivate ? operatorsNetwork() : { network: { allow: ["public"], tlsOptions: tlsOptions() } },
      ...(hasMachines && { MACHINES: { network: { allow: ["127.0.0.0/8"] } } }),
      ...(database && { DATABASE: { external: { address: database.host, http: {} } } }),
    },
  };
}

/** The way to where an operator has named, which may be on this machine: no agent chooses what is called on it. */
export function operatorsNetwork() {
  return { network: { allow: ["public", "private"], deny: LINK_LOCAL, tlsOptions: tlsOptions() } };
}

/** The certificates that Node trusts too, those of NODE_EXTRA_CA_CERTS among them. */
function tlsOptions() {
  return { trustBrowserCas: true, trustedCertificates: getCACertificates() };
}
