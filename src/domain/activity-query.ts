import { timestampToMicros } from "./activity.ts";
import { Refusal } from "./refusal.ts";
import { canonicalWorkspaceId, type WorkspaceId } from "./workspace-id.ts";

export const DEFAULT_LIMIT_ROWS = 100;
export const MAX_LIMIT_ROWS = 500;
export const MAX_SINCE_SECONDS = 2_592_000;
export const MAX_WAIT_SECONDS = 25;
/** No type and no id is longer. What is cut off here matches as little as the whole, and a held poll can keep it. */
const MAX_TEXT_CHARACTERS = 128;

/** What a reader of the feed asks for; null means that the filter was not given. All filters hold together. */
export interface ActivityQuery {
  readonly type: string | null;
  readonly source: "canvas" | "agent" | null;
  readonly limit: number;
  readonly sinceSeconds: number | null;
  /** As sent; only the workspace's own `RowIds` can tell whether it is a cursor. */
  readonly sinceId: string | null;
  /** Matches the source or the target of a row. */
  readonly peerId: WorkspaceId | null;
  /** Rows strictly older than this. */
  readonly beforeMicros: number | null;
  readonly includePeerInfo: boolean;
  /** How long the poll may be held when there is nothing to say. */
  readonly waitSeconds: number;
  readonly ackId: string | null;
  /** Start after the last acknowledged row; a `since_id` in the same query is more exact and wins. */
  readonly fromAck: boolean;
  /** Hide what the workspace wrote itself. */
  readonly inboundOnly: boolean;
}

/**
 * Reads the query of `GET /workspaces/:id/activity`, refusing in the contract's order: peer_id, before_ts, since_secs,
 * source, then our own additions. An empty value counts as absent, the first of several counts. `prefer` is the
 * Prefer header, whose `wait` yields to the one in the query.
 */
export function parseActivityQuery(params: URLSearchParams, prefer: string | null = null): ActivityQuery {
  const value = (name: string) => params.get(name) || null;
  const text = (name: string) => value(name)?.slice(0, MAX_TEXT_CHARACTERS) ?? null;
  const peerId = valid(value("peer_id"), canonicalWorkspaceId, "activity.invalid_peer_id");
  const beforeMicros = valid(value("before_ts"), timestampToMicros, "activity.invalid_before_ts");
  const sinceSeconds = valid(value("since_secs"), positiveInteger, "activity.invalid_since_secs");
  const source = valid(value("source"), oneOf("canvas", "agent"), "activity.invalid_source");
  const wait = valid(value("wait"), naturalNumber, "activity.invalid_wait");
  const from = valid(value("from"), oneOf("ack"), "activity.invalid_from");
  const direction = valid(value("direction"), oneOf("in"), "activity.invalid_direction");
  const sinceId = text("since_id");
  return {
    type: text("type"),
    source,
    limit: Math.min(positiveInteger(value("limit") ?? "") ?? DEFAULT_LIMIT_ROWS, MAX_LIMIT_ROWS),
    sinceSeconds: sinceSeconds === null ? null : Math.min(sinceSeconds, MAX_SINCE_SECONDS),
    sinceId,
    peerId,
    beforeMicros,
    includePeerInfo: (value("include") ?? "").split(",").some((word) => word.trim() === "peer_info"),
    waitSeconds: Math.min(wait ?? preferredWaitSeconds(prefer), MAX_WAIT_SECONDS),
    ackId: text("ack"),
    fromAck: from !== null && sinceId === null,
    inboundOnly: direction !== null,
  };
}

type QueryRefusal =
  | "activity.invalid_peer_id"
  | "activity.invalid_before_ts"
  | "activity.invalid_since_secs"
  | "activity.invalid_source"
  | "activity.invalid_wait"
  | "activity.invalid_from"
  | "activity.invalid_direction";

function valid<T>(text: string | null, read: (text: string) => T | null, code: QueryRefusal): T | null {
  if (text === null) return null;
  const value = read(text);
  if (value === null) throw new Refusal(code);
  return value;
}

function naturalNumber(text: string): number | null {
  return /^\d+$/.test(text) ? Number(text) : null;
}

function positiveInteger(text: string): number | null {
  return naturalNumber(text) || null;
}

function oneOf<Word extends string>(...words: Word[]): (text: string) => Word | null {
  return (text) => words.find((word) => word === text) ?? null;
}

/** The wait of a Prefer header (RFC 7240); a preference that cannot be read is no preference. */
function preferredWaitSeconds(prefer: string | null): number {
  const [, seconds = "0"] = /(?:^|[,;])\s*wait\s*=\s*"?(\d+)"?\s*(?:$|[,;])/i.exec(prefer ?? "") ?? [];
  return Number(seconds);
}
