/** The key space of the bucket. Ids are random UUIDs, so that no key can be guessed. */

/** Everything that a workspace ever stored lies under this. */
export function workspacePrefix(workspaceId: string): string {
  return `${workspaceId}/`;
}

/** The multipart body of one upload, as it came. */
export function uploadKey(workspaceId: string, uploadId: string): string {
  return `${workspaceId}/${uploadId}`;
}

/** A text too large for a row, see large-body.ts. */
export function largeBodyKey(workspaceId: string, id: string): string {
  return `${workspaceId}/large/${id}`;
}
