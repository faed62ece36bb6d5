import { env } from "cloudflare:test";
import { expect, it } from "vitest";
import { aControlPlane, aDockerEngine } from "../support/machine-server.ts";
import { controlPlaneCalls, ON_A_CONTROL_PLANE } from "../support/verb-calls.ts";
import { callsOfEveryVerb } from "../support/verbs.ts";

const controlPlane = aControlPlane();
const docker = aDockerEngine();

// Both backends: set before anything has read its configuration.
env.MOLECULE_ORG_ID = "org-of-two";
env.CP_PROVISION_URL = controlPlane.url;
env.DOCKER_HOST = docker.url;

it("with both backends every verb calls the control plane as if it were alone, and Docker never", async () => {
  const calls = await callsOfEveryVerb({
    headers: { "X-Molecule-Org-Id": "org-of-two" },
    calls: () => controlPlaneCalls(controlPlane),
    tokenOf: async () => null,
  });
  expect(calls).toEqual(ON_A_CONTROL_PLANE);
  expect(await docker.received()).toEqual([]);
});
