import * as z from "zod";
import type { Path } from "./hierarchy.ts";
import { Refusal } from "./refusal.ts";
import { isStorableText } from "./text.ts";
import {
  checkName,
  checkRole,
  checkRuntime,
  isAllowedDirectory,
  type WorkspaceAccess,
  workspaceAccessOf,
} from "./workspace-creation.ts";
import { canonicalWorkspaceId } from "./workspace-id.ts";

/** What `PATCH /workspaces/:id` changes; what is absent stays. */
export interface WorkspacePatch {
  readonly name?: string;
  readonly role?: string | null;
  readonly tier?: number;
  readonly runtime?: string;
  readonly parentId?: string | null;
  readonly workspaceDir?: string | null;
  readonly workspaceAccess?: WorkspaceAccess;
  readonly collapsed?: boolean;
  readonly position?: { readonly x: number; readonly y: number };
}

/**
 * What a workspace's object is told when it was changed or moved in the tree: where it stands now, and what changed.
 * An older `treeVersion` than the one it knows is old news.
 */
export interface Placement {
  readonly name: string;
  readonly role: string | null;
  readonly tier: number;
  readonly runtime: string;
  readonly workspaceDir?: string | null;
  readonly workspaceAccess?: WorkspaceAccess;
  readonly path: Path;
  readonly treeVersion: number;
  /** The changed fields under their names on the wire; none for one that moves along with its ancestor. */
  readonly changed: Readonly<Record<string, unknown>>;
}

const text = z.string().refine(isStorableText);
const PATCH = z.object({
  name: text.min(1).optional(),
  role: text.nullable().optional(),
  tier: z.int32().optional(),
  runtime: text.min(1).optional(),
  parent_id: z.string().nullable().optional(),
  workspace_dir: text.nullable().optional(),
  workspace_access: text.nullable().optional(),
  collapsed: z.boolean().optional(),
  x: z.number().optional(),
  y: z.number().optional(),
});

/** What decides what a workspace may do and whom it reaches, under the names on the wire. */
const OPERATORS_FIELDS = {
  tier: "tier",
  runtime: "runtime",
  parentId: "parent_id",
  workspaceDir: "workspace_dir",
  workspaceAccess: "workspace_access",
} as const;

/** Refuses an agent that would change its own rights; its name, role and looks are its own. */
export function requireOwnFields(patch: WorkspacePatch): void {
  const fields = Object.entries(OPERATORS_FIELDS).flatMap(([field, name]) => (field in patch ? [name] : []));
  if (fields.length > 0) throw new Refusal("workspace.operator_fields", { details: { fields } });
}

/**
 * Reads the body of a PATCH. Unknown keys are ignored; what could not be stored is refused as a whole, with the
 * field's own text where the contract has one.
 */
export function readPatch(body: object): WorkspacePatch {
  const result = PATCH.safeParse(body);
  if (!result.success) {
    const field = String(result.error.issues[0]?.path.join("."));
    throw new Refusal("workspace.invalid_fields", { error: `invalid ${field}`, details: { field } });
  }
  const { name, role, tier, runtime, parent_id, workspace_dir, workspace_access, collapsed, x, y } = result.data;
  checkName(name);
  checkRole(role);
  checkRuntime(runtime);
  if (workspace_dir && !isAllowedDirectory(workspace_dir)) throw new Refusal("workspace.invalid_directory");
  const workspaceAccess = workspaceAccessOf(workspace_access);
  if (workspaceAccess === null) throw new Refusal("workspace.invalid_access");
  if ((x === undefined) !== (y === undefined)) {
    throw new Refusal("workspace.invalid_fields", { error: "x and y belong together" });
  }
  return {
    ...(name === undefined ? {} : { name }),
    ...(role === undefined ? {} : { role: role || null }),
    ...(tier === undefined ? {} : { tier }),
    ...(runtime === undefined ? {} : { runtime }),
    ...(parent_id === undefined ? {} : { parentId: parentOf(parent_id) }),
    ...(workspace_dir === undefined ? {} : { workspaceDir: workspace_dir || null }),
    ...(workspace_access === undefined ? {} : { workspaceAccess }),
    ...(collapsed === undefined ? {} : { collapsed }),
    ...(x === undefined || y === undefined ? {} : { position: { x, y } }),
  };
}

/** Whether what a machine is given of its host, or may do there, changes: the one that runs keeps what it has. */
export function needsRestart({ workspaceDir, workspaceAccess }: WorkspacePatch): boolean {
  return workspaceDir !== undefined || workspaceAccess !== undefined;
}

function parentOf(given: string | null): string | null {
  if (given === null) return null;
  const id = canonicalWorkspaceId(given);
  if (id === null) throw new Refusal("workspace.invalid_parent");
  return id;
}
