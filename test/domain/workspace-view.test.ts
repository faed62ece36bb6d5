import { describe, expect, it } from "vitest";
import { listEntryJson, peerJson, publicViewJson, type WorkspaceFacts } from "../../src/domain/workspace-view.ts";

const NOW = Date.UTC(2026, 10, 20, 12);
const LIMIT = () => 600_000;

function facts(more: Partial<WorkspaceFacts> = {}): WorkspaceFacts {
  return {
    id: "7c1d0b1e-3f53-4c0e-8d75-4a1f0a3f6a01",
    name: "scribe",
    role: "writer",
    tier: 2,
    runtime: "external",
    parent_id: "0e4f7a52-9d11-4a57-b6a4-1f2f7d1f3b02",
    workspace_dir: "/home/scribe",
    budget_limit: 5_000,
    max_concurrent_tasks: 3,
    x: 1.5,
    y: -2,
    collapsed: 1,
    status: "online",
    url: "https://agent.example.com",
    agent_card: '{"z":12345678901234567890,"a":1}',
    active_tasks: 1,
    current_task: "writing",
    error_rate: 0.25,
    sample_error: "late",
    started_at: NOW - 61_900,
    monthly_spend: 40,
    last_outbound_at: NOW - 1_500,
    ...more,
  };
}

/** A workspace of which nothing is known but that it is there. */
const BARE = facts({
  role: null,
  parent_id: null,
  workspace_dir: null,
  budget_limit: null,
  collapsed: 0,
  url: null,
  agent_card: null,
  started_at: null,
  last_outbound_at: null,
});

describe("a list entry", () => {
  it("shows everything, uptime in whole seconds", () => {
    expect(JSON.parse(listEntryJson(facts(), NOW, LIMIT))).toEqual({
      id: facts().id,
      name: "scribe",
      role: "writer",
      tier: 2,
      status: "online",
      url: "https://agent.example.com",
      parent_id: facts().parent_id,
      runtime: "external",
      active_tasks: 1,
      max_concurrent_tasks: 3,
      uptime_seconds: 61,
      last_error_rate: 0.25,
      x: 1.5,
      y: -2,
      collapsed: true,
      budget_limit: 5_000,
      monthly_spend: 40,
      current_task: "writing",
      last_sample_error: "late",
      workspace_dir: "/home/scribe",
      agent_card: { z: expect.any(Number), a: 1 },
    });
  });

  it("has the empty text for a missing url, null for what may be missing, and no uptime without a start", () => {
    expect(JSON.parse(listEntryJson(BARE, NOW, LIMIT))).toMatchObject({
      url: "",
      role: null,
      parent_id: null,
      workspace_dir: null,
      budget_limit: null,
      agent_card: null,
      collapsed: false,
      uptime_seconds: 0,
    });
  });

  it("shows how long a start may take by its runtime, and nothing of that for an external workspace", () => {
    const limit = (runtime: string) => (runtime === "hermes" ? 1_800_000 : 600_000);
    for (const viewOf of [listEntryJson, publicViewJson]) {
      const shown = (runtime: string) => JSON.parse(viewOf(facts({ runtime }), NOW, limit)).provision_timeout_ms;
      expect([shown("hermes"), shown("codex"), shown("external")]).toEqual([1_800_000, 600_000, undefined]);
    }
  });

  it("never counts a start in the future", () => {
    expect(JSON.parse(listEntryJson(facts({ started_at: NOW + 60_000 }), NOW, LIMIT)).uptime_seconds).toBe(0);
  });

  it("keeps the card's text, big integers and order of keys included", () => {
    for (const view of [listEntryJson(facts(), NOW, LIMIT), publicViewJson(facts(), NOW, LIMIT), peerJson(facts())]) {
      expect(view).toContain('"agent_card":{"z":12345678901234567890,"a":1}}');
    }
  });
});

describe("the public view", () => {
  it("tells no money, no task, no error and no path, but when the workspace last spoke", () => {
    const view = JSON.parse(publicViewJson(facts(), NOW, LIMIT));
    for (const key of ["budget_limit", "monthly_spend", "current_task", "last_sample_error", "workspace_dir"]) {
      expect(view).not.toHaveProperty(key);
    }
    expect(view.last_outbound_at).toBe("2026-11-20T11:59:58.5Z");
    expect(JSON.parse(publicViewJson(BARE, NOW, LIMIT)).last_outbound_at).toBeNull();
  });
});

describe("a peer", () => {
  it("is what one workspace needs to know of another", () => {
    expect(Object.keys(JSON.parse(peerJson(facts())))).toEqual([
      "id",
      "name",
      "role",
      "tier",
      "status",
      "url",
      "parent_id",
      "active_tasks",
      "agent_card",
    ]);
    expect(JSON.parse(peerJson(BARE))).toMatchObject({ url: "", role: null, parent_id: null, agent_card: null });
  });
});
