import { defaultModel, providerOf } from "./runtime.ts";

/** The secret under which a workspace's model is kept, and the one of its provider. */
export const MODEL_SECRET = "MODEL_PROVIDER";
export const PROVIDER_SECRET = "LLM_PROVIDER";

/** What keeps a workspace's choice of a model over every restart. */
export function modelSecrets(model: string): Record<string, string> {
  const provider = providerOf(model);
  return { [MODEL_SECRET]: model, ...(provider === null ? {} : { [PROVIDER_SECRET]: provider }) };
}

/** Who the machine's commits are by. */
const GIT_EMAIL_DOMAIN = "agents.posthouse.invalid";

/** What the tree knows of a machine's workspace. */
export interface MachineFacts {
  readonly name: string;
  readonly role: string | null;
  readonly parentId: string | null;
  readonly runtime: string;
}

/**
 * The variables of a machine: the workspace's secrets, and what its place in the tree says of it. A secret of the same
 * name wins, so that an operator can override anything.
 */
export function machineEnvironment(
  { name, role, parentId, runtime }: MachineFacts,
  secrets: Readonly<Record<string, string>>,
): Record<string, string> {
  const email = `${gitName(name)}@${GIT_EMAIL_DOMAIN}`;
  return {
    GIT_AUTHOR_NAME: name,
    GIT_AUTHOR_EMAIL: email,
    GIT_COMMITTER_NAME: name,
    GIT_COMMITTER_EMAIL: email,
    ...(role === null ? {} : { MOLECULE_AGENT_ROLE: role }),
    ...(parentId === null ? {} : { PARENT_ID: parentId }),
    MODEL: secrets[MODEL_SECRET] ?? defaultModel(runtime),
    ...secrets,
  };
}

function gitName(name: string): string {
  const plain = name
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return plain === "" ? "agent" : plain;
}
