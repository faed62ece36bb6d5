import { describe, expect, it } from "vitest";
import { configOf, parseConfig, pushUrlPolicy } from "../src/config.ts";

const COMPLETE = { TOKEN_KEY: "t", CURSOR_KEY: "c", DATABASE_URL: "postgres://db/x", ADMIN_TOKEN: "a" };

describe("open dev mode", () => {
  it("needs both a development environment and no admin token", () => {
    for (const MOLECULE_ENV of ["development", "dev", " Dev ", "DEVELOPMENT"]) {
      expect(parseConfig({ MOLECULE_ENV }).devMode, MOLECULE_ENV).toBe(true);
      expect(parseConfig({ MOLECULE_ENV, ADMIN_TOKEN: "a" }).devMode).toBe(false);
    }
    for (const MOLECULE_ENV of [undefined, "", "production", "prod", "test", "developer"]) {
      expect(parseConfig({ MOLECULE_ENV }).devMode).toBe(false);
    }
  });

  it("is announced among the findings", () => {
    expect(parseConfig({ ...COMPLETE, ADMIN_TOKEN: "", MOLECULE_ENV: "dev" }).findings).toEqual([
      "open dev mode: requests without a bearer are admitted",
    ]);
  });
});

describe("a number", () => {
  it("is taken within its bounds and falls back to its default with a finding elsewhere", () => {
    expect(parseConfig({ RATE_LIMIT: "5" }).RATE_LIMIT).toBe(5);
    expect(parseConfig({ RATE_LIMIT: " 5 " }).RATE_LIMIT).toBe(5);
    expect(parseConfig({}).RATE_LIMIT).toBe(600);
    expect(parseConfig({ RATE_LIMIT: "" }).RATE_LIMIT).toBe(600);
    for (const RATE_LIMIT of ["0", "-1", "1.5", "many", "1e3", "99999999", 7]) {
      const config = parseConfig({ ...COMPLETE, RATE_LIMIT });
      expect(config.RATE_LIMIT, String(RATE_LIMIT)).toBe(600);
      expect(config.findings).toEqual(["RATE_LIMIT must be a whole number from 1 to 1000000; 600 is used"]);
    }
  });
});

describe("a configuration", () => {
  it("without findings is complete and closed", () => {
    expect(parseConfig(COMPLETE).findings).toEqual([]);
  });

  it("names what is missing", () => {
    expect(parseConfig({}).findings).toEqual([
      "TOKEN_KEY is not set: no token can be minted or read",
      "CURSOR_KEY is not set: row ids are not protected",
      "DATABASE_URL is not set: no ledger is written, admin lists answer 503",
      "ADMIN_TOKEN is not set: no admin route can be used",
    ]);
  });

  it("keeps previous keys behind the current ones and drops empty ones", () => {
    const config = parseConfig({ ...COMPLETE, TOKEN_KEY_PREVIOUS: "old", ADMIN_TOKEN_PREVIOUS: "older" });
    expect(config.tokenKeys).toEqual(["t", "old"]);
    expect(config.adminTokens).toEqual(["a", "older"]);
    expect(parseConfig({ TOKEN_KEY_PREVIOUS: "old" }).tokenKeys).toEqual(["old"]);
  });

  it("reads the keys of secrets, says which is none, and does not miss one that nobody needs", () => {
    const [key, old] = ["a".repeat(64), Buffer.alloc(32, 7).toString("base64")];
    const both = parseConfig({ ...COMPLETE, SECRETS_KEY: key, SECRETS_KEY_PREVIOUS: old });
    expect(both.secretsKeys.current?.bytes).toHaveLength(32);
    expect(both.secretsKeys.previous?.id).not.toBe(both.secretsKeys.current?.id);
    expect(both.findings).toEqual([]);
    expect(parseConfig(COMPLETE).secretsKeys).toEqual({ current: null, previous: null });
    const wrong = parseConfig({ ...COMPLETE, SECRETS_KEY: "secret", SECRETS_KEY_PREVIOUS: " " });
    expect(wrong.secretsKeys).toEqual({ current: null, previous: null });
    expect(wrong.findings).toEqual(["SECRETS_KEY must be 32 bytes in base64 or hexadecimal; it is not used"]);
  });

  it("trims what people put around their values", () => {
    const config = parseConfig({
      MOLECULE_ORG_ID: " org ",
      CORS_ORIGINS: "https://a.example, https://b.example,,",
      EXTERNAL_PLATFORM_URL: "https://edge.example//",
    });
    expect(config.organisationId).toBe("org");
    expect([...config.corsOrigins]).toEqual(["https://a.example", "https://b.example"]);
    expect(config.externalPlatformUrl).toBe("https://edge.example");
  });

  it("takes only the word 1 for a flag, and only texts for texts", () => {
    for (const value of ["1"]) expect(parseConfig({ OPEN_REGISTRATION: value }).openRegistration).toBe(true);
    for (const value of ["true", "0", "yes", "", undefined, 1, true]) {
      expect(parseConfig({ OPEN_REGISTRATION: value }).openRegistration).toBe(false);
    }
    expect(parseConfig({ GIT_SHA: { not: "a text" } }).gitSha).toBe("unknown");
  });

  it("knows production by two names", () => {
    for (const MOLECULE_ENV of ["production", "prod", "PRODUCTION"])
      expect(parseConfig({ MOLECULE_ENV }).production).toBe(true);
    expect(parseConfig({ MOLECULE_ENV: "staging" }).production).toBe(false);
  });

  it("is parsed once for an environment", () => {
    const environment = { ...COMPLETE };
    const config = configOf(environment);
    environment.ADMIN_TOKEN = "changed";
    expect(configOf(environment)).toBe(config);
    expect(configOf({ ...environment }).adminTokens).toEqual(["changed"]);
  });
});

describe("push URLs", () => {
  it("may be private in open dev mode only, and bare addresses under npm start only", () => {
    expect(pushUrlPolicy(parseConfig(COMPLETE))).toEqual({ allowPrivate: false, requireHostname: true });
    expect(pushUrlPolicy(parseConfig({ MOLECULE_ENV: "dev", LOCAL_PLATFORM: "1" }))).toEqual({
      allowPrivate: true,
      requireHostname: false,
    });
  });
});

describe("the backends of machines", () => {
  const ORGANISATION = { ...COMPLETE, MOLECULE_ORG_ID: " org " };

  it("are none unless they are named", () => {
    expect(parseConfig(COMPLETE)).toMatchObject({ controlPlane: null, docker: null, inMemoryMachines: false });
    expect(parseConfig(ORGANISATION)).toMatchObject({ controlPlane: null, findings: [] });
  });

  it("are a control plane by its first name, with the first credentials that are set", () => {
    const url = { CP_PROVISION_URL: " https://cp.test/base/ ", MOLECULE_CP_URL: "https://other.test" };
    expect(parseConfig({ ...ORGANISATION, ...url }).controlPlane).toEqual({
      baseUrl: "https://cp.test/base",
      organisationId: "org",
      sharedSecret: "",
      consoleToken: "",
      adminToken: "a",
    });
    const secrets = { PROVISION_SHARED_SECRET: "second", CP_ADMIN_API_TOKEN: "console" };
    const other = { ...ORGANISATION, MOLECULE_CP_URL: "http://other.test", ...secrets };
    expect(parseConfig(other).controlPlane).toMatchObject({
      baseUrl: "http://other.test",
      sharedSecret: "second",
      consoleToken: "console",
    });
    const both = { ...other, MOLECULE_CP_SHARED_SECRET: "first" };
    expect(parseConfig(both).controlPlane).toMatchObject({ sharedSecret: "first" });
  });

  it("are an engine with the limits of each tier", () => {
    const variables = {
      ...COMPLETE,
      DOCKER_HOST: "tcp://localhost:2375",
      TIER1_MEMORY_MB: "256",
      TIER4_CPU_SHARES: "8192",
    };
    expect(parseConfig(variables).docker).toEqual({
      baseUrl: "http://localhost:2375",
      isLocal: true,
      hostRoots: [],
      limits: {
        1: { memoryMb: 256, cpuShares: 1024 },
        2: { memoryMb: 512, cpuShares: 1024 },
        3: { memoryMb: 2048, cpuShares: 2048 },
        4: { memoryMb: 4096, cpuShares: 8192 },
      },
    });
    expect(parseConfig({ ...variables, DOCKER_TLS_VERIFY: "1" }).docker?.baseUrl).toBe("https://localhost:2375");
  });

  it("give containers the directories of the host that are named, and no other", () => {
    const rootsOf = (WORKSPACE_DIR_ROOTS: string) => {
      const { docker, findings } = parseConfig({ ...COMPLETE, DOCKER_HOST: "tcp://docker:2375", WORKSPACE_DIR_ROOTS });
      return [docker?.hostRoots, findings];
    };
    expect(rootsOf("")).toEqual([[], []]);
    expect(rootsOf(" /data, /home/agents ,,")).toEqual([["/data", "/home/agents"], []]);
    for (const bad of ["/", "/etc", "/run/x", "data", "/data/../etc"]) {
      expect(rootsOf(`/srv,${bad}`), bad).toEqual([
        ["/srv"],
        [
          "WORKSPACE_DIR_ROOTS has entries that are not used: each is an absolute path without .. outside the system's directories",
        ],
      ]);
    }
  });

  it("are called through the binding of npm start, wherever the engine is", () => {
    for (const [DOCKER_HOST, isLocal] of [
      ["unix:///var/run/docker.sock", true],
      ["https://docker.test:2376", false],
    ] as const) {
      const config = parseConfig({ ...COMPLETE, DOCKER_HOST, DOCKER: {} });
      expect(config).toMatchObject({ docker: { baseUrl: "http://docker", isLocal }, findings: [] });
    }
  });

  it.each([
    [{ CP_PROVISION_URL: "https://cp.test" }, "the control plane is not used: MOLECULE_ORG_ID is not set"],
    ...["cp.test", "ftp://cp.test", "https://user@cp.test", "https://cp.test?x", "https://cp.test#x"].map(
      (CP_PROVISION_URL) =>
        [
          { MOLECULE_ORG_ID: "org", CP_PROVISION_URL },
          "the control plane is not used: its URL must be http or https, without credentials and query",
        ] as const,
    ),
    [{ DOCKER_HOST: "docker" }, "Docker is not used: DOCKER_HOST must be a URL of http, https, tcp or unix"],
    [{ DOCKER_HOST: "unix:///x.sock" }, "Docker is not used: only `npm start` can open the socket of DOCKER_HOST"],
    [{ PROVISIONER: "docker" }, "PROVISIONER is ignored: it may be in_memory, outside production"],
    [
      { PROVISIONER: "in_memory", MOLECULE_ENV: "prod" },
      "PROVISIONER is ignored: it may be in_memory, outside production",
    ],
  ] as const)("are not %j, which is a finding", (variables, finding) => {
    const none = { controlPlane: null, docker: null, inMemoryMachines: false, findings: [finding] };
    expect(parseConfig({ ...COMPLETE, ...variables })).toMatchObject(none);
  });

  it("are in memory for tests, which is a finding too", () => {
    const findings = ["PROVISIONER is in_memory: workspaces get no machine"];
    expect(parseConfig({ ...COMPLETE, PROVISIONER: "in_memory" })).toMatchObject({ inMemoryMachines: true, findings });
  });
});

describe("pages of other origins", () => {
  it("are the canvas on the developer's machine, but not where users sign in, which is a finding", () => {
    const origins = (variables: object) => {
      const { corsOrigins, findings } = parseConfig({ ...COMPLETE, MOLECULE_ORG_SLUG: "acme", ...variables });
      return [[...corsOrigins], findings];
    };
    const CP_UPSTREAM_URL = "https://cp.test";
    const local = ["http://localhost:3000", "http://localhost:3001"];
    expect(origins({})).toEqual([local, []]);
    expect(origins({ CORS_ORIGINS: "" })).toEqual([[], []]);
    expect(origins({ CP_UPSTREAM_URL })).toEqual([
      [],
      ["CORS_ORIGINS is not set: no page but the platform's own acts for who is signed in"],
    ]);
    expect(origins({ CP_UPSTREAM_URL, CORS_ORIGINS: "" })).toEqual([[], []]);
    expect(origins({ CP_UPSTREAM_URL, CORS_ORIGINS: local[0] })).toEqual([[local[0]], []]);
  });
});

describe("the control plane behind /cp/", () => {
  const SIGNED_IN = { ...COMPLETE, CORS_ORIGINS: "https://canvas.test" };

  it("is none unless it is named, and knows sessions by the organisation's slug", () => {
    expect(parseConfig({ ...COMPLETE, MOLECULE_ORG_SLUG: "acme" })).toMatchObject({ upstream: null, findings: [] });
    const variables = { ...SIGNED_IN, CP_UPSTREAM_URL: " https://cp.test/base/ ", MOLECULE_ORG_SLUG: " acme " };
    const upstream = { baseUrl: "https://cp.test/base", organisationSlug: "acme" };
    expect(parseConfig(variables)).toMatchObject({ upstream, findings: [] });
  });

  it("is passed on to without a slug, which is a finding", () => {
    expect(parseConfig({ ...SIGNED_IN, CP_UPSTREAM_URL: "http://cp.test" })).toMatchObject({
      upstream: { baseUrl: "http://cp.test", organisationSlug: "" },
      findings: ["canvas sessions are off: MOLECULE_ORG_SLUG is not set"],
    });
  });

  it.each([
    "cp.test",
    "ftp://cp.test",
    "https://user@cp.test",
    "https://:p@cp.test",
    "https://cp.test?x",
    "http://a#b",
  ])("is not %s, which is a finding", (CP_UPSTREAM_URL) => {
    expect(parseConfig({ ...COMPLETE, CP_UPSTREAM_URL, MOLECULE_ORG_SLUG: "acme" })).toMatchObject({
      upstream: null,
      findings: ["/cp/ is not passed on: CP_UPSTREAM_URL must be http or https, without credentials and query"],
    });
  });
});
