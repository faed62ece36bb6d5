import { env, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it } from "vitest";
import { away, back, query, statements } from "./support/ledger.ts";
import { aFormOf, upload } from "./support/parcel-post.ts";
import { anAgent, call, poll, tell } from "./support/platform.ts";
import { quiet } from "./support/quiet.ts";
import { until } from "./support/until.ts";

afterEach(() => back());

/** Ends the back-off of an object's flush, as time would. */
async function flushNow(stub: DurableObjectStub<undefined>): Promise<void> {
  await runInDurableObject(stub, (_instance, { storage }) => {
    storage.sql.exec("UPDATE flush_state SET retry_at = 0");
  });
  await runDurableObjectAlarm(stub);
}

describe("while Postgres is away", () => {
  it.each(["away", "hang"] as const)(
    "(%s) everything but search and admin lists works, and nothing is lost",
    async (mode) => {
      await away(undefined, mode);
      const created = await call("/workspaces", {
        json: { name: `made while ${mode} ${crypto.randomUUID()}`, runtime: "external" },
      });
      expect(created.status).toBe(201);
      const agent = { id: created.body.id, token: created.body.connection.auth_token };
      const registered = await call("/registry/register", {
        token: agent.token,
        json: { id: agent.id, delivery_mode: "poll", agent_card: {} },
      });
      expect(registered.status).toBe(200);
      expect((await tell(agent, "hello")).status).toBe(200);
      const { body } = await upload(agent.id, aFormOf(2));
      expect(body.files).toHaveLength(2);
      const file = `/workspaces/${agent.id}/pending-uploads/${body.files[0].uri.split("/").at(-1)}`;
      expect((await call(`${file}/content`, { token: agent.token })).status).toBe(200);
      expect((await call(`${file}/ack`, { method: "POST", token: agent.token })).status).toBe(200);
      expect((await poll(agent)).body).toHaveLength(3);
      expect((await call("/workspaces")).status).toBe(200);
      expect((await call(`/workspaces/${agent.id}`)).status).toBe(200);
      if (mode === "away") {
        for (const path of [`/workspaces/${agent.id}/session-search`, "/admin/pending-uploads", "/metrics"]) {
          expect(await call(path)).toMatchObject({ status: 503, body: { code: "platform_unavailable" } });
        }
        expect(await call("/readyz")).toMatchObject({ status: 200, body: { status: "degraded" } });
      }

      await back();
      const workspace = env.WORKSPACE.get(env.WORKSPACE.idFromName(agent.id));
      const directory = env.DIRECTORY.get(env.DIRECTORY.idFromName("default"));
      await until("the ledger has every row", async () => {
        await flushNow(workspace as unknown as DurableObjectStub<undefined>);
        await flushNow(directory as unknown as DurableObjectStub<undefined>);
        const rows = await query("SELECT method FROM activity_logs WHERE workspace_id = $1", [agent.id]);
        const known = await query("SELECT id FROM workspaces WHERE id = $1", [agent.id]);
        return rows.length === 3 && known.length === 1;
      });
      const uploads = await query("SELECT state FROM pending_uploads WHERE workspace_id = $1 ORDER BY state", [
        agent.id,
      ]);
      expect(uploads).toEqual([{ state: "acked" }, { state: "staged" }]);
      await quiet(agent.id);
    },
  );
});

describe("a row that Postgres refuses", () => {
  it("holds nothing up, is set aside with its error, and stands in the ledger without its texts", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    const workspace = env.WORKSPACE.get(env.WORKSPACE.idFromName(agent.id));
    await tell(agent, "before");
    // No request can write such a row: the door refuses it. So a fault is put into the object's own table.
    await runInDurableObject(workspace, (_instance, { storage }) => {
      storage.sql.exec("UPDATE activity SET duration_ms = 9999999999 WHERE seq = (SELECT max(seq) FROM activity)");
      storage.sql.exec("UPDATE flush_state SET flushed_through = 0");
    });
    await tell(agent, "after");
    await until("both rows are in the ledger", async () => {
      const rows = await query("SELECT summary, version FROM activity_logs WHERE workspace_id = $1 ORDER BY seq", [
        agent.id,
      ]);
      return rows.length === 2 && rows[1]?.summary !== null;
    });
    const aside = await runInDurableObject(workspace, (_instance, { storage }) =>
      storage.sql.exec("SELECT ledger, sqlstate FROM flush_set_aside").toArray(),
    );
    expect(aside).toEqual([{ ledger: "activity_logs", sqlstate: "22003" }]);
    expect((await poll(agent)).body).toHaveLength(2);
  });
});

describe("the ledger", () => {
  it("gets a burst of messages in few statements and each exactly once", async () => {
    const agent = await anAgent();
    await quiet(agent.id);
    const before = await statements();
    await Promise.all(Array.from({ length: 50 }, (_, index) => tell(agent, `message ${index}`)));
    await quiet(agent.id);
    expect((await statements()) - before).toBeLessThan(50);
    const [{ rows } = { rows: 0 }] = await query(
      "SELECT count(*)::int AS rows FROM activity_logs WHERE workspace_id = $1",
      [agent.id],
    );
    expect(rows).toBe(50);
  });

  it("finds words in the history by session-search, newest first", async () => {
    const agent = await anAgent();
    await tell(agent, "the needle in the haystack");
    await tell(agent, "nothing here");
    await quiet(agent.id);
    const { status, body } = await call(`/workspaces/${agent.id}/session-search?q=NEEDLE`, { token: agent.token });
    expect(status).toBe(200);
    expect(body).toHaveLength(1);
    expect(body[0]).toMatchObject({ kind: "activity", workspace_id: agent.id, method: "message/send" });
    const all = await call(`/workspaces/${agent.id}/session-search`, { token: agent.token });
    expect(all.body).toHaveLength(2);
    expect(all.body[0].request_body.params.message.parts[0].text).toBe("nothing here");
  });
});
