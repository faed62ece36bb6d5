import { Hono } from "hono";
import type { Config } from "../../config.ts";
import { Refusal } from "../../domain/refusal.ts";
import type { UploadLimits } from "../../domain/upload.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { machineIsGone } from "../../durable-objects/shared/machine-look.ts";
import { blobStoreOf } from "../../storage/blob-store.ts";
import { checkReadablePath, type FileAgent, forwardUpload, readAgentFile } from "../../uploads/agent-files.ts";
import { UPLOAD_IDLE_MS } from "../../uploads/body-reader.ts";
import { receiveUpload, type UploadDeps } from "../../uploads/receive-upload.ts";
import { serveUpload } from "../../uploads/serve-upload.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, workspaceOf } from "../context.ts";

/** Files from the chat: staged for whoever polls, handed on to whoever has a URL; and files of the agent's own. */
export const uploadRoutes = new Hono<AppEnv>()
  .post("/chat/uploads", async (c) => {
    const id = workspaceIdParam(c);
    const received = receive(c, id);
    // Cleans up after a client that left.
    c.executionCtx.waitUntil(received.catch(() => undefined));
    return received;
  })
  .get("/chat/download", async (c) => {
    const id = workspaceIdParam(c);
    const access = workspaceAccess(c, id);
    const path = checkReadablePath(c.req.query("path"));
    const { agent } = await ask(c, workspaceOf(c, id).uploadTarget({ access }));
    await requireMachine(c, id, agent);
    return readAgentFile(agent, path, c.var.config);
  })
  .on(["GET", "HEAD"], "/pending-uploads/:fileId/content", async (c) => {
    const id = workspaceIdParam(c);
    const access = workspaceAccess(c, id);
    const file = await ask(
      c,
      workspaceOf(c, id).fetchFile({ access, fileId: fileIdParam(c), looks: c.req.method === "HEAD" }),
    );
    const blobs = blobStoreOf(c.env);
    if (!blobs) throw new Refusal("upload.not_found");
    return serveUpload(c.req.raw, file, blobs);
  })
  .post("/pending-uploads/:fileId/ack", async (c) => {
    const id = workspaceIdParam(c);
    const access = workspaceAccess(c, id);
    const { raced } = await ask(c, workspaceOf(c, id).ackFile({ access, fileId: fileIdParam(c) }));
    return json(raced ? { acked: true, raced: true } : { acked: true });
  });

/** Thrown by the first question to the object, before a byte is read: the files are not for us. */
class PushAgent extends Error {
  constructor(readonly agent: FileAgent) {
    super("push agent");
  }
}

async function receive(c: AppContext, id: string): Promise<Response> {
  const { config } = c.var;
  const access = workspaceAccess(c, id);
  const workspace = workspaceOf(c, id);
  const blobs = blobStoreOf(c.env);
  if (!blobs) {
    const { agent } = await ask(c, workspace.uploadTarget({ access }));
    await requireMachine(c, id, agent);
    return forwardUpload(agent, c.req.raw, config);
  }
  let isKnown = false;
  const deps: UploadDeps = {
    openIntent: async (uploadId) => {
      isKnown = true;
      const { mode, agent } = await ask(c, workspace.openUpload({ access, uploadId }));
      if (mode === "push") throw new PushAgent(agent);
    },
    renewIntent: (uploadId) => ask(c, workspace.renewUpload({ uploadId })),
    commit: (uploadId, files) => ask(c, workspace.commitUpload({ uploadId, files })),
    abandon: (uploadId, failed) => ask(c, workspace.abandonUpload({ uploadId, failed })),
    blobs,
    limits: limitsOf(config),
    idleMs: UPLOAD_IDLE_MS,
    now: () => Date.now(),
  };
  try {
    return json(await receiveUpload(id, c.req.raw, deps));
  } catch (error) {
    if (error instanceof PushAgent) {
      await requireMachine(c, id, error.agent);
      return forwardUpload(error.agent, c.req.raw, config);
    }
    // What is wrong with a body is only for who may send one.
    if (!isKnown) await ask(c, workspace.uploadTarget({ access }));
    throw error;
  }
}

function fileIdParam(c: AppContext): string {
  const id = canonicalWorkspaceId(c.req.param("fileId") ?? "");
  if (id === null) throw new Refusal("upload.invalid_file_id");
  return id;
}

function limitsOf(config: Config): UploadLimits {
  return {
    fileBytesMax: config.UPLOAD_FILE_BYTES,
    requestBytesMax: config.UPLOAD_REQUEST_BYTES,
    filesMax: config.UPLOAD_FILES,
  };
}

/** Another machine may answer at the address of one that is gone, and must not get its files and its secret. */
async function requireMachine(c: AppContext, workspaceId: string, { instanceId }: FileAgent): Promise<void> {
  if (instanceId === undefined || !(await machineIsGone(c.env, workspaceId, instanceId))) return;
  throw new Refusal("upload.agent_unreachable");
}
