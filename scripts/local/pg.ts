import { createRequire } from "node:module";

/** `pg`, through require: inside a vitest globalSetup the Cloudflare plugin would resolve it to its Workers build. */
export const pg: typeof import("pg") = createRequire(import.meta.url)("pg");
