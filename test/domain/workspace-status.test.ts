import { describe, expect, it } from "vitest";
import {
  afterHeartbeat,
  afterRegistration,
  type Beat,
  isSignOfLifeDue,
  judgeSilence,
  WORKSPACE_STATUSES,
  type WorkspaceStatus,
} from "../../src/domain/workspace-status.ts";

const WELL: Beat = { errorRate: 0, sampleError: "", runtimeState: "" };
const UNMOVED: readonly WorkspaceStatus[] = ["failed", "removed", "paused", "hibernated", "hibernating"];
const STALE_MS = 90_000;
const NOW = 1_000_000_000;

const events = (...list: [string, object][]) =>
  list.map(([event, payload]) => ({ event, payload: JSON.stringify(payload) }));

it("has ten statuses", () => {
  expect(new Set(WORKSPACE_STATUSES).size).toBe(10);
});

describe("a registration", () => {
  const registration = {
    url: "https://a.example",
    agentCard: '{"n":12345678901234567890}',
    deliveryMode: "push",
  } as const;

  it.each(WORKSPACE_STATUSES.filter((status) => status !== "removed"))(
    "brings a workspace online that was %s",
    (status) => {
      expect(afterRegistration(status, registration)).toEqual({
        status: "online",
        events: [
          {
            event: "WORKSPACE_ONLINE",
            payload: '{"url":"https://a.example","agent_card":{"n":12345678901234567890},"delivery_mode":"push"}',
          },
        ],
      });
    },
  );

  it("names no url when there is none", () => {
    const transition = afterRegistration("online", { url: null, agentCard: "null", deliveryMode: "poll" });
    expect(transition.events[0]?.payload).toBe('{"agent_card":null,"delivery_mode":"poll"}');
  });

  it("revives no removed workspace", () => {
    expect(afterRegistration("removed", registration)).toEqual({ status: "removed", events: [] });
  });
});

describe("a heartbeat", () => {
  it.each<[string, WorkspaceStatus, Partial<Beat>, boolean, WorkspaceStatus, [string, object][]]>([
    ["leaves a healthy workspace online", "online", {}, false, "online", []],
    ["below half errors changes nothing", "online", { errorRate: 0.49 }, false, "online", []],
    [
      "with half errors degrades",
      "online",
      { errorRate: 0.5, sampleError: "E" },
      false,
      "degraded",
      [["WORKSPACE_DEGRADED", { error_rate: 0.5, sample_error: "E" }]],
    ],
    [
      "of a wedged runtime degrades",
      "online",
      { runtimeState: "wedged", sampleError: "E" },
      true,
      "degraded",
      [["WORKSPACE_DEGRADED", { runtime_state: "wedged", sample_error: "E" }]],
    ],
    [
      "with both tells both",
      "online",
      { runtimeState: "wedged", errorRate: 1, sampleError: "E" },
      false,
      "degraded",
      [
        ["WORKSPACE_DEGRADED", { runtime_state: "wedged", sample_error: "E" }],
        ["WORKSPACE_DEGRADED", { error_rate: 1, sample_error: "E" }],
      ],
    ],
    [
      "of an agent that manages its own status does not degrade by errors",
      "online",
      { errorRate: 1 },
      true,
      "online",
      [],
    ],
    ["with an unknown runtime state changes nothing", "online", { runtimeState: "dizzy" }, false, "online", []],
    ["without errors ends a degradation", "degraded", { errorRate: 0.09 }, false, "online", [["WORKSPACE_ONLINE", {}]]],
    ["with a tenth of errors does not", "degraded", { errorRate: 0.1 }, false, "degraded", []],
    ["with any runtime state does not", "degraded", { runtimeState: "dizzy" }, false, "degraded", []],
    ["of an agent that manages its own status does not either", "degraded", {}, true, "degraded", []],
    ["brings back what was offline", "offline", {}, false, "online", [["WORKSPACE_ONLINE", {}]]],
    [
      "tells what it came from when it was provisioning",
      "provisioning",
      {},
      false,
      "online",
      [["WORKSPACE_ONLINE", { recovered_from: "provisioning" }]],
    ],
    [
      "tells what it came from when its agent was awaited",
      "awaiting_agent",
      {},
      false,
      "online",
      [["WORKSPACE_ONLINE", { recovered_from: "awaiting_agent" }]],
    ],
    ...UNMOVED.map((status): [string, WorkspaceStatus, Partial<Beat>, boolean, WorkspaceStatus, []] => [
      `leaves a ${status} workspace ${status}`,
      status,
      { errorRate: 1, runtimeState: "wedged" },
      false,
      status,
      [],
    ]),
  ])("%s", (_, status, beat, managesOwnStatus, next, expected) => {
    expect(afterHeartbeat(status, { ...WELL, ...beat }, managesOwnStatus)).toEqual({
      status: next,
      events: events(...expected),
    });
  });
});

describe("silence", () => {
  const present = { status: "online", external: true, lastSeen: NOW, absentSince: null } as const;

  it("means nothing before the threshold, and clears a noted absence", () => {
    expect(judgeSilence({ ...present, absentSince: NOW - 1 }, false, NOW + STALE_MS - 1, STALE_MS)).toEqual({
      status: "online",
      events: [],
      absentSince: null,
      nextLookAt: NOW + STALE_MS,
    });
  });

  it("is first noted, then believed half the threshold later", () => {
    const noticed = NOW + STALE_MS;
    const first = judgeSilence(present, false, noticed, STALE_MS);
    expect(first).toEqual({ status: "online", events: [], absentSince: noticed, nextLookAt: noticed + STALE_MS / 2 });
    const { absentSince } = first;
    expect(judgeSilence({ ...present, absentSince }, false, noticed + 1, STALE_MS)).toEqual(first);
    expect(judgeSilence({ ...present, absentSince }, false, noticed + STALE_MS / 2, STALE_MS)).toEqual({
      status: "awaiting_agent",
      events: events(["WORKSPACE_OFFLINE", {}]),
      absentSince: null,
      nextLookAt: null,
    });
  });

  it("takes a workspace of the platform's own offline, degraded ones too", () => {
    const gone = { status: "degraded", external: false, lastSeen: 0, absentSince: 1 } as const;
    expect(judgeSilence(gone, false, NOW, STALE_MS).status).toBe("offline");
  });

  it("is no silence while a socket is open", () => {
    const quiet = { ...present, lastSeen: 0, absentSince: 1 };
    expect(judgeSilence(quiet, true, NOW, STALE_MS)).toEqual({
      status: "online",
      events: [],
      absentSince: null,
      nextLookAt: NOW + STALE_MS,
    });
  });

  it.each(WORKSPACE_STATUSES.filter((status) => status !== "online" && status !== "degraded"))(
    "never moves a workspace that is %s",
    (status) => {
      expect(judgeSilence({ status, external: false, lastSeen: 0, absentSince: 1 }, false, NOW, STALE_MS)).toEqual({
        status,
        events: [],
        absentSince: null,
        nextLookAt: null,
      });
    },
  );
});

it.each([
  [null, STALE_MS, true],
  [NOW - 44_999, STALE_MS, false],
  [NOW - 45_000, STALE_MS, true],
  [NOW - 45_000, 600_000, true],
  [NOW - 4_999, 10_000, false],
  [NOW - 5_000, 10_000, true],
])("last seen at %s with a threshold of %d ms, a sign of life is written: %s", (lastSeen, staleAfterMs, due) => {
  expect(isSignOfLifeDue(lastSeen, NOW, staleAfterMs)).toBe(due);
});
