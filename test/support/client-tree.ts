import { type Agent, anAgent, call } from "./platform.ts";

export interface Creation {
  readonly name?: string;
  readonly role?: string;
  readonly parent?: Agent;
  readonly [field: string]: unknown;
}

/** An external workspace as the canvas creates it, with the token that it is shown once. */
export async function aWorkspace({ parent, ...fields }: Creation = {}): Promise<Agent & { readonly name: string }> {
  const name = fields.name ?? `workspace ${crypto.randomUUID()}`;
  const json = { runtime: "external", name, ...fields, ...(parent ? { parent_id: parent.id } : {}) };
  const { status, body, text } = await call("/workspaces", { json });
  if (status !== 201) throw new Error(`create answered ${status}: ${text}`);
  return { id: body.id, token: body.connection?.auth_token ?? "", name: body.name ?? name };
}

/** One that is there no more. */
export async function aRemovedAgent(): Promise<Agent> {
  const agent = await anAgent();
  await remove(agent);
  return agent;
}

export async function remove({ id }: Agent): Promise<void> {
  const { status, text } = await call(`/workspaces/${id}?confirm=true`, { method: "DELETE" });
  if (status !== 200) throw new Error(`delete answered ${status}: ${text}`);
}

/** Parent, two children, a grandchild; and a root that is nobody's relation but the parent's sibling. */
export async function aFamily() {
  const parent = await aWorkspace();
  const [child, sibling, stranger] = await Promise.all([
    aWorkspace({ parent, role: "Eldest" }),
    aWorkspace({ parent }),
    aWorkspace(),
  ]);
  const grandchild = await aWorkspace({ parent: child });
  return { parent, child, sibling, grandchild, stranger };
}
