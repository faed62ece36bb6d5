import { Hono } from "hono";
import { ASSIGN_AGENT, MOVE_AGENT } from "../../domain/agent.ts";
import { Refusal } from "../../domain/refusal.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { authorised } from "../authorised.ts";
import { jsonBody } from "../body.ts";
import { type AppEnv, directoryOf } from "../context.ts";

/** The agent that a workspace has been given by name; at most one. */
export const agentRoutes = new Hono<AppEnv>()
  .post("/agent", async (c) => {
    const workspaceId = await authorised(c);
    const { model } = await jsonBody(c, ASSIGN_AGENT);
    const { agent } = await ask(c, directoryOf(c).changeAgent({ kind: "assign", workspaceId, model }));
    return json({ agent_id: agent.id, model: agent.model }, 201);
  })
  .patch("/agent", async (c) => {
    const workspaceId = await authorised(c);
    const { model } = await jsonBody(c, ASSIGN_AGENT);
    const { agent, oldModel } = await ask(c, directoryOf(c).changeAgent({ kind: "replace", workspaceId, model }));
    return json({ agent_id: agent.id, model: agent.model, old_model: oldModel });
  })
  .delete("/agent", async (c) => {
    const workspaceId = await authorised(c);
    const { agent } = await ask(c, directoryOf(c).changeAgent({ kind: "remove", workspaceId }));
    return json({ status: "removed", agent_id: agent.id });
  })
  .post("/agent/move", async (c) => {
    const workspaceId = await authorised(c);
    const { target_workspace_id: targetId } = await jsonBody(c, MOVE_AGENT);
    // Its token gives a workspace no right on any other one, whether or not there is one.
    const isOwn = c.var.credential.kind !== "workspace" || targetId === workspaceId;
    if (!isOwn) throw new Refusal("agent.target_forbidden");
    const { agent } = await ask(c, directoryOf(c).changeAgent({ kind: "move", workspaceId, targetId }));
    return json({ agent_id: agent.id, model: agent.model, from_workspace: workspaceId, to_workspace: targetId });
  });
