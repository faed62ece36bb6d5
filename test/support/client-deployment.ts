import { createExecutionContext, env } from "cloudflare:test";
import { app } from "../../src/http/app.ts";
import { type Answer, answerOf, type CallOptions, requestOf } from "./platform.ts";

export const ADMIN_TOKEN = "an-operator's-secret";

/** One deployment's Worker, with variables of its own; the objects behind it are the ones of every test. */
export interface Deployment {
  call(path: string, options?: CallOptions): Promise<Answer>;
  send(path: string, options?: CallOptions): Promise<Response>;
}

/** The Worker as a deployment with these variables runs it; without any, one that an operator has closed. */
export function aDeployment(variables: Record<string, unknown> = {}): Deployment {
  const bindings = { ...env, MOLECULE_ENV: "", ADMIN_TOKEN, LOCAL_PLATFORM: "", ...variables };
  const send = async (path: string, options: CallOptions = {}) =>
    app.fetch(requestOf(path, options), bindings, createExecutionContext());
  return { send, call: async (path, options) => answerOf(await send(path, options)) };
}
