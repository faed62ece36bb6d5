import { DurableObject } from "cloudflare:workers";

export class Workspace extends DurableObject {}
export class Directory extends DurableObject {}
export class EventHub extends DurableObject {}
export class OutboundCall extends DurableObject {}

export default {
  fetch(): Response {
    return Response.json({ status: "ok" });
  },
} satisfies ExportedHandler;
