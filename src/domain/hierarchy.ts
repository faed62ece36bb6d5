/** The most levels that may lie between an ancestor and a descendant who talk to each other. */
export const MAX_KINSHIP_LEVELS = 32;

/** Workspace ids from the root of the tree down to the workspace itself, which is last. */
export type Path = readonly string[];

/**
 * Whether two workspaces may exchange messages: the same one, siblings (all roots are siblings), or ancestor and
 * descendant. The empty path of an unknown workspace may talk to nobody.
 */
export function canCommunicate(a: Path, b: Path): boolean {
  const self = a.at(-1);
  const other = b.at(-1);
  if (self === undefined || other === undefined) return false;
  return self === other || a.at(-2) === b.at(-2) || isAncestor(self, b) || isAncestor(other, a);
}

function isAncestor(id: string, path: Path): boolean {
  return path.slice(-1 - MAX_KINSHIP_LEVELS, -1).includes(id);
}
