/**
 * The key space of the bucket. Ids are random UUIDs, so that no key can be guessed; templates, which are no secrets,
 * stand beside the workspaces.
 */

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

/** What a template creates: the tree of an organisation, or one workspace. */
export type TemplateKind = "org" | "workspace";

/** All templates of a kind. */
export function templatesPrefix(kind: TemplateKind): string {
  return `templates/${kind}/`;
}

/** All files of one template. */
export function templatePrefix(kind: TemplateKind, name: string): string {
  return `templates/${kind}/${name}/`;
}

/** One file of a template. */
export function templateFileKey(kind: TemplateKind, name: string, path: string): string {
  return `templates/${kind}/${name}/${path}`;
}
