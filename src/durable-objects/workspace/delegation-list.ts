import { LIST_MAX, newestStateFirst, receivedEntry, sentEntry } from "../../domain/delegation-view.ts";
import type { Core } from "./core.ts";

/** What a workspace has delegated and was delegated, each once, newest state first. */
export function delegationList({ delegations, received, profile }: Core): object[] {
  const { workspaceId } = profile.get();
  const sent = delegations.newest().map((one) => ({ ...timesOf(one), entry: sentEntry(one) }));
  const taken = received
    .newest(workspaceId)
    .map((one) => ({ ...timesOf(one), entry: receivedEntry(one, workspaceId) }));
  return [...sent, ...taken]
    .toSorted(newestStateFirst)
    .slice(0, LIST_MAX)
    .map(({ entry }) => entry);
}

function timesOf({ createdAt, updatedAt }: { readonly createdAt: number; readonly updatedAt: number }) {
  return { createdAt, updatedAt };
}
