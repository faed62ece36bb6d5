import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { openTemplateKey, type TemplateVersion, templateVersionPrefix } from "../src/storage/keys.ts";
import { DAILY_CRON, SWEEP_CRON, scheduled } from "../src/sweeper/scheduled.ts";
import { eachAlone, sweep } from "../src/sweeper/sweep.ts";
import { costsOf, totalRows } from "./support/counting.ts";
import { query, statements } from "./support/ledger.ts";
import { aFormOf, upload } from "./support/parcel-post.ts";
import { anAgent, call, poll } from "./support/platform.ts";
import { quiet } from "./support/quiet.ts";
import { until } from "./support/until.ts";

const DAY_MS = 24 * 60 * 60 * 1000;

/** Moves a file's expiry into the past and loses the alarm, as a bug or an outage might. */
async function forgetExpiry(workspaceId: string): Promise<void> {
  const workspace = env.WORKSPACE.get(env.WORKSPACE.idFromName(workspaceId));
  await runInDurableObject(workspace, async (_instance, { storage }) => {
    storage.sql.exec("UPDATE files SET expires_at = ?", Date.now() - DAY_MS);
    await storage.deleteAlarm();
  });
  await query("UPDATE pending_uploads SET expires_at = now() - interval '1 day' WHERE workspace_id = $1", [
    workspaceId,
  ]);
}

describe("a minute tick with nothing due", () => {
  it("costs one object request, no row and no statement", async () => {
    await anAgent();
    await scheduled({ cron: SWEEP_CRON }, env, true);
    const before = await statements();
    const costs = await costsOf(() => scheduled({ cron: SWEEP_CRON }, env));
    expect(costs.objectRequests).toEqual(["beginSweeps"]);
    expect(totalRows(costs)).toBe(0);
    expect((await statements()) - before).toBe(0);
  });
});

describe("a file that nobody fetched", () => {
  it("expires by the cron when its workspace's alarm was lost, and its sender is told", async () => {
    const agent = await anAgent();
    await upload(agent.id, aFormOf(1));
    await quiet(agent.id);
    await forgetExpiry(agent.id);
    const fired = await call(`/cdn-cgi/handler/scheduled?cron=${encodeURIComponent(SWEEP_CRON)}`);
    expect(fired.status).toBe(200);
    const { body } = await call(`/workspaces/${agent.id}/activity?type=error`, { token: agent.token });
    expect(body).toMatchObject([{ method: "upload_expired", status: "error" }]);
    expect((await poll(agent)).body).toHaveLength(1);
    await until("the ledger says expired", async () => {
      const [row] = await query("SELECT state FROM pending_uploads WHERE workspace_id = $1", [agent.id]);
      return row?.state === "expired";
    });
  });

  it("expires by the daily scrub when nothing else has noticed", async () => {
    const agent = await anAgent();
    await upload(agent.id, aFormOf(1));
    await quiet(agent.id);
    await forgetExpiry(agent.id);
    await scheduled({ cron: DAILY_CRON }, env);
    const { body } = await call(`/workspaces/${agent.id}/activity?type=error`, { token: agent.token });
    expect(body).toHaveLength(1);
  });
});

describe("the daily run", () => {
  it("deletes history older than the retention and keeps the rest", async () => {
    const agent = await anAgent();
    const old = crypto.randomUUID();
    await query(
      `INSERT INTO activity_logs (id, workspace_id, seq, created_at, version) VALUES ($1, $2, 1, now() - interval '91 days', 1)`,
      [old, agent.id],
    );
    await scheduled({ cron: DAILY_CRON }, env);
    expect(await query("SELECT 1 FROM activity_logs WHERE id = $1", [old])).toEqual([]);
  });
});

describe("what the creation of a template left that broke off long ago", () => {
  it("goes with the daily run, and an outage of the bucket ends nothing else", async () => {
    const blobs = env.BLOBS;
    if (blobs === undefined) throw new Error("these tests need the BLOBS binding");
    const attempt: TemplateVersion = {
      kind: "workspace",
      name: crypto.randomUUID(),
      version: `1-${crypto.randomUUID()}`,
    };
    const keys = [openTemplateKey(attempt), `${templateVersionPrefix(attempt)}config.yaml`];
    for (const key of keys) await blobs.put(key, "");
    const away = { list: () => Promise.reject(new Error("the store is away")) };
    await scheduled({ cron: DAILY_CRON }, { ...env, BLOBS: away as unknown as R2Bucket });
    await scheduled({ cron: DAILY_CRON }, { ...env, BLOBS: undefined } as unknown as Env);
    expect((await blobs.head(keys[0] ?? ""))?.size).toBe(0);
    await scheduled({ cron: DAILY_CRON }, env);
    expect(await Promise.all(keys.map((key) => blobs.head(key)))).toEqual([null, null]);
  });
});

describe("a sweep", () => {
  it("goes on behind a workspace that fails, and counts it", async () => {
    const woken: string[] = [];
    const summary = await sweep("test", {
      find: async () => ["a", "b", "c"],
      wake: async (id) => {
        if (id === "b") throw new Error("broken");
        woken.push(id);
      },
      now: () => 5,
    });
    expect(woken).toEqual(["a", "c"]);
    expect(summary).toEqual({ scanned: 3, woken: 2, errors: 1, duration_ms: 0 });
  });

  it("waits for no object longer than its time", async () => {
    const hanging = new Promise<void>(() => undefined);
    expect(await eachAlone(["hangs", "answers"], (id) => (id === "hangs" ? hanging : Promise.resolve()), 5)).toBe(1);
  });

  it("ends quietly when the ledger is away", async () => {
    const summary = await sweep("test", {
      find: () => Promise.reject(new Error("away")),
      wake: async () => undefined,
      now: () => 5,
    });
    expect(summary).toEqual({ scanned: 0, woken: 0, errors: 1, duration_ms: 0 });
  });
});
