import { Hono } from "hono";
import { MAX_ID_CHARS } from "../../domain/a2a-envelope.ts";
import { actorOf } from "../../domain/access.ts";
import { readCancel, readDelegate, readHeartbeat, readRecord, readUpdate } from "../../domain/delegation-request.ts";
import { parseJsonText } from "../../domain/json-text.ts";
import { Refusal, type RefusalCode } from "../../domain/refusal.ts";
import { isStorableText } from "../../domain/text.ts";
import { canonicalWorkspaceId } from "../../domain/workspace-id.ts";
import { json, jsonText } from "../answers.ts";
import { ask } from "../ask.ts";
import { bodyText } from "../body.ts";
import { workspaceAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, workspaceOf } from "../context.ts";

/** Work that workspaces give each other: hand it over, watch it, report on it. */
export const delegationRoutes = new Hono<AppEnv>()
  .post("/delegate", async (c) => {
    const { id, access } = who(c);
    const request = readDelegate(await jsonOf(c, "delegation.invalid_request"), id);
    // 202 for an idempotent hit too: clients take nothing else for a success.
    return json(await ask(c, workspaceOf(c, id).delegate({ access, request })), 202);
  })
  .get("/delegations", async (c) => {
    const { id, access } = who(c);
    return jsonText(await ask(c, workspaceOf(c, id).listDelegations({ access })));
  })
  .post("/delegations/record", async (c) => {
    const { id, access } = who(c);
    const request = readRecord(await jsonOf(c));
    return json(await ask(c, workspaceOf(c, id).recordDelegation({ access, request })), 202);
  })
  .post("/delegations/:delegation_id/update", async (c) => {
    const { id, access } = who(c);
    const delegationId = delegationIdParam(c);
    const update = readUpdate(await jsonOf(c));
    // An unknown id is answered the same, as clients expect.
    await ask(c, workspaceOf(c, id).updateDelegation({ access, delegationId, callerId: callerParam(c), update }));
    return json({ status: update.status, delegation_id: delegationId });
  })
  .post("/delegations/:delegation_id/heartbeat", async (c) => {
    const { id, access } = who(c);
    const delegationId = delegationIdParam(c);
    const heartbeat = readHeartbeat(await jsonOf(c, "request.invalid", {}));
    return json(
      await ask(c, workspaceOf(c, id).beatDelegation({ access, delegationId, callerId: callerParam(c), heartbeat })),
    );
  })
  .post("/delegations/:delegation_id/cancel", async (c) => {
    const { id, access } = who(c);
    const delegationId = delegationIdParam(c);
    const { reason } = readCancel(await jsonOf(c, "request.invalid", {}));
    const by = actorOf(access, id);
    const order = { access, delegationId, by, reason };
    const { status, cancelRequested } = await ask(c, workspaceOf(c, id).cancelDelegation(order));
    return json({ delegation_id: delegationId, status, cancel_requested: cancelRequested });
  });

function who(c: AppContext) {
  const id = workspaceIdParam(c);
  return { id, access: workspaceAccess(c, id) };
}

/** Any text is an id here: whoever records a delegation names it. */
function delegationIdParam(c: AppContext): string {
  const id = c.req.param("delegation_id") ?? "";
  if (id.length > MAX_ID_CHARS) throw new Refusal("request.id_too_long");
  if (!isStorableText(id)) throw new Refusal("request.unstorable_text");
  return id;
}

/** `?caller_id=`: whose delegation a callee means, where several callers used its id. */
function callerParam(c: AppContext): string | null {
  const given = c.req.query("caller_id");
  if (!given) return null;
  const id = canonicalWorkspaceId(given);
  if (id === null) throw new Refusal("workspace.invalid_id");
  return id;
}

/** The JSON value of the body; `absent` where an empty body means something. */
async function jsonOf(c: AppContext, refusal: RefusalCode = "request.invalid", absent?: object): Promise<unknown> {
  const text = await bodyText(c);
  if (text === "" && absent) return absent;
  const parsed = parseJsonText(text);
  if (parsed === null) throw new Refusal(refusal);
  return parsed.value;
}
