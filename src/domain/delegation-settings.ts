/** Longest deadline that a caller may ask for: 30 days. */
export const DEADLINE_S_MAX = 30 * 24 * 3600;

/** The variables that say how delegations are kept and judged, as a deployment spells them. */
export const DELEGATION_VARIABLES = [
  "DELEGATION_LEDGER_WRITE",
  "DELEGATION_RESULT_INBOX_PUSH",
  "DELEGATION_SWEEPER",
  "DELEGATION_SWEEPER_INTERVAL_S",
  "DELEGATION_STUCK_THRESHOLD_S",
  "DELEGATION_DEADLINE_S",
] as const;
export type DelegationVariables = { readonly [Name in (typeof DELEGATION_VARIABLES)[number]]?: string | undefined };

export interface DelegationSettings {
  /** Whether the ledger in Postgres follows. */
  readonly ledgerWrite: boolean;
  /** Whether the caller's inbox gets rows of ends, late results and stuck notices. */
  readonly resultInboxPush: boolean;
  /** Whether deadlines and silence are judged at all, by cron, alarm or contact. */
  readonly sweeperOn: boolean;
  readonly sweeperIntervalMs: number;
  readonly stuckThresholdMs: number;
  readonly deadlineMs: number;
  /** What an operator should know of the values. */
  readonly warnings: readonly string[];
}

/** Reads the variables; an empty one counts as unset, and a bad one never stops anything. */
export function readDelegationSettings(variables: DelegationVariables): DelegationSettings {
  const warnings: string[] = [];
  const flag = (name: keyof DelegationVariables) => flagOf(name, variables[name], warnings);
  const seconds = (name: keyof DelegationVariables, fallback: number, max: number) =>
    secondsOf(name, variables[name], fallback, max, warnings);
  const settings = {
    ledgerWrite: flag("DELEGATION_LEDGER_WRITE"),
    resultInboxPush: flag("DELEGATION_RESULT_INBOX_PUSH"),
    sweeperOn: flag("DELEGATION_SWEEPER"),
    sweeperIntervalMs: seconds("DELEGATION_SWEEPER_INTERVAL_S", 300, DAY_S) * 1000,
    stuckThresholdMs: seconds("DELEGATION_STUCK_THRESHOLD_S", 600, DEADLINE_S_MAX) * 1000,
    deadlineMs: seconds("DELEGATION_DEADLINE_S", 21_600, DEADLINE_S_MAX) * 1000,
  };
  if (!settings.ledgerWrite) {
    warnings.push(
      "DELEGATION_LEDGER_WRITE is 0: no sweep finds a delegation; alarms and the daily scrub are the only nets",
    );
  }
  if (!settings.sweeperOn) warnings.push("DELEGATION_SWEEPER is 0: no deadline ends a delegation and none gets stuck");
  return { ...settings, warnings };
}

const DAY_S = 24 * 3600;

/** On unless it is exactly 0: these were switches for rolling out, and nothing is lost while they are on. */
function flagOf(name: string, value: string | undefined, warnings: string[]): boolean {
  if (value === "0") return false;
  if (value !== undefined && value !== "" && value !== "1") warnings.push(`${name} must be 0 or 1; it is on`);
  return true;
}

function secondsOf(name: string, value: string | undefined, fallback: number, max: number, warnings: string[]): number {
  if (value === undefined || value === "") return fallback;
  const number = /^\d+$/.test(value.trim()) ? Number(value) : Number.NaN;
  if (number >= 1 && number <= max) return number;
  warnings.push(`${name} must be a whole number from 1 to ${max}; ${fallback} is used`);
  return fallback;
}
