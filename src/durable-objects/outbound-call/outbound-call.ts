import { DurableObject } from "cloudflare:workers";

export class OutboundCall extends DurableObject<Env> {}
