import type { WorkspaceStatus } from "./workspace-status.ts";

/** A live workspace as the search for duplicates sees it; `createdAt` in ms since 1970. */
export interface Sibling {
  readonly id: string;
  readonly name: string;
  readonly parentId: string | null;
  readonly createdAt: number;
  readonly status: WorkspaceStatus;
  /** Whether live workspaces hang below it, which would go with it. */
  readonly hasChildren: boolean;
}

/** What the one that is kept has before all the others: sub-workspaces, a better status, or its age alone. */
export type KeptFor = "sub_workspaces" | "status" | "age";

/** Siblings of one name, apart from the number that a creation appends. */
export interface DuplicateGroup {
  readonly name: string;
  readonly parentId: string | null;
  /** The best. */
  readonly kept: Sibling;
  readonly keptFor: KeptFor;
  /** The others, the better first. */
  readonly duplicates: readonly Sibling[];
}

const NUMBER = / \(\d{1,3}\)$/;

/** Groups of siblings that may be one workspace, made several times. */
export function duplicatesAmong(live: readonly Sibling[]): DuplicateGroup[] {
  const groups = Map.groupBy(live, ({ name, parentId }) => `${parentId ?? ""} ${name.replace(NUMBER, "")}`);
  return [...groups.values()].flatMap((siblings) => {
    const [kept, next, ...others] = siblings.toSorted(better);
    if (kept === undefined || next === undefined) return [];
    const name = kept.name.replace(NUMBER, "");
    return [{ name, parentId: kept.parentId, kept, keptFor: keptFor(kept, next), duplicates: [next, ...others] }];
  });
}

/** First what most would be lost with, then what works, then the oldest. */
function better(one: Sibling, other: Sibling): number {
  return (
    Number(other.hasChildren) - Number(one.hasChildren) ||
    standing(one) - standing(other) ||
    one.createdAt - other.createdAt
  );
}

function keptFor(kept: Sibling, next: Sibling): KeptFor {
  if (kept.hasChildren !== next.hasChildren) return "sub_workspaces";
  return standing(kept) === standing(next) ? "age" : "status";
}

function standing({ status }: Sibling): number {
  if (status === "online" || status === "degraded") return 0;
  return status === "failed" ? 2 : 1;
}
