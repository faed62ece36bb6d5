import type { Path } from "./hierarchy.ts";
import type { WorkspaceAccess } from "./workspace-creation.ts";
import type { WorkspaceStatus } from "./workspace-status.ts";

/**
 * What the directory tells a workspace's object at its creation. Told as an effect, so it may arrive twice; the
 * second time changes nothing. Times in ms since 1970.
 */
export interface WorkspaceSeed {
  readonly id: string;
  readonly name: string;
  readonly role: string | null;
  readonly tier: number;
  readonly runtime: string;
  /** A directory of the machine's host, and what the machine may do with it. */
  readonly workspaceDir?: string | null;
  readonly workspaceAccess?: WorkspaceAccess;
  readonly path: Path;
  readonly treeVersion: number;
  readonly maxConcurrentTasks: number;
  readonly budgetLimit: number | null;
  readonly deliveryMode: "push" | "poll" | null;
  readonly url: string | null;
  /** JSON text. */
  readonly agentCard: string | null;
  readonly status: WorkspaceStatus;
  /** The first token, minted by the Worker; the fingerprint of the registration that it answers, if it is one. */
  readonly token: { readonly digest: string; readonly prefix: string; readonly registration: string | null } | null;
  /** Recorded at the object's first write, in this order; payloads are JSON texts. */
  readonly events: readonly { readonly event: string; readonly payload: string }[];
  readonly inboundSecret: string;
  readonly createdAt: number;
  /** The machine that it is to have; absent where the platform runs none. */
  readonly provision?: SeedProvision;
}

/** What a workspace's first machine needs beside the workspace's own facts; `files` maps a path to its text. */
export interface SeedProvision {
  readonly platformUrl: string;
  readonly files: Readonly<Record<string, string>>;
}

/** What the directory tells an object that takes over the workspace of a lost one, or of an earlier state of itself. */
export interface RebuildSeed extends Omit<WorkspaceSeed, "token" | "events" | "inboundSecret" | "provision"> {
  /** Higher than any that an object of this workspace had. */
  readonly epoch: number;
  /** Higher than any that the board has heard. */
  readonly boardVersion: number;
  /** Why it is `failed`; what the board showed last, where it is not. */
  readonly sampleError?: string;
  /** Where its machines find the platform. */
  readonly platformUrl?: string;
  readonly monthlySpend: number;
  readonly lastOutboundAt: number | null;
  readonly counters: Readonly<Record<string, number>>;
}
