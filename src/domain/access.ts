/**
 * Who asks a workspace's object for something, as the Worker has established it: the holder of one of its own tokens
 * (whose digest the object still has to find among the live ones), an operator with the deployment's token or with one
 * of the organisation's (its id), or a person at the canvas: anybody in open dev mode, a user
 * with a session.
 */
export type Access =
  | { readonly kind: "token"; readonly digest: string }
  | { readonly kind: "admin" }
  | { readonly kind: "organisation"; readonly id: string }
  | { readonly kind: "canvas"; readonly userId?: string };

/** Who did something, in records: the workspace, `admin`, `organisation:<id of the token>`, `canvas`, `canvas:<user>`. */
export function actorOf(access: Access, workspaceId: string): string {
  switch (access.kind) {
    case "token":
      return workspaceId;
    case "organisation":
      return `organisation:${access.id}`;
    case "admin":
      return "admin";
    case "canvas":
      return access.userId === undefined ? "canvas" : `canvas:${access.userId}`;
  }
}
