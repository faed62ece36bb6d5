import { type EnvSummary, unmetBy } from "../domain/env-requirement.ts";
import { Refusal } from "../domain/refusal.ts";

/** Refuses a template whose required variables are not all among the names of the global secrets. */
export function checkPreflight(template: string, env: EnvSummary, available: ReadonlySet<string>): void {
  const missing = unmetBy(available, env.required);
  if (missing.length === 0) return;
  throw new Refusal("org.missing_env", {
    details: {
      missing_env: missing,
      required_env: env.required,
      template,
      suggestion: "set these as global secrets (POST /settings/secrets) before importing",
    },
  });
}
