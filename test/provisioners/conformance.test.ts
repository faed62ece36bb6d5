import { afterAll, beforeAll, describe, inject, onTestFinished } from "vitest";
import { ControlPlaneProvisioner } from "../../src/provisioners/control-plane.ts";
import { DockerProvisioner } from "../../src/provisioners/docker.ts";
import { DockerEngine } from "../../src/provisioners/docker-engine.ts";
import { InMemoryMachines, InMemoryProvisioner, type Mishap } from "../../src/provisioners/in-memory.ts";
import type { StartOrder } from "../../src/provisioners/provisioner.ts";
import { aControlPlane, aDockerEngine } from "../support/machine-server.ts";
import type { Fault } from "../support/machine-server-setup.ts";
import { type Bench, describeMachines, describeMishaps } from "./conformance.ts";
import { controlPlaneSettings, dockerSettings } from "./settings.ts";

type Target = Pick<Fault, "method" | "path">;

function faultOf(target: Target, mishap: Mishap): Fault {
  switch (mishap) {
    case "refuse":
      return { ...target, act: "answer", status: 409, body: "{}" };
    case "lose_call":
      return { ...target, act: "reset" };
    case "lose_answer":
      return { ...target, act: "lose_answer" };
  }
}

function onControlPlane(): Bench {
  const controlPlane = aControlPlane();
  const targets = {
    start: { method: "POST", path: "/provision" },
    stop: { method: "DELETE", path: "/cp/workspaces/" },
    isRunning: { method: "GET", path: "/status" },
  };
  return {
    provisioner: new ControlPlaneProvisioner(controlPlaneSettings(controlPlane.url)),
    play: (_workspaceId, verb, mishap) => controlPlane.fail(faultOf(targets[verb], mishap)),
  };
}

function onDocker(): Bench {
  const docker = aDockerEngine();
  const targets = {
    start: { method: "POST", path: "/start" },
    stop: { method: "DELETE", path: "/containers/" },
    isRunning: { method: "GET", path: "/json" },
  };
  return {
    provisioner: new DockerProvisioner(dockerSettings(), new DockerEngine(fetchFromHere, docker.url)),
    play: (_workspaceId, verb, mishap) => docker.fail(faultOf(targets[verb], mishap)),
  };
}

function inMemory(): Bench {
  const machines = new InMemoryMachines();
  return {
    provisioner: new InMemoryProvisioner(machines),
    play: (workspaceId, verb, mishap) => machines.play(workspaceId, verb, mishap),
  };
}

const fetchFromHere = (url: string, init: RequestInit) => fetch(url, init);

describe.each([
  ["a control plane", onControlPlane],
  ["a Docker engine", onDocker],
  ["machines in memory", inMemory],
])("%s", (_, aBench) => {
  describeMachines(aBench);
  describeMishaps(aBench);
});

const REAL = inject("realDocker");
const TEMPLATE = "ghcr.io/molecule-ai/workspace-template-langgraph";
/** Small, and runs until it is stopped. */
const IDLE_IMAGE = { name: "registry.k8s.io/pause", tag: "3.10" };
const PULL_TIMEOUT_MS = 120_000;

/** An engine that is used for other things too: whatever a test has started on it goes with the test. */
class PassingDockerProvisioner extends DockerProvisioner {
  override start(order: StartOrder) {
    const { workspaceId } = order;
    onTestFinished(async () => {
      await this.stop({ workspaceId, instanceId: null });
      await this.cleanUp(workspaceId);
    });
    return super.start(order);
  }
}

describe.skipIf(REAL === "")(
  `the Docker engine of this machine${REAL === "" ? " (skipped: DOCKER_HOST is not set)" : ""}`,
  () => {
    const engine = new DockerEngine(fetchFromHere, REAL);
    const image = (rest: string, method: string) => fetch(`${REAL}/v1.41/images/${rest}`, { method });
    let isBorrowed = false;

    beforeAll(async () => {
      if ((await image(`${TEMPLATE}:latest/json`, "GET")).ok) return;
      await engine.pullImage(IDLE_IMAGE.name, IDLE_IMAGE.tag);
      const query = new URLSearchParams({ repo: TEMPLATE, tag: "latest" });
      const tagged = await image(`${IDLE_IMAGE.name}:${IDLE_IMAGE.tag}/tag?${query}`, "POST");
      if (!tagged.ok) throw new Error(`no image to test with: ${await tagged.text()}`);
      isBorrowed = true;
    }, PULL_TIMEOUT_MS);

    afterAll(async () => {
      if (isBorrowed) await image(`${TEMPLATE}:latest`, "DELETE");
    });

    describeMachines(() => ({ provisioner: new PassingDockerProvisioner(dockerSettings(), engine) }));
  },
);
