import type { HostDirectory } from "../../domain/workspace-creation.ts";
import type { MintedToken } from "../workspace/token-store.ts";

/** One call to the backend, as the workspace that decided on it hands it over. */
export interface MachineJob {
  /** Number of the operation; a later one is higher. */
  readonly operation: number;
  /** Id of the workspace that hears of the outcome. */
  readonly workspaceId: string;
  readonly kind: "start" | "stop";
  /** Null while nobody knows it. */
  readonly instanceId: string | null;
  /** After a removal nothing of the machine is kept, its volumes neither. */
  readonly forGood: boolean;
}

/** What a machine needs to know of its workspace when it starts; asked for at the last moment. */
export interface StartFacts {
  readonly name: string;
  readonly role: string | null;
  readonly parentId: string | null;
  readonly runtime: string;
  readonly tier: number;
  readonly hostDirectory?: HostDirectory | null;
  readonly platformUrl: string;
  /** Path to text. */
  readonly files: Readonly<Record<string, string>>;
  readonly resetSession: boolean;
}

/** Asks whether a start is still wanted; `token` becomes the only live one of the workspace, null leaves none. */
export interface StartRequest {
  readonly operation: number;
  readonly token: MintedToken | null;
}

/** How an operation ended; the same report may come more than once. */
export interface MachineReport {
  readonly operation: number;
  readonly end:
    | {
        readonly kind: "started";
        readonly instanceId: string;
        readonly url: string | null;
        /** Names of the secrets that it was started with. */
        readonly secretKeys?: readonly string[];
      }
    | { readonly kind: "refused" }
    | { readonly kind: "unknown" }
    | { readonly kind: "stopped" }
    | { readonly kind: "not_stopped" };
}
