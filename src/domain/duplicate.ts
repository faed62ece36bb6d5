import type { WorkspaceStatus } from "./workspace-status.ts";

/** A live workspace as the search for duplicates sees it; `createdAt` in ms since 1970. */
export interface Sibling {
  readonly id: string;
  readonly name: string;
  readonly parentId: string | null;
  readonly createdAt: number;
  readonly status: WorkspaceStatus;
}

/** Siblings of one name, apart from the number that a creation appends. */
export interface DuplicateGroup {
  readonly name: string;
  readonly parentId: string | null;
  /** The oldest. */
  readonly kept: Sibling;
  readonly duplicates: readonly Sibling[];
}

const NUMBER = / \(\d{1,3}\)$/;

/** Groups of siblings that may be one workspace, made several times. */
export function duplicatesAmong(live: readonly Sibling[]): DuplicateGroup[] {
  const groups = Map.groupBy(live, ({ name, parentId }) => `${parentId ?? ""} ${name.replace(NUMBER, "")}`);
  return [...groups.values()].flatMap((siblings) => {
    const [kept, ...duplicates] = siblings.toSorted((one, other) => one.createdAt - other.createdAt);
    if (kept === undefined || duplicates.length === 0) return [];
    return [{ name: kept.name.replace(NUMBER, ""), parentId: kept.parentId, kept, duplicates }];
  });
}
