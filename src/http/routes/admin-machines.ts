import { Hono } from "hono";
import * as z from "zod";
import { actorOf } from "../../domain/access.ts";
import { microsToTimestamp } from "../../domain/activity.ts";
import { isLeaving } from "../../domain/lifecycle.ts";
import { isStorableText } from "../../domain/text.ts";
import { eachAlone } from "../../sweeper/sweep.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { adminOnly, operatorAccess, workspaceIdParam } from "../caller.ts";
import { type AppContext, type AppEnv, directoryOf, workspaceOf } from "../context.ts";
import { REASON } from "../reason.ts";

/** Workspaces that one answer asks about. */
const WORKSPACES_MAX = 100;

const FORGET = z.object({
  instance_id: z.string().max(512).refine(isStorableText).nullable(),
  reason: REASON,
});

/** Machines that have still to start or to stop, for operators, and what to do about one that nobody can stop. */
export const adminMachineRoutes = new Hono<AppEnv>()
  .get("/admin/machines", adminOnly, async (c) => {
    const unsettled = await ask(c, directoryOf(c).unsettled({ limit: WORKSPACES_MAX }));
    const shown = new Map<string, object[]>();
    const errors = await eachAlone(unsettled, async ({ id, name }) => {
      shown.set(id, await machinesOf(c, id, name));
    });
    const machines = unsettled.flatMap(({ id }) => shown.get(id) ?? []);
    return json({ machines, count: machines.length, unanswered: errors });
  })
  .post("/admin/workspaces/:id/machines/forget", adminOnly, async (c) => {
    const id = workspaceIdParam(c);
    const { instance_id: instanceId, reason } = await jsonBody(c, FORGET);
    const order = { instanceId, actor: actorOf(operatorAccess(c), id), reason };
    const { stopsPending } = await ask(c, workspaceOf(c, id).forgetMachine(order));
    return json({ status: "forgotten", workspace_id: id, instance_id: instanceId, stops_pending: stopsPending });
  });

async function machinesOf(c: AppContext, id: string, name: string): Promise<object[]> {
  const { status, wish, machines } = await ask(c, workspaceOf(c, id).machineRows());
  return machines.map((machine) => ({
    workspace_id: id,
    workspace_name: name,
    workspace_status: status,
    instance_id: machine.instanceId,
    state: machine.state !== "starting" && isLeaving(machine, wish) ? "stopping" : machine.state,
    stop_failures: machine.stopFailures,
    next_attempt_at: machine.nextAt === 0 ? null : microsToTimestamp(machine.nextAt * 1000),
  }));
}
