import { env } from "cloudflare:test";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { configOf } from "../../src/config.ts";
import {
  defaultTier,
  hasProvisioner,
  keepsVolumes,
  NO_BACKEND,
  provisionTimeoutMs,
  tellsMachineUrls,
} from "../../src/provisioners/backend.ts";
import { provisionerOf, stopWithRetry } from "../../src/provisioners/dispatcher.ts";
import { InMemoryMachines, InMemoryProvisioner, inMemoryMachines } from "../../src/provisioners/in-memory.ts";
import { aControlPlane, aDockerEngine, anOrder } from "../support/machine-server.ts";
import { started } from "./conformance.ts";

function withVariables(variables: Record<string, unknown>): Env {
  return { ...env, ...variables } as Env;
}

const CONTROL_PLANE = { MOLECULE_ORG_ID: "org-1", CP_PROVISION_URL: "https://cp.test" };
const DOCKER = { DOCKER_HOST: "tcp://docker.test:2375" };

describe("the dispatcher", () => {
  it.each([
    ["no backend", {}, null],
    ["an organisation alone", { MOLECULE_ORG_ID: "org-1" }, null],
    ["a control plane without an organisation", { CP_PROVISION_URL: "https://cp.test" }, null],
    ["a control plane", CONTROL_PLANE, "control_plane"],
    [
      "a control plane under its other name",
      { MOLECULE_ORG_ID: "o", MOLECULE_CP_URL: "http://cp.test" },
      "control_plane",
    ],
    ["Docker", DOCKER, "docker"],
    ["both", { ...CONTROL_PLANE, ...DOCKER }, "control_plane"],
    ["an engine that cannot be named so", { DOCKER_HOST: "ftp://docker.test" }, null],
    ["a socket that a Worker cannot open", { DOCKER_HOST: "unix:///var/run/docker.sock" }, null],
    ["machines in memory", { ...CONTROL_PLANE, PROVISIONER: "in_memory" }, "in_memory"],
    ["machines in memory, in production", { PROVISIONER: "in_memory", MOLECULE_ENV: "production" }, null],
  ])("given %s, chooses what there is", (_, variables, name) => {
    const given = withVariables(variables);
    expect(provisionerOf(given)?.name ?? null).toBe(name);
    expect(hasProvisioner(configOf(given))).toBe(name !== null);
  });

  it("gives a start its runtime's time, unless the deployment gives all of them another", () => {
    const limits = (variables: Record<string, unknown>) =>
      ["hermes", "codex"].map((runtime) => provisionTimeoutMs(configOf(withVariables(variables)), runtime));
    expect(limits({})).toEqual([1_800_000, 600_000]);
    expect(limits({ PROVISION_TIMEOUT_SECONDS: "90" })).toEqual([90_000, 90_000]);
  });

  it("knows where agents are called on an engine of this machine only", () => {
    const tells = (variables: Record<string, unknown>) => tellsMachineUrls(configOf(withVariables(variables)));
    expect(tells({ DOCKER_HOST: "tcp://localhost:2375" })).toBe(true);
    for (const variables of [{}, DOCKER, CONTROL_PLANE, { ...CONTROL_PLANE, DOCKER_HOST: "tcp://localhost:2375" }]) {
      expect(tells(variables)).toBe(false);
    }
  });

  it("gives a backend its tier, and looks after volumes where one may leave some", () => {
    const facts = (variables: Record<string, unknown>) => {
      const config = configOf(withVariables(variables));
      return [defaultTier(config), keepsVolumes(config)];
    };
    expect(facts({})).toEqual([3, false]);
    expect(facts(DOCKER)).toEqual([3, true]);
    expect(facts(CONTROL_PLANE)).toEqual([4, false]);
  });

  it("has words for the absence of every backend", () => {
    expect(NO_BACKEND).toBe(
      "no provisioning backend available — workspace requires either a Docker daemon (self-hosted) or control-plane provisioner (SaaS)",
    );
  });

  it("calls the control plane of the configuration with its credentials", async () => {
    const controlPlane = aControlPlane();
    const given = withVariables({
      MOLECULE_ORG_ID: "org-1",
      MOLECULE_CP_URL: `${controlPlane.url}/`,
      PROVISION_SHARED_SECRET: "fallback",
      ADMIN_TOKEN: "operator",
    });
    expect(await provisionerOf(given)?.start(anOrder())).toMatchObject({ kind: "started" });
    const [call] = await controlPlane.received();
    expect(call?.headers).toMatchObject({ authorization: "Bearer fallback", "x-molecule-admin-token": "operator" });
  });

  it("calls the engine of the configuration, through its binding where there is one", async () => {
    const docker = aDockerEngine();
    const direct = provisionerOf(withVariables({ DOCKER_HOST: docker.url }));
    expect(await direct?.start(anOrder())).toMatchObject({ kind: "started", url: "http://127.0.0.1:49153" });

    const binding = {
      fetch: (url: string, init: RequestInit) => fetch(url.replace("http://docker", docker.url), init),
    };
    const bound = provisionerOf(withVariables({ DOCKER_HOST: "unix:///var/run/docker.sock", DOCKER: binding }));
    expect(await bound?.start(anOrder())).toMatchObject({ kind: "started" });
    expect((await docker.show()).containers).toHaveLength(2);
  });

  it("keeps one set of machines in memory for all that asks", async () => {
    const given = withVariables({ PROVISIONER: "in_memory" });
    const order = anOrder();
    await provisionerOf(given)?.start(order);
    expect(inMemoryMachines().runningFor(order.workspaceId)).toHaveLength(1);
    await provisionerOf(given)?.stop({ workspaceId: order.workspaceId, instanceId: null });
    expect(
      inMemoryMachines()
        .callsFor(order.workspaceId)
        .map(({ verb }) => verb),
    ).toEqual(["start", "stop"]);
    expect(inMemoryMachines("another").callsFor(order.workspaceId)).toEqual([]);
  });
});

describe("a stop with patience", () => {
  async function aMachine() {
    const machines = new InMemoryMachines();
    const provisioner = new InMemoryProvisioner(machines);
    const machine = await started({ provisioner }, anOrder());
    const waits: number[] = [];
    const wait = async (ms: number) => void waits.push(ms);
    const logged = vi.spyOn(console, "error").mockImplementation(() => undefined);
    onTestFinished(() => logged.mockRestore());
    const lines = () => logged.mock.calls.map(([line]) => JSON.parse(String(line)));
    return { machines, provisioner, machine, waits, lines, retry: { source: "restart", wait } };
  }

  it("is one call when that succeeds", async () => {
    const { machines, provisioner, machine, waits, retry } = await aMachine();
    expect(await stopWithRetry(provisioner, machine, retry)).toEqual({ kind: "stopped" });
    expect(machines.callsFor(machine.workspaceId).map(({ verb }) => verb)).toEqual(["start", "stop"]);
    expect(waits).toEqual([]);
  });

  it("tries three times, a second and then two apart", async () => {
    const { machines, provisioner, machine, waits, lines, retry } = await aMachine();
    machines.play(machine.workspaceId, "stop", "refuse", "lose_call");
    expect(await stopWithRetry(provisioner, machine, retry)).toEqual({ kind: "stopped" });
    expect(waits).toEqual([1_000, 2_000]);
    expect(machines.runningFor(machine.workspaceId)).toEqual([]);
    expect(lines()).toEqual([]);
  });

  it("names the machine that may run on when all three fail", async () => {
    const { machines, provisioner, machine, waits, lines, retry } = await aMachine();
    machines.play(machine.workspaceId, "stop", "refuse", "refuse", "lose_call");
    expect(await stopWithRetry(provisioner, machine, retry)).toEqual({ kind: "failed", reason: "lose_call" });
    expect(waits).toEqual([1_000, 2_000]);
    expect(lines()).toEqual([
      {
        level: "error",
        event: "machine.leak_suspect",
        at: expect.any(String),
        message: `LEAK-SUSPECT cpProv.Stop workspace_id=${machine.workspaceId} source=restart attempts=3 last_err=lose_call`,
        backend: "in_memory",
        workspace_id: machine.workspaceId,
        instance_id: machine.instanceId,
        source: "restart",
        attempts: 3,
      },
    ]);
  });
});

describe("machines in memory", () => {
  it("show two machines of one workspace as the leak that they are", async () => {
    const machines = new InMemoryMachines();
    const provisioner = new InMemoryProvisioner(machines);
    const order = anOrder();
    const { instanceId } = await started({ provisioner }, order);
    await started({ provisioner }, order);
    expect(machines.runningFor(order.workspaceId)).toHaveLength(2);
    await provisioner.stop({ workspaceId: order.workspaceId, instanceId });
    expect(machines.runningFor(order.workspaceId)).toHaveLength(1);
  });

  it("play mishaps of consoles and clean-ups too", async () => {
    const machines = new InMemoryMachines();
    const provisioner = new InMemoryProvisioner(machines);
    machines.play("w", "console", "refuse");
    machines.play("w", "cleanUp", "refuse");
    await expect(provisioner.console("w")).rejects.toThrow("refuse");
    expect(await provisioner.console("w")).toBe("console of w");
    expect(await provisioner.cleanUp("w")).toEqual({ kind: "failed", reason: "refuse" });
  });
});
