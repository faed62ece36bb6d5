const CANONICAL_UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A workspace id in the one spelling that names an object: lower-case hexadecimal with hyphens. */
export type WorkspaceId = string & { readonly __brand: "WorkspaceId" };

/**
 * The text as a workspace id, or null when it is not spelled canonically. Upper case, braces, `urn:uuid:` and bare
 * hexadecimal are refused rather than folded, so that no two spellings ever reach the same object.
 */
export function canonicalWorkspaceId(text: string): WorkspaceId | null {
  return CANONICAL_UUID.test(text) ? (text as WorkspaceId) : null;
}
