import { cloudflareTest } from "@cloudflare/vitest-pool-workers";
import { defineConfig } from "vitest/config";

const COMPLETE = { lines: 100, branches: 100 };

export default defineConfig({
  test: {
    // Most of a file's time is spent waiting, for evictions and for Postgres.
    maxWorkers: 3,
    // An object that an alarm wakes after the last test asks for its modules when nobody answers any more.
    onUnhandledError: (error) => (error.name === "EnvironmentTeardownError" ? false : undefined),
    coverage: {
      provider: "istanbul",
      include: ["src/**"],
      reporter: ["text", "json-summary"],
      thresholds: {
        "src/domain/**": COMPLETE,
        "src/uploads/**": COMPLETE,
        "src/storage/**": COMPLETE,
        "src/ledgers/**": COMPLETE,
        "src/provisioners/**": COMPLETE,
        "src/exchange.ts": COMPLETE,
        "src/durable-objects/shared/effects.ts": COMPLETE,
        "src/durable-objects/shared/flush*.ts": COMPLETE,
      },
    },
    projects: [
      {
        plugins: [
          cloudflareTest(({ inject }) => ({
            wrangler: { configPath: "./wrangler.toml" },
            miniflare: {
              bindings: {
                DATABASE_URL: inject("databaseUrl"),
                NEON_FETCH_ENDPOINT: inject("neonFetchEndpoint"),
                NEON_CONTROL: inject("neonControl"),
                TOKEN_KEY: "test-token-key-0123456789abcdef",
                CURSOR_KEY: "test-cursor-key-0123456789abcdef",
                SECRETS_KEY: "5ec2e75".padEnd(64, "0"),
                MOLECULE_ENV: "development",
                LOCAL_PLATFORM: "1",
              },
            },
          })),
        ],
        test: {
          name: "workerd",
          testTimeout: 30_000,
          include: ["test/**/*.test.ts"],
          exclude: ["test/node/**"],
          globalSetup: [
            "./test/support/global-setup.ts",
            "./test/support/agent-server-setup.ts",
            "./test/support/machine-server-setup.ts",
            "./test/support/upstream-server-setup.ts",
          ],
          setupFiles: ["./test/support/assert-workerd.ts", "./test/support/file-lane.ts"],
        },
      },
      {
        test: {
          name: "node",
          include: ["test/node/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
