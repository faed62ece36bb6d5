import type { WorkspaceStatus } from "./workspace-status.ts";

/** Cards above this are read from the workspace's object; the board only says that there is one. */
export const BOARD_CARD_BYTES_MAX = 64 * 1024;

/** What a workspace last told the directory of itself. The higher `version` wins. Times in ms since 1970. */
export interface BoardEntry {
  readonly version: number;
  readonly status: WorkspaceStatus;
  readonly url: string | null;
  readonly deliveryMode: "push" | "poll";
  /** JSON text, null when there is none or when it is too large for the board. */
  readonly agentCard: string | null;
  readonly cardInObject: boolean;
  readonly activeTasks: number;
  readonly currentTask: string;
  readonly errorRate: number;
  readonly sampleError: string;
  readonly startedAt: number | null;
  readonly monthlySpend: number;
  readonly lastOutboundAt: number | null;
  /** Rows that the ledger refused, and why it takes none at all at the moment. */
  readonly setAside: number;
  readonly flushBlocked: string | null;
  /** Delegations that it sent and that have not ended. */
  readonly openDelegations: number;
  readonly counters: Readonly<Record<string, number>>;
  /** When its machines have something due, in case its alarm is lost; absent from objects that know none. */
  readonly lifecycleDue?: number | null;
}
