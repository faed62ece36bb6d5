import { canCommunicate, type Path } from "./hierarchy.ts";
import type { EventFormat } from "./hub-event.ts";

/** Which events a listener gets: all, those of workspaces that it may talk to, or those of one workspace. */
export type EventFilter =
  | { readonly kind: "all" }
  | { readonly kind: "kin"; readonly path: Path }
  | { readonly kind: "one"; readonly workspaceId: string };

/** What let a listener in, and must still be good as long as it listens. */
export type ListenerCredential =
  | { readonly kind: "open" }
  | { readonly kind: "admin"; readonly digest: string }
  | { readonly kind: "organisation"; readonly id: string }
  /** A user, whom the hub cannot ask about: good until `until`. */
  | { readonly kind: "session" }
  | { readonly kind: "workspace"; readonly id: string; readonly digest: string };

/** What a listening socket carries through hibernation. */
export interface HubListener {
  readonly filter: EventFilter;
  readonly format: EventFormat;
  readonly credential: ListenerCredential;
  /** When it must come back with a fresh pass or its session, in ms since 1970; null where the hub itself can tell. */
  readonly until: number | null;
}

/** Who wants to listen, in the one header of the request that the Worker makes to the hub. */
export interface ListenRequest {
  readonly listener: HubListener;
  /** Resume after this number; null to hear only what comes. */
  readonly since: number | null;
  /** A ticket to be spent with this request. */
  readonly ticket: { readonly nonce: string; readonly expiresAt: number } | null;
}

export const HUB_LISTEN_HEADER = "X-Posthouse-Hub-Listen";

/** Whether a listener gets the events of a workspace, whose path comes with them. */
export function hears(filter: EventFilter, workspaceId: string, path: Path): boolean {
  switch (filter.kind) {
    case "all":
      return true;
    case "one":
      return filter.workspaceId === workspaceId;
    case "kin":
      return canCommunicate(filter.path, path);
  }
}

/** A number that no hub ever gives: whoever resumes after it is told to read anew. */
const UNKNOWN_NUMBER = -1;

/** The number to resume after, as a query or a header names it; null when it names none. */
export function resumeNumber(text: string | undefined): number | null {
  if (text === undefined || text === "") return null;
  return /^\d{1,15}\d?$/.test(text) ? Number(text) : UNKNOWN_NUMBER;
}
