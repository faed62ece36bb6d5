/** Every status a workspace can have; database, API and interface share this list. */
export const WORKSPACE_STATUSES = [
  "provisioning",
  "online",
  "offline",
  "degraded",
  "failed",
  "removed",
  "paused",
  "hibernated",
  "awaiting_agent",
  "hibernating",
] as const;

export type WorkspaceStatus = (typeof WORKSPACE_STATUSES)[number];

/** An error rate from which a workspace counts as degraded, and one below which it has recovered. */
export const DEGRADED_ERROR_RATE = 0.5;
export const RECOVERED_ERROR_RATE = 0.1;

const MAX_SIGN_OF_LIFE_AGE_MS = 45_000;

/** An event to record and broadcast; the payload is a JSON text. */
export interface StatusEvent {
  readonly event: "WORKSPACE_ONLINE" | "WORKSPACE_OFFLINE" | "WORKSPACE_DEGRADED";
  readonly payload: string;
}

export interface Transition {
  readonly status: WorkspaceStatus;
  readonly events: readonly StatusEvent[];
}

/** What a registration announces; the card is the JSON text as it was registered. */
export interface Registration {
  readonly url: string | null;
  readonly agentCard: string;
  readonly deliveryMode: "push" | "poll";
}

/**
 * A successful registration brings every workspace online that is not removed. An operator's pause lives as a mark in
 * the Directory and is shown over this status until it is resumed.
 */
export function afterRegistration(status: WorkspaceStatus, registration: Registration): Transition {
  if (status === "removed") return { status, events: [] };
  const { url, agentCard, deliveryMode } = registration;
  const address = url === null ? "" : `"url":${JSON.stringify(url)},`;
  const payload = `{${address}"agent_card":${agentCard},"delivery_mode":"${deliveryMode}"}`;
  return { status: "online", events: [{ event: "WORKSPACE_ONLINE", payload }] };
}

/** What one heartbeat says of the agent's health. */
export interface Beat {
  readonly errorRate: number;
  readonly sampleError: string;
  /** `wedged` degrades; empty allows recovery; any other word has no effect but blocks recovery. */
  readonly runtimeState: string;
}

/**
 * A heartbeat's effect on the status. `managesOwnStatus` is the capability `status_mgmt` of the PREVIOUS beat, which
 * switches both error rate rules off. Paused, hibernated, hibernating, failed and removed workspaces stay so.
 */
export function afterHeartbeat(status: WorkspaceStatus, beat: Beat, managesOwnStatus: boolean): Transition {
  switch (status) {
    case "online":
      return degradation(beat, managesOwnStatus);
    case "degraded":
      return beat.errorRate < RECOVERED_ERROR_RATE && beat.runtimeState === "" && !managesOwnStatus
        ? online({})
        : { status, events: [] };
    case "offline":
      return online({});
    case "provisioning":
    case "awaiting_agent":
      return online({ recovered_from: status });
    case "failed":
    case "removed":
    case "paused":
    case "hibernated":
    case "hibernating":
      return { status, events: [] };
  }
}

/** A wedged agent that also errs tells both, as two events. */
function degradation({ errorRate, sampleError, runtimeState }: Beat, managesOwnStatus: boolean): Transition {
  const reasons: Record<string, unknown>[] = [];
  if (runtimeState === "wedged") reasons.push({ runtime_state: runtimeState });
  if (errorRate >= DEGRADED_ERROR_RATE && !managesOwnStatus) reasons.push({ error_rate: errorRate });
  return {
    status: reasons.length > 0 ? "degraded" : "online",
    events: reasons.map((reason) => ({
      event: "WORKSPACE_DEGRADED",
      payload: JSON.stringify({ ...reason, sample_error: sampleError }),
    })),
  };
}

function online(payload: Record<string, string>): Transition {
  return { status: "online", events: [{ event: "WORKSPACE_ONLINE", payload: JSON.stringify(payload) }] };
}

/** Times in ms since 1970. */
export interface Presence {
  readonly status: WorkspaceStatus;
  /** Runtime `external`: nobody can restart it, so it waits for its agent instead of being offline. */
  readonly external: boolean;
  /** The last stored sign of life, or the time of creation when there never was one. */
  readonly lastSeen: number;
  readonly absentSince: number | null;
}

export interface Silence extends Transition {
  readonly absentSince: number | null;
  /** When to look again; null while silence cannot change anything. */
  readonly nextLookAt: number | null;
}

/**
 * What silence makes of a workspace. Absence is first noted and, half the threshold later, believed, so that one
 * missed beat or a sleeping laptop's first packet does not flap the status. `connected` is an open inbox socket or
 * held poll of the workspace's own token. Only online and degraded workspaces can fall silent.
 */
export function judgeSilence(presence: Presence, connected: boolean, now: number, staleAfterMs: number): Silence {
  const { status, external, lastSeen, absentSince } = presence;
  if (status !== "online" && status !== "degraded") return { status, events: [], absentSince: null, nextLookAt: null };
  const freshUntil = (connected ? now : lastSeen) + staleAfterMs;
  if (now < freshUntil) return { status, events: [], absentSince: null, nextLookAt: freshUntil };
  const noted = absentSince ?? now;
  const believedAt = noted + staleAfterMs / 2;
  if (now < believedAt) return { status, events: [], absentSince: noted, nextLookAt: believedAt };
  return {
    status: external ? "awaiting_agent" : "offline",
    events: [{ event: "WORKSPACE_OFFLINE", payload: "{}" }],
    absentSince: null,
    nextLookAt: null,
  };
}

/** Whether a sign of life is worth a written row: the stored one is old enough to matter to the silence rule. */
export function isSignOfLifeDue(lastSeen: number | null, now: number, staleAfterMs: number): boolean {
  return lastSeen === null || now - lastSeen >= Math.min(MAX_SIGN_OF_LIFE_AGE_MS, staleAfterMs / 2);
}
