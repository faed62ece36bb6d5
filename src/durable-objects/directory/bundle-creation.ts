import { Refusal } from "../../domain/refusal.ts";
import { creationOf } from "../../org-import/creation.ts";
import type { PlannedNode } from "../../org-import/plan.ts";
import type { Effect } from "../shared/effects.ts";
import type { ImportedNode } from "./directory.ts";
import type { Tree } from "./tree.ts";

/** What became of the workspaces of a bundle; a failed one exists nowhere, and nothing below it was tried. */
export interface CreatedBundle {
  readonly effects: readonly Effect[];
  readonly nodes: readonly ImportedNode[];
}

/**
 * Inserts the workspaces of a bundle, parents before children, inside the caller's turn. A taken name gets a number
 * wherever it stands; where none is free that one workspace fails.
 */
export function createBundle(
  tree: Tree,
  planned: readonly PlannedNode[],
  platformUrl: string,
  now: number,
): CreatedBundle {
  const effects: Effect[] = [];
  const nodes: ImportedNode[] = [];
  const missing = new Set<string>();
  for (const node of planned) {
    const { id, parentId } = node;
    if (parentId !== null && missing.has(parentId)) {
      missing.add(id);
      continue;
    }
    try {
      const { effect, name } = tree.insert({ ...creationOf(node, platformUrl), suffixTakenName: true }, now);
      effects.push(effect);
      nodes.push({ id, name, parentId, status: node.status });
    } catch (error) {
      if (!(error instanceof Refusal) || error.code !== "workspace.name_taken") throw error;
      missing.add(id);
      const reason = `failed to create workspace record: ${error.message}`;
      nodes.push({ id, name: node.name, parentId, status: "failed", error: reason });
    }
  }
  return { effects, nodes };
}
