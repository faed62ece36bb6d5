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
