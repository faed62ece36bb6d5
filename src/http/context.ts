import type { Context } from "hono";
import type { Config } from "../config.ts";
import type { RateState } from "../domain/rate-limit.ts";
import type { Directory, EventHub, OutboundCall, Workspace } from "../index.ts";
import type { Credential } from "./caller.ts";

/** What every handler finds on its context. */
export interface AppEnv {
  Bindings: Env;
  Variables: {
    config: Config;
    requestId: string;
    credential: Credential;
    /** Whether the control plane was asked whose cookie this is; `unknown` when it could not tell. */
    session: "unasked" | "asked" | "unknown";
    /** The principal's rate state, as its object counted it. */
    rate: RateState | null;
  };
}

export type AppContext = Context<AppEnv>;

/** The objects, by name. Nothing else in http/ names an object. */
export function workspaceOf(c: AppContext, id: string): DurableObjectStub<Workspace> {
  return c.env.WORKSPACE.getByName(id);
}

export function directoryOf(c: AppContext): DurableObjectStub<Directory> {
  return c.env.DIRECTORY.getByName(organisationOf(c.var.config));
}

export function eventHubOf(c: AppContext): DurableObjectStub<EventHub> {
  return c.env.EVENT_HUB.getByName(organisationOf(c.var.config));
}

export function outboundCallOf(c: AppContext, id: string): DurableObjectStub<OutboundCall> {
  return c.env.OUTBOUND_CALL.getByName(id);
}

/** One deployment is one organisation; its directory and hub carry its name. */
export function organisationOf(config: Config): string {
  return config.organisationId === "" ? "default" : config.organisationId;
}
