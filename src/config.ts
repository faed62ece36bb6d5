import * as z from "zod";
import {
  DELEGATION_VARIABLES,
  type DelegationSettings,
  type DelegationVariables,
  readDelegationSettings,
} from "./domain/delegation-settings.ts";
import { parseDockerHost } from "./domain/docker-host.ts";
import { readSealingKey, type SealingKey, type SealingKeys } from "./domain/sealing-key.ts";
import { isAllowedDirectory } from "./domain/workspace-creation.ts";

/** Exactly "1" is on; anything else is off. */
const flag = z
  .string()
  .optional()
  .transform((value) => value === "1");

/** A whole number within bounds; a bad value falls back to the default and is reported. */
function whole(fallback: number, min: number, max: number) {
  return { fallback, min, max };
}

const NUMBERS = {
  /** Seconds of silence after which an agent counts as gone (design of the 90 s sweep). */
  REMOTE_LIVENESS_STALE_AFTER: whole(90, 5, 86_400),
  /** Seconds that the caller of a push target waits for the answer before it gets a queue id. */
  A2A_ANSWER_WAIT_S: whole(60, 1, 90),
  /** Requests a minute for one principal. */
  RATE_LIMIT: whole(600, 1, 1_000_000),
  /** Bytes of one uploaded file. */
  UPLOAD_FILE_BYTES: whole(25 * 1024 * 1024, 1, 100 * 1024 * 1024),
  /** Bytes of one upload request. */
  UPLOAD_REQUEST_BYTES: whole(50 * 1024 * 1024, 1, 100 * 1024 * 1024),
  /** Files in one upload request. */
  UPLOAD_FILES: whole(64, 1, 1_000),
  /** Hours that an unacknowledged file waits. */
  UPLOAD_TTL_HOURS: whole(24, 1, 720),
  /** Hours that an acknowledged file stays readable for the chat. */
  UPLOAD_RETENTION_HOURS: whole(168, 1, 8_760),
  /** Days that read, acked, own and push history rows stay in the inbox. */
  ACTIVITY_RETENTION_DAYS: whole(7, 1, 365),
  /** Days that unread rows from others stay in the inbox. */
  ACTIVITY_UNREAD_RETENTION_DAYS: whole(30, 1, 365),
  /** Hours between two looks of a workspace at what its inbox may forget. */
  ACTIVITY_CLEANUP_INTERVAL_HOURS: whole(6, 1, 168),
  /** Seconds between two sweeps for files that should have expired, in steps of the minute cron. */
  UPLOAD_SWEEP_INTERVAL_S: whole(300, 60, 86_400),
  /** Days of history that the ledger keeps; 0 keeps everything. */
  LEDGER_RETENTION_DAYS: whole(90, 0, 36_500),
  /** Minutes without work after which a workspace's machine is stopped until somebody needs it; 0 never does. */
  HIBERNATION_IDLE_MINUTES: whole(0, 0, 525_600),
  /** Seconds that every runtime has to register after its machine was wanted; 0 leaves each runtime its own. */
  PROVISION_TIMEOUT_SECONDS: whole(0, 0, 86_400),
  /** Seconds between two looks whether the machine of a silent workspace still runs. */
  MACHINE_LOOK_INTERVAL_S: whole(300, 10, 86_400),
  /** Times within an hour that a machine which stopped by itself is started anew; 0 leaves it to people. */
  MACHINE_RESTARTS_PER_HOUR: whole(5, 0, 100),
  /** Unread rows from others at which an inbox answers 429. */
  INBOX_UNREAD_ROWS: whole(100_000, 1, 1_000_000),
  /** Bytes of an object's storage at which an inbox answers 429. */
  INBOX_BYTES: whole(1024 * 1024 * 1024, 1024 * 1024, 8 * 1024 * 1024 * 1024),
  /** MiB of memory of a container, by the tier of its workspace. */
  TIER1_MEMORY_MB: whole(512, 6, 1_048_576),
  TIER2_MEMORY_MB: whole(512, 6, 1_048_576),
  TIER3_MEMORY_MB: whole(2_048, 6, 1_048_576),
  TIER4_MEMORY_MB: whole(4_096, 6, 1_048_576),
  /** 1,024ths of a processor that a container may use at most, by tier. */
  TIER1_CPU_SHARES: whole(1_024, 11, 1_048_576),
  TIER2_CPU_SHARES: whole(1_024, 11, 1_048_576),
  TIER3_CPU_SHARES: whole(2_048, 11, 1_048_576),
  TIER4_CPU_SHARES: whole(4_096, 11, 1_048_576),
} as const;

const TEXTS = z.object({
  /** `development` or `dev` together with an unset ADMIN_TOKEN is open dev mode; `production` hides test routes. */
  MOLECULE_ENV: z.string().default(""),
  /** The operator's bearer. */
  ADMIN_TOKEN: z.string().default(""),
  ADMIN_TOKEN_PREVIOUS: z.string().default(""),
  /** Key of the checksum in every token; without it no token can be minted or read. */
  TOKEN_KEY: z.string().default(""),
  TOKEN_KEY_PREVIOUS: z.string().default(""),
  /** Key of the check in row ids. It never rotates: a new one turns every stored cursor into a 410. */
  CURSOR_KEY: z.string().default(""),
  /** Key that seals secrets, 32 bytes in base64 or hexadecimal; without it none can be stored or read. */
  SECRETS_KEY: z.string().default(""),
  /** Opens what an earlier key has sealed. */
  SECRETS_KEY_PREVIOUS: z.string().default(""),
  /** The ledger database. */
  DATABASE_URL: z.string().default(""),
  /** HTTP SQL endpoint in front of a Postgres that is not Neon; set by `npm start`. */
  NEON_FETCH_ENDPOINT: z.string().default(""),
  /** Written into the database at its first flush; another deployment's database is never written to. */
  DEPLOYMENT_ID: z.string().default("default"),
  /** The organisation served here; when set, TenantGuard is on. */
  MOLECULE_ORG_ID: z.string().default(""),
  /** Browser origins, comma separated. */
  CORS_ORIGINS: z.string().optional(),
  /** The URL that agents use, where it is not the one of the request. */
  EXTERNAL_PLATFORM_URL: z.string().default(""),
  /** Commit that is running, shown by /buildinfo. */
  GIT_SHA: z.string().default("unknown"),
  /** Anybody may register an unknown id. */
  OPEN_REGISTRATION: flag,
  /** Test tokens even in production. */
  MOLECULE_ENABLE_TEST_TOKENS: flag,
  /** The control plane that starts machines; it needs MOLECULE_ORG_ID too. */
  CP_PROVISION_URL: z.string().default(""),
  /** The control plane where CP_PROVISION_URL is not set. */
  MOLECULE_CP_URL: z.string().default(""),
  /** The control plane's bearer. */
  MOLECULE_CP_SHARED_SECRET: z.string().default(""),
  /** The control plane's bearer where MOLECULE_CP_SHARED_SECRET is not set. */
  PROVISION_SHARED_SECRET: z.string().default(""),
  /** The control plane's bearer for console output, where it wants another one. */
  CP_ADMIN_API_TOKEN: z.string().default(""),
  /** The control plane that knows who is signed in, and whose pages under /cp/ are passed on. */
  CP_UPSTREAM_URL: z.string().default(""),
  /** The organisation's name at that control plane: its members' sessions are good here. */
  MOLECULE_ORG_SLUG: z.string().default(""),
  /** The Docker engine that starts machines where there is no control plane: http, https or tcp; unix under `npm start` only. */
  DOCKER_HOST: z.string().default(""),
  /** `tcp` in DOCKER_HOST means https. */
  DOCKER_TLS_VERIFY: flag,
  /** Directories of the engine's host, comma separated: what is in none of them is never mounted into a container. */
  WORKSPACE_DIR_ROOTS: z.string().default(""),
  /** `in_memory` starts no machine and says that it did: for tests only. */
  PROVISIONER: z.string().default(""),
  /** Set by `npm start` alone: the cron route, and what browsers may do on an open platform. */
  LOCAL_PLATFORM: flag,
});

/** The control plane as this deployment calls it; an empty token is not sent. */
export interface ControlPlaneSettings {
  readonly baseUrl: string;
  readonly organisationId: string;
  readonly sharedSecret: string;
  readonly consoleToken: string;
  readonly adminToken: string;
}

/** The control plane whose pages are passed on; without a slug nobody's session can be verified. */
export interface UpstreamSettings {
  readonly baseUrl: string;
  readonly organisationSlug: string;
}

export interface TierLimits {
  readonly memoryMb: number;
  readonly cpuShares: number;
}

export interface DockerSettings {
  readonly baseUrl: string;
  /** A port that the engine publishes on its loopback address is one of ours. */
  readonly isLocal: boolean;
  /** Containers may be given these directories of the host and what is below them; without any, none. */
  readonly hostRoots: readonly string[];
  readonly limits: Readonly<Record<1 | 2 | 3 | 4, TierLimits>>;
}

/** The canvas as its developers run it. */
const LOCAL_CANVASES = ["http://localhost:3000", "http://localhost:3001"];

type Numbers = { readonly [Name in keyof typeof NUMBERS]: number };

/** Variables and secrets, parsed once; `findings` is what an operator should know about them. */
export interface Config extends Numbers {
  readonly environment: string;
  readonly devMode: boolean;
  readonly production: boolean;
  readonly adminTokens: readonly string[];
  readonly tokenKeys: readonly string[];
  readonly cursorKey: string;
  readonly secretsKeys: SealingKeys;
  readonly databaseUrl: string;
  readonly neonFetchEndpoint: string;
  readonly deploymentId: string;
  readonly organisationId: string;
  readonly corsOrigins: ReadonlySet<string>;
  readonly externalPlatformUrl: string;
  readonly gitSha: string;
  readonly openRegistration: boolean;
  readonly testTokens: boolean;
  readonly localPlatform: boolean;
  /** How delegations are kept and judged; each of its variables stands in `DELEGATION_VARIABLES`. */
  readonly delegations: DelegationSettings;
  /** Which backends could start machines; `provisioners/dispatcher.ts` chooses. */
  readonly controlPlane: ControlPlaneSettings | null;
  readonly upstream: UpstreamSettings | null;
  readonly docker: DockerSettings | null;
  readonly inMemoryMachines: boolean;
  readonly findings: readonly string[];
}

/** The service binding of `npm start` knows the engine's real address; this one only has to be valid. */
const DOCKER_BINDING_URL = "http://docker";

/** Which push URLs this deployment may call: private ones in open dev mode only, bare addresses under `npm start` only. */
export function pushUrlPolicy(config: Config): { allowPrivate: boolean; requireHostname: boolean } {
  return { allowPrivate: config.devMode, requireHostname: !config.localPlatform };
}

const parsed = new WeakMap<object, Config>();

/** The configuration of this isolate. */
export function configOf(env: object): Config {
  const known = parsed.get(env);
  if (known) return known;
  const config = parseConfig(env as Record<string, unknown>);
  parsed.set(env, config);
  return config;
}

/** Parses variables; never throws, because a bad number must not take the platform down. */
export function parseConfig(env: Record<string, unknown>): Config {
  const texts = TEXTS.parse(
    Object.fromEntries(
      Object.keys(TEXTS.shape)
        .map((name) => [name, textOf(env[name])])
        .filter(([, value]) => value !== undefined),
    ),
  );
  const findings: string[] = [];
  const numbers = Object.fromEntries(
    Object.entries(NUMBERS).map(([name, rule]) => [name, numberOf(name, env[name], rule, findings)]),
  ) as Numbers;
  const delegations = readDelegationSettings(delegationVariables(env));
  findings.push(...delegations.warnings);
  const environment = texts.MOLECULE_ENV.trim().toLowerCase();
  const devMode = texts.ADMIN_TOKEN === "" && (environment === "development" || environment === "dev");
  if (texts.TOKEN_KEY === "") findings.push("TOKEN_KEY is not set: no token can be minted or read");
  if (texts.CURSOR_KEY === "") findings.push("CURSOR_KEY is not set: row ids are not protected");
  const secretsKeys = {
    current: sealingKey("SECRETS_KEY", texts.SECRETS_KEY, findings),
    previous: sealingKey("SECRETS_KEY_PREVIOUS", texts.SECRETS_KEY_PREVIOUS, findings),
  };
  if (texts.DATABASE_URL === "") findings.push("DATABASE_URL is not set: no ledger is written, admin lists answer 503");
  if (devMode) findings.push("open dev mode: requests without a bearer are admitted");
  if (texts.ADMIN_TOKEN === "" && !devMode) findings.push("ADMIN_TOKEN is not set: no admin route can be used");
  const production = environment === "production" || environment === "prod";
  const upstream = upstreamOf(texts, findings);
  return {
    ...numbers,
    environment,
    devMode,
    production,
    adminTokens: [texts.ADMIN_TOKEN, texts.ADMIN_TOKEN_PREVIOUS].filter((token) => token !== ""),
    tokenKeys: [texts.TOKEN_KEY, texts.TOKEN_KEY_PREVIOUS].filter((key) => key !== ""),
    cursorKey: texts.CURSOR_KEY,
    secretsKeys,
    databaseUrl: texts.DATABASE_URL,
    neonFetchEndpoint: texts.NEON_FETCH_ENDPOINT,
    deploymentId: texts.DEPLOYMENT_ID,
    organisationId: texts.MOLECULE_ORG_ID.trim(),
    corsOrigins: new Set(originsOf(texts, upstream, findings)),
    externalPlatformUrl: texts.EXTERNAL_PLATFORM_URL.replace(/\/+$/, ""),
    gitSha: texts.GIT_SHA,
    openRegistration: texts.OPEN_REGISTRATION,
    testTokens: texts.MOLECULE_ENABLE_TEST_TOKENS,
    localPlatform: texts.LOCAL_PLATFORM,
    delegations,
    controlPlane: controlPlaneOf(texts, findings),
    upstream,
    docker: dockerOf(texts, numbers, env.DOCKER !== undefined, findings),
    inMemoryMachines: wantsInMemoryMachines(texts.PROVISIONER, production, findings),
    findings,
  };
}

type Texts = z.output<typeof TEXTS>;

function controlPlaneOf(texts: Texts, findings: string[]): ControlPlaneSettings | null {
  const given = texts.CP_PROVISION_URL.trim() || texts.MOLECULE_CP_URL.trim();
  const organisationId = texts.MOLECULE_ORG_ID.trim();
  if (given === "") return null;
  if (organisationId === "") {
    findings.push("the control plane is not used: MOLECULE_ORG_ID is not set");
    return null;
  }
  const baseUrl = baseUrlOf(given);
  if (baseUrl === null) {
    findings.push("the control plane is not used: its URL must be http or https, without credentials and query");
    return null;
  }
  return {
    baseUrl,
    organisationId,
    sharedSecret: texts.MOLECULE_CP_SHARED_SECRET.trim() || texts.PROVISION_SHARED_SECRET.trim(),
    consoleToken: texts.CP_ADMIN_API_TOKEN.trim(),
    adminToken: texts.ADMIN_TOKEN.trim(),
  };
}

function upstreamOf(texts: Texts, findings: string[]): UpstreamSettings | null {
  const given = texts.CP_UPSTREAM_URL.trim();
  const organisationSlug = texts.MOLECULE_ORG_SLUG.trim();
  if (given === "") return null;
  const baseUrl = baseUrlOf(given);
  if (baseUrl === null) {
    findings.push("/cp/ is not passed on: CP_UPSTREAM_URL must be http or https, without credentials and query");
    return null;
  }
  if (organisationSlug === "") findings.push("canvas sessions are off: MOLECULE_ORG_SLUG is not set");
  return { baseUrl, organisationSlug };
}

/** Where users sign in, a page on their own machine must not act with their cookies unless somebody said so. */
function originsOf(texts: Texts, upstream: UpstreamSettings | null, findings: string[]): readonly string[] {
  if (texts.CORS_ORIGINS !== undefined) return listOf(texts.CORS_ORIGINS);
  if (upstream === null) return LOCAL_CANVASES;
  findings.push("CORS_ORIGINS is not set: no page but the platform's own acts for who is signed in");
  return [];
}

/** Http or https, without credentials, query and slash at the end; null for anything else. */
function baseUrlOf(given: string): string | null {
  const url = URL.parse(given);
  if (url === null || !/^https?:$/.test(url.protocol) || /[?#]|\/\/[^/]*@/.test(given)) return null;
  return url.href.replace(/\/+$/, "");
}

function dockerOf(texts: Texts, numbers: Numbers, hasBinding: boolean, findings: string[]): DockerSettings | null {
  const given = texts.DOCKER_HOST.trim();
  if (given === "") return null;
  const host = parseDockerHost(given, texts.DOCKER_TLS_VERIFY);
  if (host === null) {
    findings.push("Docker is not used: DOCKER_HOST must be a URL of http, https, tcp or unix");
    return null;
  }
  if (host.kind === "socket" && !hasBinding) {
    findings.push("Docker is not used: only `npm start` can open the socket of DOCKER_HOST");
    return null;
  }
  return {
    baseUrl: host.kind === "socket" || hasBinding ? DOCKER_BINDING_URL : host.url,
    isLocal: host.kind === "socket" || host.isLocal,
    hostRoots: hostRootsOf(texts.WORKSPACE_DIR_ROOTS, findings),
    limits: {
      1: { memoryMb: numbers.TIER1_MEMORY_MB, cpuShares: numbers.TIER1_CPU_SHARES },
      2: { memoryMb: numbers.TIER2_MEMORY_MB, cpuShares: numbers.TIER2_CPU_SHARES },
      3: { memoryMb: numbers.TIER3_MEMORY_MB, cpuShares: numbers.TIER3_CPU_SHARES },
      4: { memoryMb: numbers.TIER4_MEMORY_MB, cpuShares: numbers.TIER4_CPU_SHARES },
    },
  };
}

/** A finding names no entry: everybody may read it, and the directories of a host are nobody's business. */
function hostRootsOf(given: string, findings: string[]): readonly string[] {
  const entries = listOf(given);
  const roots = entries.filter(isAllowedDirectory);
  if (roots.length < entries.length) {
    findings.push(
      "WORKSPACE_DIR_ROOTS has entries that are not used: each is an absolute path without .. outside the system's directories",
    );
  }
  return roots;
}

function wantsInMemoryMachines(provisioner: string, production: boolean, findings: string[]): boolean {
  if (provisioner === "") return false;
  const isWanted = provisioner === "in_memory" && !production;
  findings.push(
    isWanted
      ? "PROVISIONER is in_memory: workspaces get no machine"
      : "PROVISIONER is ignored: it may be in_memory, outside production",
  );
  return isWanted;
}

function delegationVariables(env: Record<string, unknown>): DelegationVariables {
  return Object.fromEntries(DELEGATION_VARIABLES.map((name) => [name, textOf(env[name])]));
}

/** An absent key is a finding only where secrets wait for it, which the Directory tells. */
function sealingKey(name: string, text: string, findings: string[]): SealingKey | null {
  const key = readSealingKey(text);
  if (key === null && text.trim() !== "")
    findings.push(`${name} must be 32 bytes in base64 or hexadecimal; it is not used`);
  return key;
}

function listOf(text: string): string[] {
  return text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function numberOf(
  name: string,
  value: unknown,
  rule: { fallback: number; min: number; max: number },
  findings: string[],
): number {
  if (value === undefined || value === "") return rule.fallback;
  const number = typeof value === "string" && /^\d+$/.test(value.trim()) ? Number(value) : Number.NaN;
  if (number >= rule.min && number <= rule.max) return number;
  findings.push(`${name} must be a whole number from ${rule.min} to ${rule.max}; ${rule.fallback} is used`);
  return rule.fallback;
}
