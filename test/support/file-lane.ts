import { env } from "cloudflare:workers";
import { inject } from "vitest";

// Every test file reaches Postgres by a lane of its own, before anything has read its configuration.
env.NEON_FETCH_ENDPOINT = `${inject("neonFetchEndpoint")}/${crypto.randomUUID()}`;
