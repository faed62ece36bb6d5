import type { ImportPlan } from "./plan.ts";

/** The answer to an import: 207 when a workspace could not be created, the ones before it stay. */
export function importAnswer(
  org: string,
  plan: ImportPlan,
  dryRun: boolean,
): { readonly status: 200 | 201 | 207; readonly body: Readonly<Record<string, unknown>> } {
  const { entries, created, skipped, removals, toCreate, toRemove, error } = plan;
  return {
    status: error !== null ? 207 : dryRun ? 200 : 201,
    body: {
      org,
      workspaces: entries,
      count: entries.length,
      created,
      skipped,
      ...(removals.length === 0 ? {} : { removed: removals.length }),
      ...(dryRun ? { dry_run: true, to_create: toCreate, to_remove: toRemove } : {}),
      ...(error === null ? {} : { error }),
    },
  };
}
