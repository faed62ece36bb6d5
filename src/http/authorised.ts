import type { WorkspaceId } from "../domain/workspace-id.ts";
import { ask } from "./ask.ts";
import { workspaceAccess, workspaceIdParam } from "./caller.ts";
import { type AppContext, workspaceOf } from "./context.ts";

/** The id of the path, after its object has let the caller in; for routes whose answer comes from elsewhere. */
export async function authorised(c: AppContext): Promise<WorkspaceId> {
  const id = workspaceIdParam(c);
  await ask(c, workspaceOf(c, id).authorise({ access: workspaceAccess(c, id) }));
  return id;
}
