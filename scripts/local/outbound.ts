import { getCACertificates } from "node:tls";
import type { Variables } from "./variables.ts";

export const OUTBOUND_WORKER = "outbound";

const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"];

const SCRIPT = `export default {
  async fetch(request, env) {
    const service = new URL(request.url).origin === env.DATABASE_ORIGIN ? env.DATABASE : env.NETWORK;
    try {
      return await service.fetch(request);
    } catch (error) {
      // That is all that workerd tells of either.
      if (error.message.startsWith("internal error")) throw new Error("address not allowed, or certificate not trusted");
      throw error;
    }
  },
};`;

/**
 * The Worker that every outgoing call passes. It leads to the database's local endpoint and otherwise to a network that
 * judges the address a name resolved to: what `global_fetch_strictly_public` does for a deployment. In open dev mode
 * agents may be called on this machine.
 */
export function outboundWorker({ NEON_FETCH_ENDPOINT }: Variables, allowPrivate: boolean) {
  const database = NEON_FETCH_ENDPOINT ? new URL(NEON_FETCH_ENDPOINT) : null;
  const allowed = allowPrivate ? { allow: ["public", "private"], deny: LINK_LOCAL } : { allow: ["public"] };
  // The certificates that Node trusts too, those of NODE_EXTRA_CA_CERTS among them.
  const tlsOptions = { trustBrowserCas: true, trustedCertificates: getCACertificates() };
  return {
    name: OUTBOUND_WORKER,
    compatibilityDate: "2026-08-15",
    modules: [{ type: "ESModule" as const, path: "outbound.js", contents: SCRIPT }],
    bindings: { DATABASE_ORIGIN: database?.origin ?? "" },
    serviceBindings: {
      NETWORK: { network: { ...allowed, tlsOptions } },
      ...(database && { DATABASE: { external: { address: database.host, http: {} } } }),
    },
  };
}
