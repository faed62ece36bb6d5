import { env, runInDurableObject } from "cloudflare:test";
import { describe, expect, it } from "vitest";
import { InboxStore } from "../../src/durable-objects/workspace/inbox-store.ts";
import { anAgent, call, poll, tell } from "../support/platform.ts";

const KIB = 1024;

describe("a page of large rows", () => {
  it("has every one of the newest rows, however large they are: a poller's first look misses nothing", async () => {
    const agent = await anAgent();
    const texts = Array.from({ length: 9 }, (_, index) => String(index).repeat(400 * KIB));
    for (const text of texts) await tell(agent, text);
    for (const query of [{ since_secs: "600" }, {}, { include: "peer_info" }, { wait: "1" }] as Record<
      string,
      string
    >[]) {
      const { body } = await poll(agent, query);
      expect(body.map((row: Row) => textOf(row).slice(0, 1)).join("")).toBe("876543210");
    }
    expect((await poll(agent, { limit: "4" })).body.map((row: Row) => textOf(row).length)).toEqual(
      Array(4).fill(400 * KIB),
    );
    const [newest] = (await poll(agent, { since_secs: "600" })).body;
    expect((await poll(agent, { since_id: newest.id })).body).toEqual([]);
  });

  it("has them also between rows whose bodies lie in the bucket", async () => {
    const agent = await anAgent();
    for (const [index, size] of [700, 400, 400, 400, 700, 1].entries())
      await tell(agent, String(index).repeat(size * KIB));
    const { body } = await poll(agent, { since_secs: "600" });
    expect(body.map((row: Row) => textOf(row).slice(0, 1)).join("")).toBe("543210");
  });

  it("is cut upwards, and who goes on from its last row reads the rest, each once", async () => {
    const agent = await anAgent();
    const first = (await tell(agent, "first")).body.activity_id as string | undefined;
    const [start] = (await poll(agent)).body;
    for (let index = 0; index < 7; index += 1) await tell(agent, String(index).repeat(400 * KIB));
    const read: string[] = [];
    let cursor: string = first ?? start.id;
    for (;;) {
      const { body } = await poll(agent, { since_id: cursor });
      if (body.length === 0) break;
      expect(body.length).toBeLessThan(7);
      read.push(...body.map((row: Row) => textOf(row).slice(0, 1)));
      cursor = body.at(-1).id;
    }
    expect(read.join("")).toBe("0123456");
  });
});

describe("what an agent says of itself", () => {
  it("counts in bytes towards a flush's 4 MiB, whichever of its texts is long", async () => {
    const agent = await anAgent();
    const text = "€".repeat(300_000);
    for (const field of ["summary", "error_detail"]) {
      const json = { activity_type: "agent_log", [field]: text };
      expect((await call(`/workspaces/${agent.id}/activity`, { json, token: agent.token })).status).toBe(200);
    }
    const pending = await runInDurableObject(env.WORKSPACE.getByName(agent.id), (_instance, { storage: { sql } }) => {
      const unused = () => expect.unreachable();
      return new InboxStore(sql, unused, unused, unused).mirror().pending(0, 10);
    });
    expect(pending).toHaveLength(2);
    for (const { bytes } of pending) expect(bytes).toBeGreaterThan(900_000);
  });

  it("has no word of over 1,024 characters for its method or status", async () => {
    const agent = await anAgent();
    for (const field of ["method", "status"]) {
      const json = { activity_type: "agent_log", [field]: "m".repeat(1_025) };
      const answer = await call(`/workspaces/${agent.id}/activity`, { json, token: agent.token });
      expect(answer, field).toMatchObject({ status: 400, body: { error: "invalid request body" } });
    }
  });
});

interface Row {
  readonly request_body: { readonly params: { readonly message: { readonly parts: readonly { text: string }[] } } };
}

function textOf({ request_body }: Row): string {
  return request_body.params.message.parts[0]?.text ?? "";
}
