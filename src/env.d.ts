// Bindings and variables of wrangler.toml; their meaning and defaults stand in config.ts.
declare namespace Cloudflare {
  interface GlobalProps {
    mainModule: typeof import("./index.ts");
    durableNamespaces: "Workspace" | "Directory" | "EventHub" | "OutboundCall" | "Machine";
  }
  interface Env {
    WORKSPACE: DurableObjectNamespace<import("./index.ts").Workspace>;
    DIRECTORY: DurableObjectNamespace<import("./index.ts").Directory>;
    EVENT_HUB: DurableObjectNamespace<import("./index.ts").EventHub>;
    OUTBOUND_CALL: DurableObjectNamespace<import("./index.ts").OutboundCall>;
    MACHINE: DurableObjectNamespace<import("./index.ts").Machine>;
    BLOBS?: R2Bucket;
    BAD_CREDENTIALS?: RateLimit;
    /** The Docker engine, under `npm start` alone: sockets and client certificates are beyond a Worker. */
    DOCKER?: Fetcher;
    /** The way to the control plane, under `npm start` alone: it may be on this machine, where agents may not be called. */
    CONTROL_PLANE?: Fetcher;
    [variable: `${Uppercase<string>}`]: unknown;
  }
}
interface Env extends Cloudflare.Env {}
