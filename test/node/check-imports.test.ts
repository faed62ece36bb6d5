import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { checkImports } from "../../scripts/check-imports.ts";

/** A tree that keeps every rule: each test breaks one of them. */
const SOUND = {
  "index.ts":
    'export { app } from "./http/app.ts";\nexport { Workspace } from "./durable-objects/workspace/workspace.ts";',
  "config.ts": "export const configOf = (env: { ADMIN_TOKEN: string }) => env.ADMIN_TOKEN;",
  "env.d.ts": "interface Env { BLOBS: R2Bucket; ADMIN_TOKEN: string }",
  "domain/token.ts": 'import { createHash } from "node:crypto";\nimport { words } from "./words.ts";',
  "domain/words.ts": "export const words = 1;",
  "ledgers/database.ts":
    'import { neon } from "@neondatabase/serverless";\nimport { words } from "../domain/words.ts";',
  "storage/blob-store.ts": "export const blobsOf = (env: { BLOBS: R2Bucket }) => env.BLOBS;",
  "durable-objects/workspace/workspace.ts": 'import { flush } from "../../ledgers/database.ts";',
  "provisioners/provisioner.ts": "export interface Provisioner {}\nexport class ConsoleFailure extends Error {}",
  "provisioners/docker.ts": 'import type { Provisioner } from "./provisioner.ts";',
  "provisioners/dispatcher.ts": 'import "./docker.ts";\nconst engine = env.DOCKER;',
  "durable-objects/machine/machine.ts":
    'import { provisionerOf } from "../../provisioners/dispatcher.ts";\nimport type { Provisioner } from "../../provisioners/provisioner.ts";',
  "http/routes/console.ts": 'import { provisionerOf } from "../../provisioners/dispatcher.ts";',
  "http/app.ts":
    'import type { Workspace } from "../durable-objects/workspace/workspace.ts";\nconst stub = env.WORKSPACE;\n// env.ADMIN_TOKEN',
};

function breachesOf(changes: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), "posthouse-imports-"));
  onTestFinished(() => rmSync(root, { recursive: true }));
  for (const [path, code] of Object.entries({ ...SOUND, ...changes })) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), code);
  }
  return checkImports(root).map(({ path, rule, found }) => `${path} ${rule} ${found}`);
}

describe("the import directions", () => {
  it("hold in a tree that keeps them", () => {
    expect(breachesOf({})).toEqual([]);
  });

  it.each([
    [
      "domain imports another folder",
      { "domain/words.ts": 'import { blobsOf } from "../storage/blob-store.ts";' },
      "domain/words.ts domain-is-pure storage/blob-store.ts",
    ],
    [
      "domain imports a type of another folder",
      { "domain/words.ts": 'import type { Config } from "../config.ts";' },
      "domain/words.ts domain-is-pure config.ts",
    ],
    [
      "domain imports a package",
      { "domain/words.ts": 'import { Hono } from "hono";' },
      "domain/words.ts domain-is-pure hono",
    ],
    [
      "an object speaks to Postgres itself",
      { "durable-objects/workspace/workspace.ts": 'import { pgTable } from "drizzle-orm/pg-core";' },
      "durable-objects/workspace/workspace.ts postgres-stays-in-ledgers drizzle-orm/pg-core",
    ],
    [
      "a route loads the driver only when it needs it",
      { "http/app.ts": 'const { neon } = await import("@neondatabase/serverless");' },
      "http/app.ts postgres-stays-in-ledgers @neondatabase/serverless",
    ],
    [
      "a route takes a blob from the bucket",
      { "http/app.ts": "const blob = await c.env.BLOBS.get(key);" },
      "http/app.ts r2-stays-in-storage .BLOBS",
    ],
    [
      "an upload names a type of R2",
      { "uploads/receive.ts": "export function receive(bucket: R2Bucket) {}" },
      "uploads/receive.ts r2-stays-in-storage R2Bucket",
    ],
    [
      "a route reads a variable",
      { "http/app.ts": "if (c.env.ADMIN_TOKEN) {}" },
      "http/app.ts variables-are-read-in-config env.ADMIN_TOKEN",
    ],
    [
      "a module reads the process' environment",
      { "log.ts": "const level = process.env.LEVEL;" },
      "log.ts variables-are-read-in-config process.env",
    ],
    [
      "an object imports a route",
      { "durable-objects/workspace/workspace.ts": 'import { app } from "../../http/app.ts";' },
      "durable-objects/workspace/workspace.ts http-is-the-top http/app.ts",
    ],
    [
      "a route imports the class of an object",
      { "http/app.ts": 'import { Workspace, type Row } from "../durable-objects/workspace/workspace.ts";' },
      "http/app.ts objects-are-called-not-imported durable-objects/workspace/workspace.ts",
    ],
    [
      "an object calls a backend itself",
      { "durable-objects/machine/machine.ts": 'import { DockerProvisioner } from "../../provisioners/docker.ts";' },
      "durable-objects/machine/machine.ts backends-stay-behind-the-dispatcher provisioners/docker.ts",
    ],
    [
      "a route names the type of a backend",
      { "http/routes/console.ts": 'import type { DockerProvisioner } from "../../provisioners/docker.ts";' },
      "http/routes/console.ts backends-stay-behind-the-dispatcher provisioners/docker.ts",
    ],
    [
      "a route takes a value from beside the dispatcher",
      { "http/routes/console.ts": 'import { ConsoleFailure } from "../../provisioners/provisioner.ts";' },
      "http/routes/console.ts backends-stay-behind-the-dispatcher provisioners/provisioner.ts",
    ],
    [
      "a workspace stops a machine itself",
      { "durable-objects/workspace/workspace.ts": 'import { stopWithRetry } from "../../provisioners/dispatcher.ts";' },
      "durable-objects/workspace/workspace.ts machines-have-few-callers provisioners/dispatcher.ts",
    ],
    [
      "a sweep loads the dispatcher when it needs it",
      { "sweeper/sweep.ts": 'const { provisionerOf } = await import("../provisioners/dispatcher.ts");' },
      "sweeper/sweep.ts machines-have-few-callers provisioners/dispatcher.ts",
    ],
    [
      "two folders need each other",
      {
        "storage/blob-store.ts": 'import "../uploads/limits.ts";',
        "uploads/limits.ts": 'export * from "../storage/blob-store.ts";',
      },
      "storage/blob-store.ts no-cycles storage → uploads → storage",
    ],
    [
      "three folders need each other in a ring",
      {
        "storage/blob-store.ts": 'import { a } from "../uploads/limits.ts";',
        "uploads/limits.ts": 'import { b } from "../sweeper/sweep.ts";',
        "sweeper/sweep.ts": 'import { c } from "../storage/blob-store.ts";',
      },
      "sweeper/sweep.ts no-cycles sweeper → storage → uploads → sweeper",
    ],
  ])("are broken when %s", (_, changes, breach) => {
    expect(breachesOf(changes)).toContain(breach);
  });

  it("let anybody ask an object through its door", () => {
    expect(breachesOf({ "sweeper/sweep.ts": 'import { stub } from "../durable-objects/shared/stubs.ts";' })).toEqual(
      [],
    );
  });

  it("let folders share types both ways", () => {
    const changes = {
      "storage/blob-store.ts": 'import type { Limits } from "../uploads/limits.ts";',
      "uploads/limits.ts": 'import { type Blob } from "../storage/blob-store.ts";',
    };
    expect(breachesOf(changes)).toEqual([]);
  });
});
