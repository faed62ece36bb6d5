import { env, runInDurableObject } from "cloudflare:test";
import { QUEUE_ITEMS_MAX } from "../../src/durable-objects/workspace/queue.ts";

/** What only time or another deployment brings about, written straight into a workspace's tables. */
function inWorkspace(workspaceId: string, work: (sql: SqlStorage) => void): Promise<void> {
  return runInDurableObject(env.WORKSPACE.getByName(workspaceId), async (instance, { storage }) => {
    work(storage.sql);
    // Memory is read again after a wake.
    await (instance as { wake?(): Promise<void> }).wake?.();
  });
}

/** The agent's URL turns into one that may not be called. */
export function becomeUnroutable(workspaceId: string): Promise<void> {
  return inWorkspace(workspaceId, (sql) => void sql.exec("UPDATE workspace SET url = 'http://169.254.169.254/'"));
}

/** The workspace asked for push and has no URL. */
export function becomeUrlless(workspaceId: string): Promise<void> {
  return inWorkspace(workspaceId, (sql) => void sql.exec("UPDATE workspace SET url = NULL"));
}

/** As many requests wait as may. */
export function fillQueue(workspaceId: string): Promise<void> {
  return inWorkspace(workspaceId, (sql) => {
    sql.exec(
      `INSERT INTO queue (seq, version, status, call_id, priority, method, message_digest, attempts, enqueued_at)
       WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?)
       SELECT 100 + n, 100 + n, 'queued', 'call ' || n, 50, '', 'digest ' || n, 0, ? FROM numbers`,
      QUEUE_ITEMS_MAX,
      Date.now() * 1000,
    );
  });
}
