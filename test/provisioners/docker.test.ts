import { Buffer } from "node:buffer";
import { describe, expect, it } from "vitest";
import type { DockerSettings } from "../../src/config.ts";
import { DockerProvisioner } from "../../src/provisioners/docker.ts";
import { DockerEngine } from "../../src/provisioners/docker-engine.ts";
import { aDockerEngine, anOrder, type DockerBackend, SECRET_WORDS } from "../support/machine-server.ts";
import type { ShownContainer } from "../support/small-docker.ts";
import { started } from "./conformance.ts";
import { dockerSettings } from "./settings.ts";

const ID = "0123abcd-4567-489a-8bcd-ef0123456789";
const NAME = "ws-0123abcd-456";
const MANAGED = { "molecule.platform.managed": "true" };
const SHORT_PATIENCE_MS = 50;
const MIB = 1024 * 1024;

function aPair(settings: Partial<DockerSettings> = {}, timeoutMs?: number) {
  const docker = aDockerEngine();
  const engine = new DockerEngine((url, init) => fetch(url, init), docker.url, timeoutMs);
  return { docker, provisioner: new DockerProvisioner(dockerSettings(settings), engine) };
}

async function theContainer(docker: DockerBackend): Promise<ShownContainer> {
  const { containers } = await docker.show();
  const [container] = containers;
  if (!container || containers.length > 1) throw new Error(`there are ${containers.length} containers`);
  return container;
}

async function calls(docker: DockerBackend): Promise<string[]> {
  return (await docker.received()).map(({ method, path }) => `${method} ${path.replaceAll(/[0-9a-f]{64}/g, "<id>")}`);
}

/** The mode stands 100 bytes after the name, in octal digits. */
function modeOf(archive: string, name: string): string {
  const at = archive.indexOf(`${name}\0`) + 100;
  return archive.slice(at, at + 7);
}

describe("a start", () => {
  it("makes its network, pulls its image, and starts one labelled container with its files in it", async () => {
    const { docker, provisioner } = aPair();
    await started({ provisioner }, anOrder({ workspaceId: ID }));
    const image = "ghcr.io/molecule-ai/workspace-template-langgraph";
    expect(await calls(docker)).toEqual([
      "POST /v1.41/networks/create",
      `POST /v1.41/containers/create?name=${NAME}`,
      `POST /v1.41/images/create?fromImage=${encodeURIComponent(image)}&tag=latest`,
      `POST /v1.41/containers/create?name=${NAME}`,
      "PUT /v1.41/containers/<id>/archive?path=%2Fconfigs&noOverwriteDirNonDir=true&copyUIDGID=true",
      "POST /v1.41/containers/<id>/start",
    ]);
    const { body, isRunning, archives } = await theContainer(docker);
    expect(isRunning).toBe(true);
    const labels = { ...MANAGED, "molecule.workspace.id": ID };
    const volume = (Source: string, Target: string) => {
      return { Type: "volume", Source, Target, VolumeOptions: { Labels: labels } };
    };
    expect(body).toEqual({
      Image: `${image}:latest`,
      Env: [
        "GIT_AUTHOR_NAME=Scribe",
        `GIT_AUTHOR_EMAIL=${ID}@workspaces.invalid`,
        "GIT_COMMITTER_NAME=Scribe",
        `GIT_COMMITTER_EMAIL=${ID}@workspaces.invalid`,
        "MODEL=anthropic:claude-opus-4-7",
        "API_KEY=key-that-nobody-may-see",
        "MOLECULE_AGENT_ROLE=writes things down",
        "PARENT_ID=11111111-2222-4333-8444-555555555555",
        `WORKSPACE_ID=${ID}`,
        "WORKSPACE_CONFIG_PATH=/configs",
        "PLATFORM_URL=https://posthouse.test",
        "MOLECULE_URL=https://posthouse.test",
        "TIER=2",
        "PLUGINS_DIR=/plugins",
        "PYTHONPATH=/app",
      ],
      Labels: labels,
      ExposedPorts: { "8000/tcp": {} },
      HostConfig: {
        Mounts: [volume(`${NAME}-configs`, "/configs"), volume(`ws-${ID}-workspace`, "/workspace")],
        Memory: 512 * MIB,
        NanoCpus: 1_000_000_000,
        NetworkMode: "molecule-monorepo-net",
        PortBindings: { "8000/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] },
      },
    });
    expect(archives.map(({ folder }) => folder)).toEqual(["/configs"]);
    const archive = Buffer.from(archives[0]?.archive ?? "", "base64").toString("latin1");
    expect(archive).toContain("name: Scribe\n");
    expect(archive).toContain("token-that-nobody-may-see");
    expect(modeOf(archive, "config.yaml")).toBe("0000644");
    expect(modeOf(archive, ".auth_token")).toBe("0000600");
  });

  it("pulls nothing that is there", async () => {
    const { docker, provisioner } = aPair();
    await started({ provisioner }, anOrder());
    await started({ provisioner }, anOrder());
    expect((await calls(docker)).filter((call) => call.includes("/images/"))).toHaveLength(1);
  });

  it("hears a pull out, however much the engine tells of it", async () => {
    const { docker, provisioner } = aPair();
    await docker.arrange({ pullBytes: 32 * MIB });
    await started({ provisioner }, anOrder());
    expect((await theContainer(docker)).isRunning).toBe(true);
  });

  it("is refused when its image cannot be had", async () => {
    const { docker, provisioner } = aPair();
    await docker.arrange({ registry: [] });
    const outcome = await provisioner.start(anOrder());
    expect(outcome).toMatchObject({ kind: "refused", reason: expect.stringContaining("No such image") });
    expect((await docker.show()).containers).toEqual([]);
  });

  it.each([
    ["claude-code", "claude-code"],
    ["hermes", "hermes"],
    ["openclaw", "openclaw"],
    ["codex", "codex"],
    ["langgraph", "langgraph"],
    ["crewai", "crewai"],
    ["autogen", "autogen"],
    ["deepagents", "deepagents"],
    ["gemini-cli", "gemini-cli"],
    ["somebody-elses", "langgraph"],
    ["", "langgraph"],
  ])("takes the runtime %j from the template %s", async (runtime, template) => {
    const { docker, provisioner } = aPair();
    await started({ provisioner }, anOrder({ runtime }));
    const { body } = await theContainer(docker);
    expect(body.Image).toBe(`ghcr.io/molecule-ai/workspace-template-${template}:latest`);
  });

  it("gives each tier its rights and limits, and an unknown one those of tier 2", async () => {
    const published = { "8000/tcp": [{ HostIp: "127.0.0.1", HostPort: "" }] };
    const own = { NetworkMode: "molecule-monorepo-net", PortBindings: published };
    const small = { Memory: 512 * MIB, NanoCpus: 1_000_000_000 };
    const tmpfs = { "/tmp": "rw,nosuid,nodev,size=64m" };
    const expected: [number, string[], object][] = [
      [1, ["/configs"], { ...small, ...own, ReadonlyRootfs: true, Tmpfs: tmpfs }],
      [2, ["/configs", "/workspace"], { ...small, ...own }],
      [
        3,
        ["/configs", "/workspace"],
        { ...own, Memory: 2048 * MIB, NanoCpus: 2_000_000_000, Privileged: true, PidMode: "host" },
      ],
      [
        4,
        ["/configs", "/workspace", "/var/run/docker.sock"],
        { Memory: 4096 * MIB, NanoCpus: 4_000_000_000, Privileged: true, NetworkMode: "host" },
      ],
      [9, ["/configs", "/workspace"], { ...small, ...own }],
    ];
    for (const [tier, targets, config] of expected) {
      const { docker, provisioner } = aPair();
      await started({ provisioner }, anOrder({ tier }));
      const { Mounts, ...rest } = (await theContainer(docker)).body.HostConfig;
      expect(Mounts?.map(({ Target }) => Target)).toEqual(targets);
      expect(rest).toEqual(config);
    }
  });

  it("puts a directory of the host where the volume would be, read-only unless writing was granted", async () => {
    const mountOf = async (changes: Parameters<typeof anOrder>[0]) => {
      const { docker, provisioner } = aPair();
      await started({ provisioner }, anOrder({ workspaceId: ID, ...changes }));
      return (await theContainer(docker)).body.HostConfig.Mounts?.find(({ Target }) => Target === "/workspace");
    };
    const bind = { Type: "bind", Source: "/data/shop", Target: "/workspace" };
    const path = "/data/shop";
    expect(await mountOf({ hostDirectory: { path, readOnly: true } })).toEqual({ ...bind, ReadOnly: true });
    expect(await mountOf({ hostDirectory: { path, readOnly: false } })).toEqual({ ...bind, ReadOnly: false });
    expect(await mountOf({ hostDirectory: null })).toMatchObject({ Type: "volume", Source: `ws-${ID}-workspace` });
    expect(await mountOf({ hostDirectory: { path, readOnly: false }, tier: 1 })).toBeUndefined();
  });

  it("is refused before anything is called when its directory of the host is in no root", async () => {
    for (const [hostRoots, path] of [
      [[], "/data/shop"],
      [["/data"], "/data2"],
      [["/data"], "/home/me"],
      [["/data"], "/data/../run/docker.sock"],
      [["/data/shop"], "/data"],
    ] as const) {
      const { docker, provisioner } = aPair({ hostRoots });
      for (const readOnly of [true, false]) {
        expect(await provisioner.start(anOrder({ hostDirectory: { path, readOnly } })), path).toEqual({
          kind: "refused",
          reason: "the workspace's directory is in none of WORKSPACE_DIR_ROOTS",
        });
      }
      expect(await docker.received()).toEqual([]);
    }
    const { provisioner } = aPair({ hostRoots: [] });
    await started({ provisioner }, anOrder({ hostDirectory: null }));
  });

  it("obeys the limits of the configuration", async () => {
    const limits = { ...dockerSettings().limits, 2: { memoryMb: 100, cpuShares: 512 } };
    const { docker, provisioner } = aPair({ limits });
    await started({ provisioner }, anOrder({ tier: 2 }));
    expect((await theContainer(docker)).body.HostConfig).toMatchObject({ Memory: 100 * MIB, NanoCpus: 500_000_000 });
  });

  it("lets no secret change what the platform says of itself", async () => {
    const { docker, provisioner } = aPair();
    const env = { WORKSPACE_ID: "other", PLATFORM_URL: "https://evil.test", PARENT_ID: "other" };
    const order = anOrder({ env });
    await started({ provisioner }, order);
    const { body } = await theContainer(docker);
    expect(body.Env).toContain(`WORKSPACE_ID=${order.workspaceId}`);
    expect(body.Env).toContain("PLATFORM_URL=https://posthouse.test");
    expect(body.Env).toContain(`PARENT_ID=${order.parentId}`);
    expect(body.Env.join()).not.toContain("other");
  });

  it("tells Hermes its model under its own name", async () => {
    const { docker, provisioner } = aPair();
    await started({ provisioner }, anOrder({ runtime: "hermes", env: { MODEL_PROVIDER: "kimi/k2" } }));
    const { body } = await theContainer(docker);
    expect(body.Env).toEqual(expect.arrayContaining(["MODEL=kimi/k2", "HERMES_DEFAULT_MODEL=kimi/k2"]));
  });

  it("tells where the agent listens when the engine is on this machine", async () => {
    const here = await aPair({ isLocal: true }).provisioner.start(anOrder());
    expect(here).toMatchObject({ kind: "started", url: "http://127.0.0.1:49153" });
    const elsewhere = await aPair({ isLocal: false }).provisioner.start(anOrder());
    expect(elsewhere).toMatchObject({ kind: "started", url: null });
    const onHostNetwork = await aPair({ isLocal: true }).provisioner.start(anOrder({ tier: 4 }));
    expect(onHostNetwork).toMatchObject({ kind: "started", url: null });
  });

  it("has worked even when nobody can tell where the agent listens", async () => {
    const { docker, provisioner } = aPair({ isLocal: true });
    await docker.fail({ method: "GET", path: "/json", act: "reset" });
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "started", url: null });
  });

  it("writes no file outside the configuration folder", async () => {
    const { docker, provisioner } = aPair();
    for (const path of ["../etc/passwd", "/etc/passwd", "a//b", "", "x".repeat(101)]) {
      expect(await provisioner.start(anOrder({ files: { [path]: "" } })), path).toMatchObject({ kind: "refused" });
    }
    expect(await docker.received()).toEqual([]);
  });
});

describe("a name that is taken", () => {
  it("is freed when an earlier start of the same workspace left it", async () => {
    const { docker, provisioner } = aPair();
    const order = anOrder();
    const first = await started({ provisioner }, order);
    const second = await started({ provisioner }, order);
    expect((await theContainer(docker)).id).toBe(second.instanceId);
    expect(second.instanceId).not.toBe(first.instanceId);
  });

  it("is freed from a container of the platform that carries no workspace id", async () => {
    const { docker, provisioner } = aPair();
    await docker.arrange({ stranger: { name: NAME, labels: MANAGED } });
    const { instanceId } = await started({ provisioner }, anOrder({ workspaceId: ID }));
    expect((await theContainer(docker)).id).toBe(instanceId);
  });

  it.each([
    ["a stranger", {}],
    ["another workspace", { ...MANAGED, "molecule.workspace.id": "0123abcd-4567-4000-8000-000000000000" }],
  ])("stays with %s, whose container is neither stopped nor looked at", async (_, labels) => {
    const { docker, provisioner } = aPair();
    await docker.arrange({ stranger: { name: NAME, labels } });
    const { id } = await theContainer(docker);
    const machine = { workspaceId: ID, instanceId: null };
    for (const resetSession of [false, true]) {
      expect(await provisioner.start(anOrder({ workspaceId: ID, resetSession }))).toMatchObject({ kind: "refused" });
    }
    expect(await provisioner.isRunning(machine)).toEqual({ kind: "not_running" });
    expect(await provisioner.stop(machine)).toEqual({ kind: "stopped" });
    expect((await theContainer(docker)).id).toBe(id);
  });

  it("is fought for once", async () => {
    const { docker, provisioner } = aPair();
    await started({ provisioner }, anOrder());
    const conflict = { method: "POST", path: "/containers/create", act: "answer", status: 409, body: "{}" } as const;
    await docker.fail(conflict, conflict);
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "refused" });
  });

  it("may hide a machine that runs when the stale one cannot be looked at or removed", async () => {
    for (const fault of [
      { method: "GET", path: "/json", act: "reset" },
      { method: "DELETE", path: "/containers/", act: "answer", status: 500, body: '{"message":"busy"}' },
    ] as const) {
      const { docker, provisioner } = aPair();
      const order = anOrder();
      await started({ provisioner }, order);
      await docker.fail(fault);
      expect(await provisioner.start(order)).toMatchObject({ kind: "unknown" });
    }
  });
});

describe("a start that breaks off", () => {
  it.each([
    ["the files are refused", { method: "PUT", path: "/archive", act: "answer", status: 403, body: "{}" }],
    ["the files are lost", { method: "PUT", path: "/archive", act: "reset" }],
    ["the container will not start", { method: "POST", path: "/start", act: "answer", status: 500, body: "{}" }],
  ] as const)("leaves no container when %s", async (_, fault) => {
    const { docker, provisioner } = aPair();
    await docker.fail(fault);
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "refused" });
    expect((await docker.show()).containers).toEqual([]);
  });

  it("may have left a machine when the container cannot be removed either", async () => {
    const { docker, provisioner } = aPair();
    await docker.fail(
      { method: "POST", path: "/start", act: "answer", status: 500, body: '{"message":"no cgroup"}' },
      { method: "DELETE", path: "/containers/", act: "reset" },
    );
    const reason = expect.stringMatching(/^start: Docker answered 500: no cgroup; remove: ./);
    expect(await provisioner.start(anOrder())).toEqual({ kind: "unknown", reason });
  });

  it.each([
    ["is lost", { act: "lose_answer" }],
    ["names no id", { act: "answer", status: 201, body: "{}" }],
    ["is cut off", { act: "cut", status: 201, body: '{"Id":"' }],
  ] as const)("may have left a container when the answer to its creation %s", async (_, fault) => {
    const { docker, provisioner } = aPair();
    const order = anOrder();
    // The image has to be there for the creation to be what fails.
    await provisioner.stop(await started({ provisioner }, order));
    await docker.fail({ method: "POST", path: "/containers/create", ...fault });
    expect(await provisioner.start(order)).toMatchObject({ kind: "unknown" });
    expect(await provisioner.stop({ ...order, instanceId: null })).toEqual({ kind: "stopped" });
    expect((await docker.show()).containers).toEqual([]);
  });

  it("was never made without its network", async () => {
    const { docker, provisioner } = aPair();
    await docker.fail({ method: "POST", path: "/networks/create", act: "answer", status: 500, body: "{}" });
    expect(await provisioner.start(anOrder())).toMatchObject({ kind: "refused" });
    expect((await docker.show()).containers).toEqual([]);
  });

  it("may have worked when no answer comes in time", async () => {
    const { docker, provisioner } = aPair({}, SHORT_PATIENCE_MS);
    await docker.fail({ method: "POST", path: "/start", act: "hold" });
    const reason = `start: no answer within ${SHORT_PATIENCE_MS} ms`;
    expect(await provisioner.start(anOrder())).toEqual({ kind: "unknown", reason });
  });

  it("tells Docker's words without the secrets in them", async () => {
    const { docker, provisioner } = aPair();
    const message = `invalid env ${SECRET_WORDS.join(", ")}`;
    const body = JSON.stringify({ message });
    await docker.fail({ method: "POST", path: "/containers/create", act: "answer", status: 400, body });
    const reason = "create: Docker answered 400: invalid env [secret], [secret]";
    expect(await provisioner.start(anOrder())).toEqual({ kind: "refused", reason });
  });
});

describe("a session", () => {
  it("is kept over a restart, and forgotten when that is asked for", async () => {
    const { docker, provisioner } = aPair();
    const order = anOrder({ workspaceId: ID, runtime: "claude-code" });
    const sessions = `${NAME}-claude-sessions`;
    const removals = async () => (await calls(docker)).filter((call) => call === `DELETE /v1.41/volumes/${sessions}`);
    await provisioner.stop(await started({ provisioner }, order));
    await provisioner.stop(await started({ provisioner }, order));
    expect((await docker.show()).volumes).toContain(sessions);
    expect(await removals()).toHaveLength(0);
    await started({ provisioner }, { ...order, resetSession: true });
    expect(await removals()).toHaveLength(1);
  });

  it("that cannot be forgotten refuses the start", async () => {
    const { docker, provisioner } = aPair();
    await docker.fail({ method: "DELETE", path: "/volumes/", act: "answer", status: 500, body: "{}" });
    expect(await provisioner.start(anOrder({ resetSession: true }))).toMatchObject({ kind: "refused" });
    expect((await docker.show()).containers).toEqual([]);
  });
});

describe("a server that is no engine", () => {
  it("is not believed when it says 404", async () => {
    const { docker, provisioner } = aPair();
    const notFound = { path: "", act: "answer", status: 404, body: '{"message":"page not found"}' } as const;
    const machine = { workspaceId: ID, instanceId: "c-1" };
    await docker.fail({ ...notFound, method: "GET" }, { ...notFound, method: "DELETE" });
    expect(await provisioner.isRunning(machine)).toMatchObject({ kind: "unknown" });
    expect(await provisioner.stop(machine)).toMatchObject({ kind: "failed" });
    await docker.fail({ ...notFound, method: "DELETE", body: "<html>" });
    expect(await provisioner.cleanUp(ID)).toMatchObject({ kind: "failed" });
  });
});

describe("a stop", () => {
  it("lets the container end by itself for ten seconds, and removes it", async () => {
    const { docker, provisioner } = aPair();
    await provisioner.stop(await started({ provisioner }, anOrder()));
    expect((await calls(docker)).slice(-2)).toEqual([
      "POST /v1.41/containers/<id>/stop?t=10",
      "DELETE /v1.41/containers/<id>?force=true&v=true",
    ]);
    expect((await docker.show()).containers).toEqual([]);
  });

  it("removes a container that would not end", async () => {
    const { docker, provisioner } = aPair();
    const machine = await started({ provisioner }, anOrder());
    await docker.fail({ method: "POST", path: "/stop", act: "answer", status: 500, body: "{}" });
    expect(await provisioner.stop(machine)).toEqual({ kind: "stopped" });
    expect((await docker.show()).containers).toEqual([]);
  });

  it("fails when nobody can tell which container it is", async () => {
    for (const fault of [{ act: "reset" }, { act: "answer", status: 200, body: "{}" }] as const) {
      const { docker, provisioner } = aPair();
      const { workspaceId } = await started({ provisioner }, anOrder());
      await docker.fail({ method: "GET", path: "/json", ...fault });
      expect(await provisioner.stop({ workspaceId, instanceId: null })).toMatchObject({ kind: "failed" });
    }
  });
});

describe("cleaning up", () => {
  it("removes every volume of the workspace and none of another one", async () => {
    const { docker, provisioner } = aPair();
    const machine = await started({ provisioner }, anOrder({ workspaceId: ID, runtime: "claude-code" }));
    const other = anOrder();
    await started({ provisioner }, other);
    expect((await docker.show()).volumes).toContain(`ws-${ID}-workspace`);
    await provisioner.stop(machine);
    expect(await provisioner.cleanUp(ID)).toEqual({ kind: "stopped" });
    const short = other.workspaceId.slice(0, 12);
    expect((await docker.show()).volumes).toEqual([`ws-${short}-configs`, `ws-${other.workspaceId}-workspace`]);
  });

  it("fails while a container uses a volume", async () => {
    const { provisioner } = aPair();
    const { workspaceId } = await started({ provisioner }, anOrder());
    const reason = expect.stringContaining("volume is in use");
    expect(await provisioner.cleanUp(workspaceId)).toEqual({ kind: "failed", reason });
  });
});

it("has no console", async () => {
  expect(await aPair().provisioner.console()).toBeNull();
});
