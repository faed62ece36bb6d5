import type { HostDirectory } from "../domain/workspace-creation.ts";

/** One machine of a workspace. `instanceId` is null while nobody knows it (a start whose outcome is unknown). */
export interface MachineRef {
  readonly workspaceId: string;
  readonly instanceId: string | null;
}

export interface StartOrder {
  readonly workspaceId: string;
  readonly name: string;
  readonly role: string | null;
  readonly parentId: string | null;
  readonly runtime: string;
  readonly tier: number;
  /** Where there is one, and the backend has hosts, it takes the place of a volume of the machine's own. */
  readonly hostDirectory?: HostDirectory | null;
  readonly platformUrl: string;
  /** Decrypted; never logged, never stored. */
  readonly env: Readonly<Record<string, string>>;
  /** Files for the machine's configuration folder, path -> text (e.g. config.yaml, .auth_token). */
  readonly files: Readonly<Record<string, string>>;
  readonly resetSession: boolean;
}

export type StartOutcome =
  | { readonly kind: "started"; readonly instanceId: string; readonly url: string | null }
  /** Surely nothing was started. `reason` is for operators' logs, never for clients. */
  | { readonly kind: "refused"; readonly reason: string }
  /** A machine may be running: it must be stopped before another start. */
  | { readonly kind: "unknown"; readonly reason: string };

export type StopOutcome = { readonly kind: "stopped" } | { readonly kind: "failed"; readonly reason: string };

export type Running =
  | { readonly kind: "running" }
  | { readonly kind: "not_running" }
  | { readonly kind: "unknown"; readonly reason: string };

/** Starts and stops the machines of workspaces. Except for `console` nothing throws: a failure is an outcome. */
export interface Provisioner {
  readonly name: "control_plane" | "docker" | "in_memory";
  start(order: StartOrder): Promise<StartOutcome>;
  /** Idempotent: what is gone is stopped. */
  stop(machine: MachineRef): Promise<StopOutcome>;
  isRunning(machine: MachineRef): Promise<Running>;
  /** Console output of a machine; null where the backend has none. Throws `ConsoleFailure` when the backend failed. */
  console(workspaceId: string): Promise<string | null>;
  /** After a stop that succeeded: volumes and the like; a no-op where there is nothing. */
  cleanUp(workspaceId: string): Promise<StopOutcome>;
}

/** The backend did not show a machine's console. The message is for operators' logs, never for clients. */
export class ConsoleFailure extends Error {
  override readonly name = "ConsoleFailure";
}
