import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { Schema } from "../../src/durable-objects/shared/schema.ts";
import { WORKSPACE_SCHEMA } from "../../src/durable-objects/workspace/schema.ts";
import { anAgent, call, poll, tell } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";

const SINCE_THE_FIRST_STEP = `
DROP TABLE delegations;
DROP TABLE received;
DROP TABLE audit;
ALTER TABLE calls DROP COLUMN attempt_id;
ALTER TABLE queue DROP COLUMN attempt_id;
DROP TABLE retries;
ALTER TABLE calls DROP COLUMN activity_seq;
ALTER TABLE queue DROP COLUMN activity_seq;
DROP TABLE lifecycle;
DROP TABLE machines;
DROP TABLE machine_files;
ALTER TABLE workspace DROP COLUMN mark_version;
ALTER TABLE workspace DROP COLUMN workspace_dir;
ALTER TABLE workspace DROP COLUMN workspace_access;
DELETE FROM schema_steps;
INSERT INTO schema_steps (id) VALUES (1);
`;

/** The same storage in a runtime that keeps a history. */
function withBookmark(storage: DurableObjectStorage, getCurrentBookmark: () => Promise<string>): DurableObjectStorage {
  return new Proxy(storage, {
    get(target, name) {
      if (name === "getCurrentBookmark") return getCurrentBookmark;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

describe("the schema of a workspace", () => {
  it("is brought up to date where an earlier version wrote, and no row is lost", async () => {
    const agent = await anAgent();
    const target = await anAgent();
    await tell(agent, "written before");
    await quiet(agent.id);
    await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage }) => {
      storage.transactionSync(() => storage.sql.exec(SINCE_THE_FIRST_STEP));
      expect(new Schema(storage, WORKSPACE_SCHEMA).state).toBe("ready");
      const { last } = storage.sql.exec<{ last: number }>("SELECT max(id) AS last FROM schema_steps").one();
      expect(last).toBe(WORKSPACE_SCHEMA.at(-1)?.id);
    });
    expect((await poll(agent)).body).toHaveLength(1);
    const json = { target_id: target.id, task: "after it" };
    expect((await call(`/workspaces/${agent.id}/delegate`, { json, token: agent.token })).status).toBe(202);
  });

  it("finds a reason for what an earlier version left failed without one, and keeps every other", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    for (const [before, after] of [
      ["", "the reason was not kept"],
      ["no disk", "no disk"],
    ]) {
      await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage }) => {
        storage.transactionSync(() => storage.sql.exec(SINCE_THE_FIRST_STEP));
        storage.sql.exec("UPDATE workspace SET status = 'failed', sample_error = ?", before ?? "");
        expect(new Schema(storage, WORKSPACE_SCHEMA).state).toBe("ready");
        expect(storage.sql.exec("SELECT sample_error FROM workspace").one()).toEqual({ sample_error: after });
      });
    }
  });

  it("keeps a bookmark of before the first step that it applies to rows, where the runtime has bookmarks", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    await runInDurableObject(env.WORKSPACE.getByName(agent.id), async (_instance, { storage }) => {
      const stepBack = () => storage.transactionSync(() => storage.sql.exec(SINCE_THE_FIRST_STEP));
      stepBack();
      const withoutHistory = new Schema(
        withBookmark(storage, () => Promise.reject(new Error("none"))),
        WORKSPACE_SCHEMA,
      );
      expect(withoutHistory.state).toBe("ready");
      await scheduler.wait(1);
      expect(withoutHistory.bookmarks()).toEqual([]);
      stepBack();
      const schema = new Schema(
        withBookmark(storage, () => Promise.resolve("before")),
        WORKSPACE_SCHEMA,
      );
      await scheduler.wait(1);
      expect(schema.bookmarks()).toEqual([{ step: 2, bookmark: "before" }]);
    });
  });

  it("counts as absent between its preparation and its end, also to whoever looks anew", async () => {
    const workspace = env.WORKSPACE.getByName(crypto.randomUUID());
    await runInDurableObject(workspace, async (_instance, { storage }) => {
      const schema = new Schema(storage, WORKSPACE_SCHEMA);
      expect([schema.hasTables, schema.isUnfinished]).toEqual([false, false]);
      schema.prepare();
      expect([schema.state, schema.hasTables, schema.isUnfinished]).toEqual(["absent", true, true]);
      expect(new Schema(storage, WORKSPACE_SCHEMA).state).toBe("absent");
      expect(() => schema.create()).toThrow("already exists");
      schema.finish();
      expect(schema.state).toBe("ready");
      schema.reload();
      expect(schema.state).toBe("ready");
      await storage.deleteAll();
    });
  });

  it("is not touched where a later version wrote", async () => {
    const agent = await anAgent();
    await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage }) => {
      storage.sql.exec("INSERT INTO schema_steps (id) VALUES (99)");
      expect(new Schema(storage, WORKSPACE_SCHEMA).state).toBe("ahead");
      storage.sql.exec("DELETE FROM schema_steps WHERE id = 99");
    });
  });
});
