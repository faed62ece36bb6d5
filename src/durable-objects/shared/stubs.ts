import { configOf } from "../../config.ts";
import type { Directory, EventHub, Machine, OutboundCall, Workspace } from "../../index.ts";

/** One deployment is one organisation; its directory and its hub carry its name. */
export function organisationOf(env: Env): string {
  const { organisationId } = configOf(env);
  return organisationId === "" ? "default" : organisationId;
}

export function directoryStub(env: Env): DurableObjectStub<Directory> {
  return env.DIRECTORY.getByName(organisationOf(env));
}

export function eventHubStub(env: Env): DurableObjectStub<EventHub> {
  return env.EVENT_HUB.getByName(organisationOf(env));
}

export function workspaceStub(env: Env, id: string): DurableObjectStub<Workspace> {
  return env.WORKSPACE.getByName(id);
}

export function outboundCallStub(env: Env, callId: string): DurableObjectStub<OutboundCall> {
  return env.OUTBOUND_CALL.getByName(callId);
}

/** The object that calls the provisioning backend for one workspace. */
export function machineStub(env: Env, workspaceId: string): DurableObjectStub<Machine> {
  return env.MACHINE.getByName(workspaceId);
}
