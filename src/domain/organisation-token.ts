import * as z from "zod";
import { microsToTimestamp } from "./activity.ts";
import { Refusal } from "./refusal.ts";

/** Live tokens of an organisation; a list shows them all. */
export const ORGANISATION_TOKENS_MAX = 500;

const NAME_BYTES_MAX = 100;

/** The body that asks for a token. */
export const CREATE_ORGANISATION_TOKEN = z.object({ name: z.string().nullish() });

/** What is told of a live token. Times in ms since 1970. */
export interface OrganisationTokenView {
  readonly id: string;
  readonly prefix: string;
  /** Empty when it has none. */
  readonly name: string;
  readonly createdBy: string;
  readonly createdAt: number;
  readonly lastUsedAt: number | null;
}

/** What people call a token, empty when they do not. */
export function tokenName(name: string | null | undefined): string {
  const given = name ?? "";
  if (Buffer.byteLength(given) <= NAME_BYTES_MAX) return given;
  throw new Refusal("request.invalid", {
    error: `name must be at most ${NAME_BYTES_MAX} bytes`,
    hint: "Shorten the name.",
    details: { field: "name" },
  });
}

/** One line of the list; what is not there is left out, as the original does. */
export function organisationTokenJson({ id, prefix, name, createdBy, createdAt, lastUsedAt }: OrganisationTokenView) {
  return {
    id,
    prefix,
    ...(name === "" ? {} : { name }),
    created_by: createdBy,
    created_at: microsToTimestamp(createdAt * 1000),
    ...(lastUsedAt === null ? {} : { last_used_at: microsToTimestamp(lastUsedAt * 1000) }),
  };
}
