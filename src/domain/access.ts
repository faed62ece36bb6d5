/**
 * Who asks a workspace's object for something, as the Worker has established it: the holder of one of its own tokens
 * (whose digest the object still has to find among the live ones), an operator with the deployment's token or with one
 * of the organisation's (its id), or a person at the canvas in open dev mode or with a session.
 */
export type Access =
  | { readonly kind: "token"; readonly digest: string }
  | { readonly kind: "admin" }
  | { readonly kind: "organisation"; readonly id: string }
  | { readonly kind: "canvas" };

/** Who did something, in records: the workspace itself, `admin`, `canvas`, or `organisation:<id of the token>`. */
export function actorOf(access: Access, workspaceId: string): string {
  switch (access.kind) {
    case "token":
      return workspaceId;
    case "organisation":
      return `organisation:${access.id}`;
    case "admin":
    case "canvas":
      return access.kind;
  }
}
