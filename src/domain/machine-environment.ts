import { defaultModel, providerOf } from "./runtime.ts";
import { SETTING_KEYS } from "./secret.ts";

/** What keeps a workspace's choice of a model over every restart. */
export function modelSecrets(model: string): Record<string, string> {
  const provider = providerOf(model);
  return { [SETTING_KEYS.model]: model, ...(provider === null ? {} : { [SETTING_KEYS.provider]: provider }) };
}

/** What a machine of this runtime is started with: its workspace's secrets, and a model in any case. */
export function machineEnvironment(runtime: string, secrets: Readonly<Record<string, string>>): Record<string, string> {
  return { MODEL: secrets[SETTING_KEYS.model] ?? defaultModel(runtime), ...secrets };
}
