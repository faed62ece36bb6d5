/**
 * Who asks a workspace's object for something, as the Worker has established it: the holder of one of its own tokens
 * (whose digest the object still has to find among the live ones), an operator, or a person at the canvas in open dev
 * mode or with a session.
 */
export type Access =
  | { readonly kind: "token"; readonly digest: string }
  | { readonly kind: "admin" }
  | { readonly kind: "canvas" };
