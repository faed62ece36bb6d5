import { runtimeOf } from "../domain/runtime.ts";
import type { StartOrder } from "./provisioner.ts";

/** What every machine finds in its environment, whoever starts it. What the platform knows wins over secrets. */
export function machineEnv({ workspaceId, name, role, parentId, runtime, env }: StartOrder): Record<string, string> {
  const { MODEL, MODEL_PROVIDER } = env;
  const model = MODEL || MODEL_PROVIDER;
  const email = `${workspaceId}@workspaces.invalid`;
  return {
    GIT_AUTHOR_NAME: name,
    GIT_AUTHOR_EMAIL: email,
    GIT_COMMITTER_NAME: name,
    GIT_COMMITTER_EMAIL: email,
    ...(model && runtimeOf(runtime).wantsHermesModel && { HERMES_DEFAULT_MODEL: model }),
    ...env,
    ...(model && { MODEL: model }),
    ...(role && { MOLECULE_AGENT_ROLE: role }),
    ...(parentId && { PARENT_ID: parentId }),
  };
}

/** What an order carries and no reason may show. */
export function secretsOf({ env, files }: StartOrder): string[] {
  return [...Object.values(env), ...Object.values(files)];
}
