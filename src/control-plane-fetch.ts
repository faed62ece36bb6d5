import type { Fetch } from "./exchange.ts";

/** Calls the control plane that the operator has named; under `npm start` it may be on this machine. */
export function controlPlaneFetch({ CONTROL_PLANE }: Env): Fetch {
  return (url, init) => (CONTROL_PLANE ? CONTROL_PLANE.fetch(url, init) : fetch(url, init));
}
