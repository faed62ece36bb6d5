import * as z from "zod";
import { Refusal } from "./refusal.ts";
import { areStorable } from "./secret.ts";
import { isStorableText } from "./text.ts";

const text = z.string().refine(isStorableText);
/** Cents; clients send fractions of them too, which are rounded. */
const cents = z.number().nonnegative().transform(Math.round).pipe(z.int());

/** The body of `POST /workspaces`; unknown keys are ignored, a wrong type is one refusal for all. */
export const CREATE_WORKSPACE = z.object({
  name: text.min(1),
  role: text.nullish(),
  template: text.nullish(),
  tier: z.int32().nullish(),
  model: text.nullish(),
  runtime: text.nullish(),
  external: z.boolean().nullish(),
  url: text.max(2_048).nullish(),
  workspace_dir: text.nullish(),
  workspace_access: text.nullish(),
  parent_id: text.nullish(),
  budget_limit: cents.nullish(),
  secrets: z.record(z.string(), z.string()).nullish(),
  max_concurrent_tasks: z.int().nullish(),
  delivery_mode: z.string().nullish(),
  canvas: z.object({ x: z.number().nullish(), y: z.number().nullish() }).nullish(),
  initial_memories: z.array(z.unknown()).nullish(),
});

const LINE_BREAK = /[\r\n]/;
const FORBIDDEN = /[{}[\]|>*&!\r\n]/;
const SYSTEM_DIRECTORY = /^\/(etc|var|proc|sys|dev|boot|sbin|bin|lib|usr)(\/|$)/;
const encoder = new TextEncoder();

/** Checks the field rules of a creation in the contract's order. */
export function checkCreation(body: z.output<typeof CREATE_WORKSPACE>): void {
  const short = (value: string | null | undefined, bytes: number) => encoder.encode(value ?? "").length <= bytes;
  const clean =
    short(body.name, 255) &&
    short(body.role, 1_000) &&
    short(body.model, 100) &&
    short(body.runtime, 100) &&
    ![body.name, body.role].some((value) => FORBIDDEN.test(value ?? "")) &&
    ![body.model, body.runtime].some((value) => LINE_BREAK.test(value ?? ""));
  if (!clean) throw new Refusal("workspace.invalid_fields");
  if (!areStorable(body.secrets ?? {}))
    throw new Refusal("workspace.invalid_fields", { details: { field: "secrets" } });
  if (body.workspace_dir && !isAllowedDirectory(body.workspace_dir)) throw new Refusal("workspace.invalid_directory");
  const access = body.workspace_access || "none";
  if (!["none", "read_only", "read_write"].includes(access) || (access !== "none" && !body.workspace_dir)) {
    throw new Refusal("workspace.invalid_access");
  }
  if (!["", "push", "poll"].includes(body.delivery_mode ?? "")) throw new Refusal("registry.invalid_delivery_mode");
}

/** The rules of a single field, each with its own words; a creation has one refusal for all. */
export function checkName(name: string | undefined): void {
  checkText("name", name, 255, FORBIDDEN);
}

export function checkRole(role: string | null | undefined): void {
  checkText("role", role ?? undefined, 1_000, FORBIDDEN);
}

export function checkRuntime(runtime: string | undefined): void {
  checkText("runtime", runtime, 100, LINE_BREAK);
}

/** A model or its provider, which share the rules of a runtime. */
export function checkSetting(field: "model" | "provider", value: string): void {
  checkText(field, value, 100, LINE_BREAK);
}

function checkText(field: string, value: string | undefined, bytesMax: number, forbidden: RegExp): void {
  if (value === undefined) return;
  const refuse = (rule: string) => {
    throw new Refusal("workspace.invalid_fields", { error: `${field} ${rule}`, details: { field } });
  };
  if (encoder.encode(value).length > bytesMax) refuse(`must be at most ${bytesMax} characters`);
  if (LINE_BREAK.test(value)) refuse("must not contain newline characters");
  if (forbidden.test(value)) refuse("contains invalid characters");
}

/** Absolute, outside the system's own, without a way up. */
export function isAllowedDirectory(path: string): boolean {
  return path.startsWith("/") && !path.split("/").includes("..") && !SYSTEM_DIRECTORY.test(path);
}
