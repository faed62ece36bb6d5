import { env, evictDurableObject, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { timestampToMicros } from "../../src/domain/activity.ts";
import { type Agent, anAgent, call, poll, tell } from "../support/platform.ts";
import { quiet } from "../support/quiet.ts";
import { until } from "../support/until.ts";

const DAY = 24 * 60 * 60_000;
const ZERO_UUID = "00000000-0000-0000-0000-000000000000";
const GONE =
  "since_id cursor not found (row may have been pruned or belongs to a different workspace); omit since_id to reset";

afterEach(() => {
  vi.useRealTimers();
});

interface Row {
  readonly id: string;
  readonly seq: number;
  readonly created_at: string;
}

async function rowsOf(agent: Agent, query: Record<string, string> = {}): Promise<Row[]> {
  const { status, body, text } = await poll(agent, query);
  if (status !== 200) throw new Error(`poll answered ${status}: ${text}`);
  return body;
}

/** An agent with `count` messages, oldest first. */
async function anAgentWithMail(count: number): Promise<{ agent: Agent; rows: Row[] }> {
  const agent = await anAgent();
  for (let number = 0; number < count; number++) await tell(agent, `message ${number}`);
  return { agent, rows: (await rowsOf(agent)).toReversed() };
}

function ids(rows: readonly Row[]): string[] {
  return rows.map(({ id }) => id);
}

function workspaceOf({ id }: Agent) {
  return env.WORKSPACE.get(env.WORKSPACE.idFromName(id));
}

describe("a cursor", () => {
  it("is answered with what came after it, oldest first", async () => {
    const { agent, rows } = await anAgentWithMail(3);
    expect(await rowsOf(agent, { since_id: rows[0]?.id ?? "" })).toEqual(rows.slice(1));
    expect(await rowsOf(agent, { since_id: rows[2]?.id ?? "" })).toEqual([]);
  });

  it("walks the whole feed at any page size without loss or repetition", async () => {
    const { agent, rows } = await anAgentWithMail(11);
    for (const limit of ["1", "2", "3", "10", "500"]) {
      const seen: Row[] = rows.slice(0, 1);
      for (let page = seen; page.length > 0; ) {
        page = await rowsOf(agent, { limit, since_id: seen.at(-1)?.id ?? "" });
        seen.push(...page);
      }
      expect(seen).toEqual(rows);
    }
  });

  it("may be a row that the query's filters leave out", async () => {
    const { agent, rows } = await anAgentWithMail(1);
    await call(`/workspaces/${agent.id}/activity`, { token: agent.token, json: { activity_type: "agent_log" } });
    const [own] = await rowsOf(agent, { type: "agent_log" });
    await tell(agent, "after the report");
    expect(await rowsOf(agent, { since_id: own?.id ?? "" })).toHaveLength(1);
    expect(await rowsOf(agent, { since_id: rows[0]?.id ?? "", source: "agent", direction: "in" })).toEqual([]);
  });

  it("may be written in upper case; any other text is 410, and so is a seq", async () => {
    const { agent, rows } = await anAgentWithMail(2);
    const [first] = rows;
    expect(await rowsOf(agent, { since_id: first?.id.toUpperCase() ?? "" })).toHaveLength(1);
    for (const since_id of [ZERO_UUID, crypto.randomUUID(), agent.id, String(first?.seq), "abc", " ", "null"]) {
      expect(await poll(agent, { since_id }), since_id).toMatchObject({ status: 410, body: { error: GONE } });
    }
    expect(await rowsOf(agent, { since_id: "" })).toHaveLength(2);
  });

  it("of another workspace, or one that was made up, is 410", async () => {
    const [{ agent, rows }, other] = await Promise.all([anAgentWithMail(1), anAgentWithMail(1)]);
    const [mine, theirs] = [rows[0]?.id ?? "", other.rows[0]?.id ?? ""];
    expect(await poll(agent, { since_id: theirs })).toMatchObject({ status: 410, body: { error: GONE } });
    const ahead = `00000000-0000-8fff${mine.slice(18)}`;
    expect((await poll(agent, { since_id: ahead })).status).toBe(410);
    const tampered = mine.slice(0, -1) + (mine.endsWith("0") ? "1" : "0");
    expect((await poll(agent, { since_id: tampered })).status).toBe(410);
  });

  it("of an unknown workspace finds nothing for an operator", async () => {
    expect((await call(`/workspaces/${crypto.randomUUID()}/activity?since_id=${ZERO_UUID}`)).body).toEqual([]);
  });

  it("still holds after its row was pruned, and after an eviction", async () => {
    const { agent, rows } = await anAgentWithMail(3);
    const last = rows[2]?.id ?? "";
    await rowsOf(agent, { since_id: last });
    await prune(agent, 8 * DAY);
    expect(await rowsOf(agent)).toEqual([]);
    await tell(agent, "a week later");
    await evictDurableObject(workspaceOf(agent));
    for (const { id } of rows) expect(await rowsOf(agent, { since_id: id })).toHaveLength(1);
  });

  it("before something that nobody read and that is really gone is 410", async () => {
    const { agent, rows } = await anAgentWithMail(3);
    const [first, , last] = rows;
    await rowsOf(agent, { since_id: first?.id ?? "" });
    await prune(agent, 31 * DAY);
    await tell(agent, "a month later");
    expect((await poll(agent, { since_id: first?.id ?? "" })).status).toBe(410);
    expect(await rowsOf(agent, { since_id: last?.id ?? "" })).toHaveLength(1);
  });

  it("stays strict when the clock jumps back", async () => {
    const agent = await anAgent();
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
    await tell(agent, "from the future");
    vi.useRealTimers();
    await tell(agent, "from now");
    const [second, first] = await rowsOf(agent);
    const micros = (row?: Row) => timestampToMicros(row?.created_at ?? "") ?? 0;
    expect(micros(second)).toBeGreaterThan(micros(first));
    expect(await rowsOf(agent, { since_id: first?.id ?? "" })).toEqual([second]);
  });
});

describe("the checks of a query", () => {
  it("come in the contract's order, each with its text", async () => {
    const agent = await anAgent();
    const bad = {
      peer_id: ["x", "peer_id must be a UUID"],
      before_ts: ["x", "before_ts must be an RFC3339 timestamp (e.g. 2026-05-01T00:00:00Z)"],
      since_secs: ["0", "since_secs must be a positive integer"],
      source: ["x", "source must be 'canvas' or 'agent'"],
      wait: ["x", "wait must be a whole number of seconds"],
      from: ["x", "from must be 'ack'"],
      direction: ["out", "direction must be 'in'"],
    } as const;
    const left = Object.entries(bad);
    while (left.length > 0) {
      const query = Object.fromEntries(left.map(([name, [value]]) => [name, value]));
      expect(await poll(agent, query)).toMatchObject({ status: 400, body: { error: left[0]?.[1][1] } });
      left.shift();
    }
    for (const since_secs of ["-1", "1.5", "+5", "0x10"]) expect((await poll(agent, { since_secs })).status).toBe(400);
    expect((await poll(agent, { since_secs: "99999999999999999999" })).status).toBe(200);
  });

  it("take an empty value for an absent one, and unknown parameters for nothing", async () => {
    const { agent } = await anAgentWithMail(1);
    const empty = {
      source: "",
      since_secs: "",
      since_id: "",
      peer_id: "",
      before_ts: "",
      limit: "",
      wait: "",
      ack: "",
    };
    expect(
      await rowsOf(agent, { ...empty, from: "", direction: "", include: "everything", colour: "red" }),
    ).toHaveLength(1);
  });
});

describe("the limit", () => {
  it("is 100 by default and for a bad value, and 500 at most", async () => {
    const agent = await anAgent();
    await runInDurableObject(workspaceOf(agent), async (instance) => {
      for (let number = 0; number < 510; number++) {
        await instance.reportActivity({
          access: { kind: "admin" },
          row: { activityType: "a2a_receive", requestBody: null, status: "ok" },
        });
      }
    });
    for (const [limit, count] of [
      ["", 100],
      ["0", 100],
      ["-1", 100],
      ["abc", 100],
      ["1.5", 100],
      ["7", 7],
      ["500", 500],
      ["9999", 500],
      ["9".repeat(400), 500],
    ] as const) {
      expect(await rowsOf(agent, { limit }), limit).toHaveLength(count);
    }
  }, 60_000);
});

describe("the delivery watermark", () => {
  const ack = (agent: Agent, json: unknown) =>
    call(`/workspaces/${agent.id}/activity/ack`, { token: agent.token, json });

  it("is moved by POST ack with a seq or an id, clamped to the head, never back", async () => {
    const { agent, rows } = await anAgentWithMail(3);
    const [one, two, three] = rows.map(({ seq }) => seq);
    expect((await ack(agent, { acked_seq: two })).body).toEqual({ last_acked_seq: two });
    expect((await ack(agent, { acked_seq: one })).body).toEqual({ last_acked_seq: two });
    expect((await ack(agent, { acked_seq: 0 })).body).toEqual({ last_acked_seq: two });
    expect((await ack(agent, { id: crypto.randomUUID() })).body).toEqual({ last_acked_seq: two });
    expect((await ack(agent, { id: rows[2]?.id })).body).toEqual({ last_acked_seq: three });
    expect((await ack(agent, { acked_seq: Number.MAX_SAFE_INTEGER })).body).toEqual({ last_acked_seq: three });
    for (const acked_seq of [1.5, "1", 2 ** 60]) expect((await ack(agent, { acked_seq })).status).toBe(400);
  });

  it("is moved by ?ack in the poll that asks for more, and ?from=ack starts there, oldest first", async () => {
    const { agent, rows } = await anAgentWithMail(3);
    expect(await rowsOf(agent, { from: "ack" })).toEqual(rows);
    expect(await rowsOf(agent, { from: "ack", ack: rows[0]?.id ?? "" })).toEqual(rows.slice(1));
    expect(await rowsOf(agent, { from: "ack" })).toEqual(rows.slice(1));
    for (const unknown of [ZERO_UUID, "abc", rows[0]?.id ?? ""]) {
      expect(await rowsOf(agent, { from: "ack", ack: unknown })).toEqual(rows.slice(1));
    }
    expect(await rowsOf(agent, { from: "ack", since_id: rows[1]?.id ?? "" })).toEqual(rows.slice(2));
  });

  it("is not moved by reading, and not by a poll that is refused", async () => {
    const { agent, rows } = await anAgentWithMail(2);
    await rowsOf(agent, { since_id: rows[0]?.id ?? "" });
    expect((await poll(agent, { since_id: ZERO_UUID, ack: rows[1]?.id ?? "" })).status).toBe(410);
    expect(ids(await rowsOf(agent, { from: "ack" }))).toEqual(ids(rows));
  });
});

/** Moves the clock and lets the object's own alarm prune what is old. */
async function prune(agent: Agent, later: number): Promise<void> {
  await quiet(agent.id);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + later });
  await until("the rows are pruned", () =>
    runInDurableObject(workspaceOf(agent), async (instance, { storage: { sql } }) => {
      await instance.wake();
      return sql.exec<{ rows: number }>("SELECT count(*) AS rows FROM activity").one().rows === 0;
    }),
  );
  vi.useRealTimers();
}
