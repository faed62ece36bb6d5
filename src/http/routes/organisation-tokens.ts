import { Hono } from "hono";
import { actorOf } from "../../domain/access.ts";
import { CREATE_ORGANISATION_TOKEN, organisationTokenJson, tokenName } from "../../domain/organisation-token.ts";
import { json } from "../answers.ts";
import { ask } from "../ask.ts";
import { jsonBody } from "../body.ts";
import { adminOnly, operatorAccess } from "../caller.ts";
import { type AppEnv, directoryOf } from "../context.ts";
import { mintOrganisationToken } from "../mint.ts";
import { forgetVerifiedTokens } from "../organisation-tokens.ts";

const SAVE_NOW = "Save this token now — it cannot be retrieved again.";

/** Tokens of the organisation: operators' bearers that can be told apart and revoked. */
export const organisationTokenRoutes = new Hono<AppEnv>()
  .use(adminOnly)
  .get("/", async (c) => {
    const tokens = (await ask(c, directoryOf(c).listOrganisationTokens())).map(organisationTokenJson);
    return json({ tokens, count: tokens.length });
  })
  .post("/", async (c) => {
    const name = tokenName((await jsonBody(c, CREATE_ORGANISATION_TOKEN)).name);
    const { token, minted } = mintOrganisationToken(c);
    const createdBy = actorOf(operatorAccess(c), "");
    await ask(c, directoryOf(c).addOrganisationToken({ ...minted, name, createdBy }));
    const { id, prefix } = minted;
    return json({ id, prefix, ...(name === "" ? {} : { name }), auth_token: token, warning: SAVE_NOW });
  })
  .delete("/:tokenId", async (c) => {
    const id = c.req.param("tokenId");
    await ask(c, directoryOf(c).revokeOrganisationToken({ id }));
    forgetVerifiedTokens();
    return json({ revoked: id });
  });
