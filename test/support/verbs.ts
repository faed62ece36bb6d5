import { env, runDurableObjectAlarm } from "cloudflare:test";
import { aMessage, call } from "./platform.ts";
import { until } from "./until.ts";

/** A deployment as a test file sees it: which calls its backend got, and how its agents come by a token. */
export interface Deployment {
  readonly headers?: Record<string, string>;
  /** All calls so far, oldest first. */
  calls(): Promise<string[]>;
  /** The token of the machine that runs; null where the first registration mints it. */
  tokenOf(id: string): Promise<string | null>;
}

export const VERBS = [
  "create",
  "restart",
  "new secret",
  "pause",
  "resume",
  "hibernate",
  "wake by message",
  "console",
  "create below",
  "collapse",
  "remove",
  "purge",
  "import",
  "import a bundle",
] as const;
export type Verb = (typeof VERBS)[number];

/** Lives every verb through once and answers which calls each of them led to. */
export async function callsOfEveryVerb(deployment: Deployment): Promise<Record<Verb, string[]>> {
  const { headers = {} } = deployment;
  let seen = 0;
  const post = (path: string, json: unknown = {}) => call(path, { json, headers });
  const calls = {} as Record<Verb, string[]>;
  const note = async (verb: Verb, id: string) => {
    await settled(id);
    const all = await deployment.calls();
    calls[verb] = all.slice(seen);
    seen = all.length;
  };
  const created = async (fields: object = {}): Promise<string> => {
    const { body, text } = await post("/workspaces", { name: crypto.randomUUID(), runtime: "langgraph", ...fields });
    if (!body?.id) throw new Error(text);
    return body.id;
  };
  const registered = async (id: string) => {
    const token = await deployment.tokenOf(id);
    const json = { id, delivery_mode: "poll", agent_card: { name: "agent" } };
    const { status, text } = await call("/registry/register", { json, headers, ...(token === null ? {} : { token }) });
    if (status !== 200) throw new Error(text);
  };

  const id = await created();
  await note("create", id);
  await registered(id);
  await post(`/workspaces/${id}/restart`);
  await note("restart", id);
  await registered(id);
  await call(`/workspaces/${id}/secrets`, { method: "PUT", json: { key: "NEW", value: "1" }, headers });
  await note("new secret", id);
  await registered(id);
  await post(`/workspaces/${id}/pause`);
  await note("pause", id);
  await post(`/workspaces/${id}/resume`);
  await note("resume", id);
  await registered(id);
  await post(`/workspaces/${id}/hibernate`);
  await note("hibernate", id);
  await post(`/workspaces/${id}/a2a`, aMessage("wake up"));
  await note("wake by message", id);
  await registered(id);
  await call(`/workspaces/${id}/console`, { headers });
  await note("console", id);

  const child = await created({ parent_id: id });
  await note("create below", child);
  await post(`/workspaces/${id}/collapse`);
  await note("collapse", child);
  await call(`/workspaces/${id}`, { method: "DELETE", headers });
  await note("remove", id);

  const doomed = await created();
  await note("purge", doomed);
  await call(`/workspaces/${doomed}?purge=true`, { method: "DELETE", headers });
  await until("its purge goes on without machines", async () => {
    await runDurableObjectAlarm(env.WORKSPACE.getByName(doomed));
    const { outcome } = await env.WORKSPACE.getByName(doomed).machineRows();
    return !outcome.ok || outcome.value.machines.length === 0;
  });
  await note("purge", doomed);

  const template = { name: "org", workspaces: [{ name: crypto.randomUUID(), runtime: "langgraph" }] };
  const imported = await post("/org/import", { template });
  await note("import", imported.body.workspaces[0].id);
  const bundle = {
    id: crypto.randomUUID(),
    name: crypto.randomUUID(),
    prompts: { "config.yaml": "runtime: langgraph\n" },
  };
  await note("import a bundle", (await post("/bundles/import", bundle)).body.workspace_id);
  return calls;
}

/** Nothing is under way for a workspace's machines: what is wished runs, the rest is gone. */
export async function settled(id: string): Promise<void> {
  await until(`the machines of ${id} are settled`, async () => {
    const { outcome } = await env.WORKSPACE.getByName(id).machineRows();
    if (!outcome.ok) throw new Error(outcome.code);
    const { wish, machines, status } = outcome.value;
    const isQuiet = machines.every(({ state, stopping }) => state === "running" && !stopping);
    return isQuiet && wish.served && machines.length > 0 === (wish.machine === "running" && status !== "failed");
  });
}
