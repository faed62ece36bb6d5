import { app } from "./http/app.ts";
import { scheduled } from "./sweeper/scheduled.ts";

export { Directory } from "./durable-objects/directory/directory.ts";
export { EventHub } from "./durable-objects/event-hub/event-hub.ts";
export { Machine } from "./durable-objects/machine/machine.ts";
export { OutboundCall } from "./durable-objects/outbound-call/outbound-call.ts";
export { Workspace } from "./durable-objects/workspace/workspace.ts";

export default {
  fetch: app.fetch,
  scheduled: (controller, env) => scheduled(controller, env),
} satisfies ExportedHandler<Env>;
