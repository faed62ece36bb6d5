import fs from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { status } from "../../scripts/db-migrate.ts";
import { migrateOnceThere } from "../../scripts/local/migration.ts";
import { type PostgresOptions, startPostgres } from "../../scripts/local/postgres.ts";
import { keepPostgres } from "../../scripts/local/postgres-keeper.ts";

function aCluster(): PostgresOptions {
  const parent = fs.mkdtempSync(path.join(os.tmpdir(), "posthouse-test-"));
  fs.chmodSync(parent, 0o755);
  onTestFinished(() => fs.rmSync(parent, { recursive: true, force: true }));
  return { dataDir: path.join(parent, "cluster"), port: 0, durable: false };
}

it("migrates at once where the database answers, and says why where it refuses", async () => {
  const postgres = await startPostgres(aCluster());
  onTestFinished(() => postgres.stop());
  const say = vi.fn();
  await migrateOnceThere(postgres.url, say);
  expect((await status(postgres.url)).every(({ applied }) => applied)).toBe(true);
  await expect(migrateOnceThere(postgres.url.replace(/postgres$/, "nothing"), say)).rejects.toThrow(
    `127.0.0.1:${postgres.port} cannot be used: database "nothing" does not exist`,
  );
  expect(say).not.toHaveBeenCalled();
});

it("does not wait for something that will never be a Postgres", async () => {
  const server = http.createServer().listen(0, "127.0.0.1");
  onTestFinished(() => void server.close());
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await expect(migrateOnceThere(`postgres://127.0.0.1:${port}/ledger`, vi.fn())).rejects.toThrow(
    "what answers there is not Postgres",
  );
});

it("waits for a database that is away, and migrates it once it is there", async () => {
  const cluster = aCluster();
  const away = await startPostgres(cluster);
  await away.stop();
  const lines: string[] = [];
  const { stop } = await migrateOnceThere(away.url, (line) => lines.push(line));
  onTestFinished(stop);
  const postgres = await startPostgres({ ...cluster, port: away.port });
  onTestFinished(() => postgres.stop());
  await vi.waitUntil(() => lines.some((line) => line.endsWith("is there, and migrated.")), { timeout: 20_000 });
  expect(lines).toHaveLength(2);
  expect((await status(postgres.url)).every(({ applied }) => applied)).toBe(true);
});

it("starts a server that was killed again on its port, and ends one for good", async () => {
  const cluster = aCluster();
  const lines: string[] = [];
  const postgres = await keepPostgres(cluster, (line) => lines.push(line));
  onTestFinished(() => postgres.stop());
  const pidFile = path.join(cluster.dataDir, "postmaster.pid");
  process.kill(Number.parseInt(fs.readFileSync(pidFile, "utf8"), 10), "SIGKILL");
  await vi.waitUntil(() => lines.includes("Postgres is back."), { timeout: 20_000 });
  expect(lines).toEqual([
    "Postgres ended unexpectedly: starting it again in 1 s. Everything else goes on.",
    "Postgres is back.",
  ]);
  await migrateOnceThere(postgres.url, (line) => lines.push(line));
  await postgres.stop();
  expect(fs.existsSync(pidFile)).toBe(false);
  expect(lines).toHaveLength(2);
});
