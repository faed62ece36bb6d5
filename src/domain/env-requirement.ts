/** A variable that must be set, or a group of which one must be. */
export type EnvRequirement = string | { readonly any_of: readonly string[] };

/** Where a template may say what it needs. */
export interface EnvNeeds {
  readonly required_env?: readonly EnvRequirement[] | null | undefined;
  readonly recommended_env?: readonly EnvRequirement[] | null | undefined;
}

export interface EnvSummary {
  readonly required: readonly EnvRequirement[];
  readonly recommended: readonly EnvRequirement[];
  /** What was asked for under names that no variable has; it is left out. */
  readonly dropped: readonly string[];
}

const NAME = /^[A-Z][A-Z0-9_]{0,127}$/;

/**
 * The union of all needs. A variable that is required by itself makes groups with it superfluous, and whatever
 * recommends it. Single names come first, then groups, both sorted.
 */
export function summarizeEnv(needs: readonly EnvNeeds[]): EnvSummary {
  const required = groupsOf(needs.flatMap(({ required_env }) => required_env ?? []));
  const recommended = groupsOf(needs.flatMap(({ recommended_env }) => recommended_env ?? []));
  const strict = new Set(required.filter(({ length }) => length === 1).flat());
  const open = (group: readonly string[]) => !group.some((name) => strict.has(name));
  const isNeeded = new Set(required.map(keyOf));
  return {
    required: ordered(required.filter((group) => group.length === 1 || open(group))),
    recommended: ordered(recommended.filter((group) => open(group) && !isNeeded.has(keyOf(group)))),
    dropped: [
      ...new Set(
        needs
          .flatMap(({ required_env, recommended_env }) => [...(required_env ?? []), ...(recommended_env ?? [])])
          .flatMap(namesOf)
          .filter((name) => !NAME.test(name)),
      ),
    ],
  };
}

/** The requirements that a set of variables does not meet. */
export function unmetBy(available: ReadonlySet<string>, required: readonly EnvRequirement[]): EnvRequirement[] {
  return required.filter((requirement) => !namesOf(requirement).some((name) => available.has(name)));
}

function namesOf(requirement: EnvRequirement): readonly string[] {
  return typeof requirement === "string" ? [requirement] : requirement.any_of;
}

/** A single name is a group of one; groups with nothing valid in them are none. */
function groupsOf(requirements: readonly EnvRequirement[]): string[][] {
  const groups = requirements.map((requirement) => [
    ...new Set(namesOf(requirement).filter((name) => NAME.test(name))),
  ]);
  return groups.filter(({ length }) => length > 0);
}

function ordered(groups: readonly string[][]): EnvRequirement[] {
  const distinct = [...new Map(groups.map((group) => [keyOf(group), group]))];
  const sorted = distinct.sort(([one], [other]) => (one < other ? -1 : 1)).map(([, group]) => group);
  const singles = sorted.filter(({ length }) => length === 1).flat();
  return [...singles, ...sorted.filter(({ length }) => length > 1).map((any_of) => ({ any_of }))];
}

/** The same for the same names in any order. */
function keyOf(group: readonly string[]): string {
  return [...group].sort().join(" ");
}
