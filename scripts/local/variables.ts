/** Variables of the Worker that `npm start` hands on from its own environment; an empty one counts as absent. */
export const PASSED_VARIABLES = [
  "ADMIN_TOKEN",
  "ADMIN_TOKEN_PREVIOUS",
  "TOKEN_KEY_PREVIOUS",
  "SECRETS_KEY_PREVIOUS",
  "MOLECULE_ENV",
  "MOLECULE_ORG_ID",
  "MOLECULE_ENABLE_TEST_TOKENS",
  "CORS_ORIGINS",
  "EXTERNAL_PLATFORM_URL",
  "OPEN_REGISTRATION",
  "REMOTE_LIVENESS_STALE_AFTER",
  "RATE_LIMIT",
  "A2A_ANSWER_WAIT_S",
  "DEPLOYMENT_ID",
  "CP_PROVISION_URL",
  "MOLECULE_CP_URL",
  "MOLECULE_CP_SHARED_SECRET",
  "PROVISION_SHARED_SECRET",
  "CP_ADMIN_API_TOKEN",
  "CP_UPSTREAM_URL",
  "MOLECULE_ORG_SLUG",
  "DOCKER_HOST",
  "DOCKER_TLS_VERIFY",
  "WORKSPACE_DIR_ROOTS",
  "PROVISIONER",
  "PROVISION_TIMEOUT_SECONDS",
  "HIBERNATION_IDLE_MINUTES",
] as const;

/** Families of variables that are handed on whole. */
export const PASSED_PREFIXES = ["UPLOAD_", "ACTIVITY_", "INBOX_", "LEDGER_", "DELEGATION_", "TIER"] as const;

export type Variables = Record<string, string>;
type Environment = Record<string, string | undefined>;

/** What the Worker gets from the environment, with development as the mode when nobody chose one. */
export function passedVariables(environment: Environment): Variables {
  const passed: Variables = {};
  for (const [name, value] of Object.entries(environment)) {
    if (value && isPassed(name)) passed[name] = value;
  }
  if (!passed.ADMIN_TOKEN && !passed.MOLECULE_ENV) passed.MOLECULE_ENV = "development";
  return passed;
}

function isPassed(name: string): boolean {
  return PASSED_VARIABLES.some((known) => known === name) || PASSED_PREFIXES.some((prefix) => name.startsWith(prefix));
}
