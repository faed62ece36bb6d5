import { env } from "cloudflare:test";
import { expect, it } from "vitest";
import { aControlPlane } from "../support/machine-server.ts";
import { controlPlaneCalls, ON_A_CONTROL_PLANE } from "../support/verb-calls.ts";
import { callsOfEveryVerb } from "../support/verbs.ts";

const controlPlane = aControlPlane();

// A control plane alone: set before anything has read its configuration.
env.MOLECULE_ORG_ID = "org-of-one";
env.CP_PROVISION_URL = controlPlane.url;

it("with a control plane alone every verb calls it exactly so", async () => {
  const calls = await callsOfEveryVerb({
    headers: { "X-Molecule-Org-Id": "org-of-one" },
    calls: () => controlPlaneCalls(controlPlane),
    tokenOf: async () => null,
  });
  expect(calls).toEqual(ON_A_CONTROL_PLANE);
});
