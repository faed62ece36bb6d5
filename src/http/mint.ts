import {
  digestOf,
  inboundSecretOf,
  mintToken,
  readToken,
  TOKEN_RANDOM_BYTES,
  type TokenPrefix,
} from "../domain/credential.ts";
import { Refusal } from "../domain/refusal.ts";
import type { MintedOrganisationToken } from "../durable-objects/directory/organisation-token-store.ts";
import type { MintedToken } from "../durable-objects/workspace/token-store.ts";
import type { AppContext } from "./context.ts";

/** A new token of a workspace: the plain text for the one answer that shows it, the digest for its object. */
export function mint(c: AppContext, workspaceId: string): { token: string; minted: MintedToken } {
  return mintWith(c, "mol_", workspaceId);
}

/** A new token of the organisation; it carries its own id. */
export function mintOrganisationToken(c: AppContext): {
  token: string;
  minted: Pick<MintedOrganisationToken, "id" | "digest" | "prefix">;
} {
  const id = crypto.randomUUID();
  const { token, minted } = mintWith(c, "molo_", id);
  return { token, minted: { id, ...minted } };
}

function mintWith(c: AppContext, prefix: TokenPrefix, id: string): { token: string; minted: MintedToken } {
  const [key] = c.var.config.tokenKeys;
  if (key === undefined) throw new Refusal("token.key_missing");
  const token = mintToken(prefix, id, crypto.getRandomValues(new Uint8Array(TOKEN_RANDOM_BYTES)), key);
  return { token, minted: { digest: digestOf(token), prefix: readToken(token, [key])?.prefix ?? "" } };
}

/** 43 characters for the direction from the platform to the agent. */
export function mintInboundSecret(): string {
  return inboundSecretOf(crypto.getRandomValues(new Uint8Array(TOKEN_RANDOM_BYTES)));
}
