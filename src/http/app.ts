import { Hono } from "hono";
import { getPath } from "hono/utils/url";
import { Refusal } from "../domain/refusal.ts";
import { LedgerFailure } from "../ledgers/failure.ts";
import { log } from "../log.ts";
import { refusalResponse } from "./answers.ts";
import { breath } from "./breath.ts";
import type { AppEnv } from "./context.ts";
import { cors, edge, tenantGuard } from "./edge.ts";
import { caller } from "./identify.ts";
import { refusedTokens } from "./refused-tokens.ts";
import { a2aRoutes } from "./routes/a2a.ts";
import { activityRoutes } from "./routes/activity.ts";
import { adminDelegationRoutes } from "./routes/admin-delegations.ts";
import { adminMachineRoutes } from "./routes/admin-machines.ts";
import { adminUploadRoutes } from "./routes/admin-uploads.ts";
import { agentRoutes } from "./routes/agents.ts";
import { bundleRoutes } from "./routes/bundles.ts";
import { canvasRoutes } from "./routes/canvas.ts";
import { controlPlaneRoutes } from "./routes/control-plane-proxy.ts";
import { delegationRoutes } from "./routes/delegations.ts";
import { duplicateRoutes } from "./routes/duplicates.ts";
import { eventRoutes } from "./routes/events.ts";
import { externalRoutes } from "./routes/external.ts";
import { lifecycleRoutes } from "./routes/lifecycle.ts";
import { localRoutes } from "./routes/local.ts";
import { metricsRoutes } from "./routes/metrics.ts";
import { orgImportRoutes } from "./routes/org-import.ts";
import { organisationTokenRoutes } from "./routes/organisation-tokens.ts";
import { probeRoutes } from "./routes/probes.ts";
import { adminQueueRoutes, queueRoutes } from "./routes/queue.ts";
import { rebuildRoutes } from "./routes/rebuild.ts";
import { registryRoutes } from "./routes/registry.ts";
import { secretRoutes } from "./routes/secrets.ts";
import { templateRoutes } from "./routes/templates.ts";
import { tokenRoutes } from "./routes/tokens.ts";
import { uploadRoutes } from "./routes/uploads.ts";
import { workspaceRoutes } from "./routes/workspaces.ts";
import { session } from "./session.ts";
import { socketCookie } from "./socket-cookie.ts";

/** Order of middleware, all mounts, and what becomes of what is thrown. */
export const app = new Hono<AppEnv>({ getPath: pathOf })
  .use(edge)
  .use(breath)
  .use(cors)
  .route("/", controlPlaneRoutes)
  .use(caller)
  .use(socketCookie)
  .use(tenantGuard)
  .use(session)
  .use(refusedTokens)
  .route("/", probeRoutes)
  .route("/", metricsRoutes)
  .route("/", localRoutes)
  .route("/admin/pending-uploads", adminUploadRoutes)
  .route("/admin/delegations", adminDelegationRoutes)
  .route("/registry", registryRoutes)
  .route("/workspaces", workspaceRoutes)
  .route("/workspaces/:id", activityRoutes)
  .route("/workspaces/:id", a2aRoutes)
  .route("/workspaces/:id", queueRoutes)
  .route("/", adminQueueRoutes)
  .route("/workspaces/:id", delegationRoutes)
  .route("/workspaces/:id", uploadRoutes)
  .route("/workspaces/:id", agentRoutes)
  .route("/", tokenRoutes)
  .route("/", secretRoutes)
  .route("/org/tokens", organisationTokenRoutes)
  .route("/", eventRoutes)
  .route("/", lifecycleRoutes)
  .route("/", adminMachineRoutes)
  .route("/", rebuildRoutes)
  .route("/", canvasRoutes)
  .route("/", templateRoutes)
  .route("/", orgImportRoutes)
  .route("/", bundleRoutes)
  .route("/", duplicateRoutes)
  .route("/", externalRoutes)
  .notFound((c) => refusalResponse(c, new Refusal("route.unknown")))
  .onError((error, c) => {
    if (error instanceof Refusal) return refusalResponse(c, error);
    if (error instanceof LedgerFailure)
      return refusalResponse(c, new Refusal("platform_unavailable", { retryAfter: 5 }));
    log.error("request.crashed", {
      request_id: c.var.requestId,
      method: c.req.method,
      route: c.req.routePath,
      error: error.name,
      stack: error.stack?.split("\n").slice(1, 6).join(" | "),
    });
    return refusalResponse(c, new Refusal("internal"));
  });

/** A platform URL with a trailing slash doubles the first slash; neither that nor one at the end means anything. */
function pathOf(request: Request): string {
  return getPath(request)
    .replace(/^\/+/, "/")
    .replace(/(.)\/+$/, "$1");
}

export type App = typeof app;
