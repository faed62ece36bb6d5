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
const SYSTEM_DIRECTORIES: ReadonlySet<string> = new Set([
  "etc",
  "var",
  "run",
  "root",
  "proc",
  "sys",
  "dev",
  "boot",
  "sbin",
  "bin",
  "lib",
  "lib32",
  "lib64",
  "libx32",
  "usr",
]);
const WORKSPACE_ACCESS = ["none", "read_only", "read_write"] as const;

/** What a machine may do with the `workspace_dir` of its host. */
export type WorkspaceAccess = (typeof WORKSPACE_ACCESS)[number];
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
  const access = workspaceAccessOf(body.workspace_access);
  if (access === null || (access !== "none" && !body.workspace_dir)) throw new Refusal("workspace.invalid_access");
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

/** Absolute, outside the system's own and not above them, without a way up: a machine may be given it. */
export function isAllowedDirectory(path: string): boolean {
  const segments = segmentsOf(path);
  const [top] = segments ?? [];
  return segments !== null && top !== undefined && !SYSTEM_DIRECTORIES.has(top);
}

/** Whether a directory is one of the roots or below one, name by name: `/data2` is not below `/data`. */
export function isWithin(path: string, roots: readonly string[]): boolean {
  const segments = segmentsOf(path);
  return segments !== null && roots.some((root) => segmentsOf(root)?.every((name, at) => segments[at] === name));
}

/** The names of an absolute path from the top; null for any other, and for one with a way up. */
function segmentsOf(path: string): readonly string[] | null {
  const names = path.split("/").filter((name) => name !== "" && name !== ".");
  return path.startsWith("/") && !names.includes("..") ? names : null;
}

/** An access by its name, `none` where nobody gave one; null for what is no access. */
export function workspaceAccessOf(given: string | null | undefined): WorkspaceAccess | null {
  return WORKSPACE_ACCESS.find((access) => access === (given || "none")) ?? null;
}

/** A directory of a machine's host that the machine works in, in place of a volume of its own. */
export interface HostDirectory {
  readonly path: string;
  readonly readOnly: boolean;
}

/** What a machine is given of its host; null where it has nothing, or no access to it. */
export function hostDirectoryOf(path: string | null, access: WorkspaceAccess): HostDirectory | null {
  return path === null || access === "none" ? null : { path, readOnly: access === "read_only" };
}
