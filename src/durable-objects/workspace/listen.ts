import type { Access } from "../../domain/access.ts";
import type { ActivityQuery } from "../../domain/activity-query.ts";

/** Who asks a workspace to listen: percent-encoded JSON in the one header of the request that the Worker makes. */
export interface ListenInput {
  readonly access: Access;
  readonly query: ActivityQuery;
  /** An inbox socket instead of a held poll. */
  readonly stream: boolean;
}

export const LISTEN_HEADER = "X-Posthouse-Listen";

/** Close code of a socket whose token was revoked under it. */
export const SOCKET_REVOKED = 4401;
