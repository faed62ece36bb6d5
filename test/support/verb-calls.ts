import type { ControlPlaneBackend, DockerBackend } from "./machine-server.ts";
import { until } from "./until.ts";
import type { Verb } from "./verbs.ts";

const PROVISION = "POST /cp/workspaces/provision";
const TERMINATE = "DELETE /cp/workspaces/:id?instance_id=:instance";

/** What each verb asks of a control plane. */
export const ON_A_CONTROL_PLANE: Record<Verb, string[]> = {
  create: [PROVISION],
  restart: [TERMINATE, PROVISION],
  "new secret": [TERMINATE, PROVISION],
  pause: [TERMINATE],
  resume: [PROVISION],
  hibernate: [TERMINATE],
  "wake by message": [PROVISION],
  console: ["GET /cp/admin/workspaces/:id/console"],
  "create below": [PROVISION],
  collapse: [TERMINATE],
  remove: [TERMINATE],
  purge: [TERMINATE],
  import: [PROVISION],
  "import a bundle": [PROVISION],
};

const START = [
  "POST /networks/create",
  "POST /containers/create",
  "PUT /containers/:container/archive",
  "POST /containers/:container/start",
  "GET /containers/:container/json",
];
const STOP = ["POST /containers/:container/stop", "DELETE /containers/:container"];
/** The volumes go at once, in whichever order. */
const CLEAN_UP = ["DELETE /volumes/configs", "DELETE /volumes/sessions", "DELETE /volumes/workspace"];

/** What each verb asks of a Docker engine. */
export const ON_DOCKER: Record<Verb, string[]> = {
  // The first container of a runtime finds no image yet.
  create: [...START.slice(0, 2), "POST /images/create", ...START.slice(1)],
  restart: [...STOP, ...START],
  "new secret": [...STOP, ...START],
  pause: STOP,
  resume: START,
  hibernate: STOP,
  "wake by message": START,
  console: [],
  "create below": START,
  collapse: [...STOP, ...CLEAN_UP],
  remove: [...STOP, ...CLEAN_UP],
  purge: [...STOP, ...CLEAN_UP],
  import: START,
  "import a bundle": START,
};

const UUID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

/** All calls that a control plane got, without what differs from run to run. */
export async function controlPlaneCalls(controlPlane: ControlPlaneBackend): Promise<string[]> {
  const received = await controlPlane.received();
  return received.map(({ method, path }) => {
    const route = path.replace(/^.*(?=\/cp\/)/, "");
    return `${method} ${route.replace(/i-[^&]+$/, ":instance").replace(UUID, ":id")}`;
  });
}

/** All calls that an engine got, likewise; volumes by what they are for, each run of their removals in one order. */
export async function dockerCalls(docker: DockerBackend): Promise<string[]> {
  const calls = (await docker.received()).map(({ method, path }) => {
    const route = path.replace(/^.*\/v[\d.]+/, "").replace(/\?.*$/, "");
    const volume = /^\/volumes\/.*-(\w+)$/.exec(route);
    return `${method} ${volume ? `/volumes/${volume[1]}` : route.replace(/[0-9a-f]{64}/, ":container")}`;
  });
  for (let at = 0; at < calls.length; at += 1) {
    const length = calls.slice(at).findIndex((call) => !call.startsWith("DELETE /volumes/"));
    const run = calls.slice(at, length === -1 ? undefined : at + length).sort();
    calls.splice(at, run.length, ...run);
    at += run.length;
  }
  return calls;
}

/** The token that was brought to the machine of a workspace. */
export function tokenInContainer(docker: DockerBackend, id: string): Promise<string> {
  return until("its token is brought to it", async () => {
    const container = (await docker.show()).containers.find(({ name }) => name === `ws-${id.slice(0, 12)}`);
    const files = container?.isRunning ? container.archives.map(({ archive }) => atob(archive)).join("") : "";
    return /mol_[0-9A-Za-z]+/.exec(files)?.[0];
  });
}
