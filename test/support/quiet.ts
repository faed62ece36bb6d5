import { env, runInDurableObject } from "cloudflare:test";
import { until } from "./until.ts";

/** Waits until ledger, hub and board have heard all that a workspace, and the directory of it, have to tell. */
export async function quiet(workspaceId: string): Promise<void> {
  await quietDirectory();
  const workspace = env.WORKSPACE.get(env.WORKSPACE.idFromName(workspaceId));
  await until("the workspace has told everybody", () =>
    runInDurableObject(workspace, (_instance, { storage: { sql } }) => {
      const { versions, flushed, told, event } = sql
        .exec<{ versions: number; flushed: number; told: number; event: number }>(
          `SELECT max((SELECT coalesce(max(version), 0) FROM activity), (SELECT coalesce(max(version), 0) FROM files),
                      (SELECT coalesce(max(version), 0) FROM tokens), (SELECT coalesce(max(version), 0) FROM events),
                      (SELECT coalesce(max(version), 0) FROM delegations)) AS versions,
                  (SELECT coalesce(max(flushed_through), 0) FROM flush_state) AS flushed,
                  (SELECT hub_through FROM workspace) AS told,
                  max((SELECT coalesce(max(seq), 0) FROM activity WHERE event IS NOT NULL), (SELECT coalesce(max(seq), 0) FROM events)) AS event`,
        )
        .one();
      return flushed >= versions && told >= event;
    }),
  );
}

/** Waits until the ledger has what the directory knows: its flush of a creation may come a moment after the answer. */
async function quietDirectory(): Promise<void> {
  const directory = env.DIRECTORY.get(env.DIRECTORY.idFromName("default"));
  await until("the directory has flushed", () =>
    runInDurableObject(directory, (_instance, { storage: { sql } }) => {
      const { versions, flushed } = sql
        .exec<{ versions: number; flushed: number }>(
          `SELECT (SELECT coalesce(max(version), 0) FROM nodes) AS versions,
                  (SELECT coalesce(max(flushed_through), 0) FROM flush_state) AS flushed`,
        )
        .one();
      return flushed >= versions;
    }),
  );
}
