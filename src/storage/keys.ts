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

/** All templates of a kind that an operator has put into the bucket. */
export function templatesPrefix(kind: TemplateKind): string {
  return `templates/${kind}/`;
}

/** All files of one of them. */
export function templatePrefix(kind: TemplateKind, name: string): string {
  return `templates/${kind}/${name}/`;
}

/** All templates of a kind that were created over the wire. */
export function templateIndexPrefix(kind: TemplateKind): string {
  return `templates/index/${kind}/`;
}

/** Names the version of a created template that is to be seen; without it there is none. */
export function templateIndexKey(kind: TemplateKind, name: string): string {
  return `templates/index/${kind}/${name}`;
}

/** One attempt to create a template. `version` begins with the time of its beginning, in ms since 1970, and a hyphen. */
export interface TemplateVersion {
  readonly kind: TemplateKind;
  readonly name: string;
  readonly version: string;
}

/** All files of one version; nobody guesses their keys. */
export function templateVersionPrefix({ kind, name, version }: TemplateVersion): string {
  return `templates/files/${kind}/${name}/${version}/`;
}

/** Attempts that have begun and of which nobody knows that they have ended. */
export const OPEN_TEMPLATES_PREFIX = "templates/open/";

export function openTemplateKey({ kind, name, version }: TemplateVersion): string {
  return `${OPEN_TEMPLATES_PREFIX}${kind}/${name}/${version}`;
}

/** The attempt that an open key stands for; null for a key that none has. */
export function openTemplateOf(key: string): TemplateVersion | null {
  const [kind, name = "", version = "", ...more] = key.slice(OPEN_TEMPLATES_PREFIX.length).split("/");
  if ((kind !== "org" && kind !== "workspace") || name === "" || version === "" || more.length > 0) return null;
  return { kind, name, version };
}
