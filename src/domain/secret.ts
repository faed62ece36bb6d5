import * as z from "zod";
import { microsToTimestamp } from "./activity.ts";
import { Refusal } from "./refusal.ts";
import { isStorableText } from "./text.ts";

/** The scope of secrets that every workspace gets. A workspace's own scope is its id. */
export const GLOBAL_SCOPE = "";
export const SECRETS_PER_SCOPE_MAX = 500;
export const SECRET_VALUE_BYTES_MAX = 32 * 1024;
/** All values of a scope as they are stored: more than a process could take as its environment. */
export const SCOPE_BYTES_MAX = 1024 * 1024;

/** Secrets that say which model an agent runs on and who provides it; the only ones whose values may be read. */
export const SETTING_KEYS = { model: "MODEL_PROVIDER", provider: "LLM_PROVIDER" } as const;
export type Setting = keyof typeof SETTING_KEYS;

// A variable's name. `__proto__` would be one, and would get lost in every object.
const SECRET_KEY = /^(?!__proto__$)[A-Za-z_][A-Za-z0-9_]{0,127}$/;

/** The body that sets a secret. */
export const SET_SECRET = z.object({ key: z.string().min(1), value: z.string().min(1) });

/** What may be told of a stored secret: never its value. Times in ms since 1970. */
export interface SecretEntry {
  readonly key: string;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** A workspace's secrets, its own and those of the organisation. */
export interface ListedSecrets {
  readonly own: readonly SecretEntry[];
  readonly global: readonly SecretEntry[];
}

export function requireSecretKey(key: string): void {
  if (!SECRET_KEY.test(key)) throw new Refusal("secret.invalid_key");
}

/** Refuses what cannot be kept as a secret. */
export function checkSecret(key: string, value: string): void {
  requireSecretKey(key);
  if (value === "") throw new Refusal("request.invalid", { details: { field: "value" } });
  if (!isStorableText(value)) throw new Refusal("request.unstorable_text");
  if (Buffer.byteLength(value) <= SECRET_VALUE_BYTES_MAX) return;
  throw new Refusal("request.too_large", {
    error: "secret value too large",
    hint: "A secret may have at most max_bytes bytes; give the agent a file instead.",
    details: { field: "value", max_bytes: SECRET_VALUE_BYTES_MAX },
  });
}

/** Whether a creation may bring these along. */
export function areStorable(secrets: Readonly<Record<string, string>>): boolean {
  const entries = Object.entries(secrets);
  return entries.length <= SECRETS_PER_SCOPE_MAX && entries.every(([key, value]) => isStorable(key, value));
}

function isStorable(key: string, value: string): boolean {
  const bytes = Buffer.byteLength(value);
  return SECRET_KEY.test(key) && isStorableText(value) && bytes > 0 && bytes <= SECRET_VALUE_BYTES_MAX;
}

/** The list of a workspace: what its agent gets, by key, its own before the organisation's of the same key. */
export function workspaceSecretViews({ own, global }: ListedSecrets) {
  const ownKeys = new Set(own.map(({ key }) => key));
  return [
    ...own.map((entry) => secretView(entry, "workspace")),
    ...global.filter(({ key }) => !ownKeys.has(key)).map((entry) => secretView(entry, "global")),
  ].sort((one, other) => (one.key < other.key ? -1 : 1));
}

/** One line of a list. */
export function secretView({ key, createdAt, updatedAt }: SecretEntry, scope: "workspace" | "global") {
  return {
    key,
    has_value: true,
    scope,
    created_at: microsToTimestamp(createdAt * 1000),
    updated_at: microsToTimestamp(updatedAt * 1000),
  };
}
